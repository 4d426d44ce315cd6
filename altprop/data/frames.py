"""What samples and labels are held in, as arrays: frames and series of any library, lists, arrays.

A frame is known by what it can do (it has named columns, each of which gives an array), so that pandas, polars, pyarrow
and others are read without being imported.  What would lose its meaning on the way is refused by name.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .columns import tell_more
from .errors import DataError, suggest


class Columns(NamedTuple):
    """A table that has been read: values (N, features) int64 or float64, and a name a feature."""

    values: np.ndarray
    names: tuple[str, ...]


def is_frame(value: Any) -> bool:
    """Whether that is a data frame: named columns, to be had one by one."""
    named = hasattr(value, "column_names") or (hasattr(value, "to_numpy") and hasattr(value, "columns"))
    return named and hasattr(value, "__getitem__")


def is_series(value: Any) -> bool:
    """Whether that is one column of a frame."""
    return hasattr(value, "to_numpy") and not is_frame(value)


def is_array(value: Any) -> bool:
    """Whether that holds all samples, or all labels, at once."""
    held = isinstance(value, Tensor | np.ndarray | list | Columns) or is_frame(value) or is_series(value)
    return held or _odd(value) is not None


def plain(value: Any, where: str) -> Any:
    """Tensor -> tensor; frame, series, list, array -> array of any type.

    Raises `DataError` for sparse and masked arrays, lists of unequal lengths, and frames that `read_frame` refuses."""
    if isinstance(value, Tensor) and value.layout is torch.strided:
        return value
    if (advice := _odd(value)) is not None:
        raise DataError(f"{where} is a {type(value).__name__}; expected a dense array; {advice}")
    if is_frame(value):
        value = read_frame(value, where)
    if isinstance(value, Columns):
        return value.values
    if is_series(value):
        return value.to_numpy()
    if isinstance(value, list | tuple) and value and all(isinstance(item, Tensor) for item in value):
        value = [item.numpy(force=True) for item in value]
    try:
        return np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: {_ragged(value)}; expected samples of one shape; make them alike") from error


def as_tensor(value: Any, where: str) -> Tensor:
    """Array, tensor, frame, series or list -> CPU tensor of uint8, int64 or float32 (others are cast).

    Raises `DataError` for text, objects, records, dates or complex numbers, and for what `plain` refuses.
    """
    value = plain(value, where)
    if isinstance(value, Tensor):
        if value.is_complex():
            raise DataError(f"{where} is {value.dtype}; expected real numbers; take its real part or its modulus")
        value = value.detach().cpu()
        return value if value.dtype == torch.uint8 else value.float() if value.is_floating_point() else value.long()
    if value.dtype.names:
        came = f"a structured array of the fields {', '.join(value.dtype.names[:3])}"
        raise DataError(f"{where} is {came}; expected (N, features); stack its fields by numpy.column_stack")
    if value.dtype.kind not in "biuf":
        first = next(iter(value.flat), None)
        came = f"{value.dtype} ({type(first).__name__} {str(first)[:40]!r} first)"
        advice = "give x.astype(float), if its values are" if value.dtype.kind == "O" else "encode it as"
        raise DataError(f"{where} is an array of {came}; expected numbers; {advice} integers or floats")
    if value.dtype == np.uint8:
        return torch.from_numpy(np.array(value, order="C"))
    if value.dtype.kind != "f":
        return torch.from_numpy(np.ascontiguousarray(whole(value, where)))
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which the checks report with its row
        return torch.from_numpy(np.array(value, dtype=np.float32, order="C"))


def read_frame(frame: Any, where: str, like: Sequence[str] = (), without: str | None = None) -> Columns:
    """The columns of a frame, but for `without`; with `like` those of these names, in that order.

    Columns are numbers, never pixels: integers and booleans become int64.  Columns without names (numbered) get none.
    Raises `DataError` for a column that is missing, twice there, or neither number nor boolean, and for a cell that is
    missing or infinite."""
    keys = frame_keys(frame, where)
    chosen = [name for name in (like or keys) if name != without]
    for name in chosen:
        if name not in keys:
            raise DataError(f"{where}: has no column {name!r}; expected it, as in training; {suggest(name, keys)}")
    if like:
        tell_more([name for name in keys if name != without], like, where)
    columns = [_numbers(frame[keys[name]], f"{where}: column {name!r}") for name in chosen]
    if not columns:
        raise DataError(f"{where}: has no columns of features; expected at least one; add some")
    named = any(isinstance(keys[name], str) for name in chosen)
    return Columns(np.column_stack(columns), tuple(chosen) if named else ())


def frame_keys(frame: Any, where: str) -> dict[str, Any]:
    """Name -> what its column is asked for by; raises `DataError` for a name that stands twice."""
    keys = list(frame.column_names if hasattr(frame, "column_names") else frame.columns)
    names = {str(key): key for key in keys}
    if len(names) < len(keys):
        twice = next(str(key) for index, key in enumerate(keys) if str(key) in map(str, keys[:index]))
        raise DataError(f"{where}: column {twice!r} stands twice; expected different names; rename one")
    return names


def only_column(frame: Any, where: str) -> Any:
    """A frame of one column as that series; any other value as it is."""
    if not is_frame(frame):
        return frame
    keys = frame_keys(frame, where)
    return frame[next(iter(keys.values()))] if len(keys) == 1 else frame


def split_label(frame: Any, label: str, where: str, like: Sequence[str] = ()) -> tuple[Columns, Any]:
    """(the features, the series of labels) of a frame that holds both; raises `DataError` where there is no `label`."""
    keys = frame_keys(frame, where)
    if label not in keys:
        came = f"has no column {label!r}"
        raise DataError(f"{where}: {came}; expected one of labels; name it by label=; {suggest(label, keys)}")
    return read_frame(frame, where, like, without=label), frame[keys[label]]


def check_order(x: Any, y: Any, where: str) -> None:
    """Raises `DataError` where x and y bear row labels, the same ones, in another order."""
    rows, others = (getattr(part, "index", None) for part in (x, y))
    if not (hasattr(rows, "equals") and hasattr(others, "equals")) or rows.equals(others):  # type: ignore[union-attr]
        return
    if len(rows) == len(others) and set(rows) == set(others):  # type: ignore[arg-type]
        raise DataError(f"{where}: the rows of y stand in another order than those of x; give y.loc[x.index]")


def is_missing(value: Any) -> bool:
    """Whether a cell is None, NaN, NaT or NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # of NA nothing is known, not even that
        return True
    except ValueError:  # an array
        return False


def _numbers(series: Any, where: str) -> np.ndarray:
    column = np.asarray(series.to_numpy())
    if column.dtype.kind == "O" and all(isinstance(value, bool) or is_missing(value) for value in column):
        column = np.array([np.nan if is_missing(value) else value for value in column], dtype=np.float64)
    if column.dtype.kind not in "biuf" or column.ndim != 1:
        came = next((value for value in column if not is_missing(value)), None)
        advice = "make it columns of 0 and 1 (get_dummies, to_dummies), cast it, or leave it out"
        raise DataError(f"{where} holds {type(came).__name__} ({str(came)[:40]!r}); expected numbers; {advice}")
    if column.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(column))
        if len(broken):
            came = f"is {column[broken[0]]:g} in row {broken[0]} (counted from 0)"
            raise DataError(f"{where} {came}; expected finite numbers; fill it in or drop the row")
        return column.astype(np.float64)
    return whole(column, where)


def whole(array: np.ndarray, where: str) -> np.ndarray:
    """Whole numbers or booleans as int64; raises `DataError` for some that it cannot hold."""
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{where} holds {array.max()}; expected whole numbers below 2**63; give it as floats")
    return array.astype(np.int64)


def _odd(value: Any) -> str | None:
    """What to do with something that holds an array which numpy would misread, or None."""
    if isinstance(value, np.ma.MaskedArray):
        return "fill what is masked, by x.filled(...)"
    if isinstance(value, Tensor):
        return None if value.layout is torch.strided else "give x.to_dense()"
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        return "give x.toarray()"
    return "collect() it first" if hasattr(value, "collect") and hasattr(value, "collect_schema") else None


def _ragged(value: Any) -> str:
    lengths = [len(item) if hasattr(item, "__len__") else 0 for item in value]
    for number, length in enumerate(lengths):
        if length != lengths[0]:
            return f"item {number} has {length} values, but item 0 has {lengths[0]}"
    return "the lists in it are of unequal lengths"
