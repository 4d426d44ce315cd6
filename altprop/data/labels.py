"""What y means where it is no plain number: the classes of names, and rows of 0 and 1.

text, booleans, categories, whole numbers of a series   classes, by their names
rows (N, K) of 0 and 1, each with a single 1             classes, of any dtype ("one-hot")
other rows (N, K) of 0 and 1                             float targets of K independent labels ("multi-hot")
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dataset import is_binary
from .errors import DataError
from .frames import as_tensor, is_frame, is_missing, is_series, only_column, plain, read_frame

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")

Encoded = tuple[Any, Any, tuple[str, ...] | None]  # y_train, y_test, the classes where they are known


def encode(train: Any, test: Any, name: str) -> Encoded:
    """y_train and y_test (or None) with names as class numbers, one-hot rows as classes, multi-hot rows as floats; all
    else as it came.  The training part decides what y is, and which classes there are.

    Raises `DataError` for labels that are missing or of several types, and for a test part that does not fit."""
    where, where_test = f"{name}: y_train", f"{name}: y_test"
    train, test = only_column(train, where), only_column(test, where_test)
    words = _words(train, where)
    if words is None:
        return _rows(train, test, where, where_test)
    classes = _ordered(train, words)
    y_test = None
    if test is not None:
        others = _words(test, where_test, numbers=True)
        if others is None:
            raise DataError(
                f"{where_test} holds no labels; expected such as {classes[0]!r}, as in training; convert it"
            )
        y_test = _numbered(others, classes, where_test)
    return _numbered(words, classes, where), y_test, classes


def _rows(train: Any, test: Any, where: str, where_test: str) -> Encoded:
    y = as_tensor(train, where)
    if y.dim() != 2 or y.shape[1] < 2 or not is_binary(y):
        return train, test, None
    single = bool((y.sum(1) == 1).all())
    y_test = None if test is None else as_tensor(test, where_test)
    if y_test is not None:
        _check_rows(y_test, y.shape[1], single, where_test)
    if not single:
        return y.float(), None if y_test is None else y_test.float(), None
    names = read_frame(train, where).names if is_frame(train) else ()
    classes = names or tuple(map(str, range(y.shape[1])))
    return y.argmax(1), None if y_test is None else y_test.argmax(1), classes


def _check_rows(y: Tensor, columns: int, single: bool, where: str) -> None:
    kind = "one-hot" if single else "0 and 1"
    if y.dim() != 2 or y.shape[1] != columns:
        raise DataError(f"{where} has shape {tuple(y.shape)}; expected rows of {kind} (N, {columns}), as y_train has")
    fits = ((y == 0) | (y == 1)).all(1) & ((y.sum(1) == 1) | (not single))
    if not fits.all():
        row = int((~fits).nonzero()[0])
        raise DataError(f"{where}: row {row} (counted from 0) is not {kind}; expected that, as in y_train; correct it")


def _words(value: Any, where: str, numbers: bool = False) -> list[str] | None:
    """The name of every label (N,) or (N, 1); None for numbers, but for the whole ones of a series or, asked for, of
    anything."""
    if value is None or is_frame(value):
        return None
    array = plain(value, where)
    if isinstance(array, Tensor):
        array = (array if array.dtype == torch.bool else as_tensor(array, where)).numpy(force=True)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "bOUT" else array
    if array.ndim != 1 or array.dtype.names:
        return None
    if _categories(value) is not None or array.dtype.kind in "bOUT":
        of_list = isinstance(value, list) and array.dtype.kind == "U"  # in which numpy writes numbers as text
        return _named(list(value) if of_list else array.tolist(), where, _categories(value) is not None)
    whole = array.dtype.kind in "iu" or bool(np.isfinite(array).all() and (array == np.round(array)).all())
    return [str(int(label)) for label in array.tolist()] if whole and (numbers or is_series(value)) else None


def _named(items: list[Any], where: str, categorical: bool) -> list[str] | None:
    kinds = {"text" if isinstance(item, str) else type(item).__name__ for item in items if not is_missing(item)}
    if not categorical and not kinds & {"text", "bool"}:
        return None
    row = next((row for row, item in enumerate(items) if is_missing(item) or str(item) in ("", "nan")), None)
    if row is not None:
        raise DataError(f"{where}: row {row} (counted from 0) has no label; expected one; fill it in or drop the row")
    if not categorical and len(kinds) > 1:
        came = " and ".join(sorted(kinds)[:4])
        raise DataError(f"{where} holds {came}; expected labels of one type, text or numbers; convert them")
    return [str(item) for item in items]


def _categories(value: Any) -> list[str] | None:
    """The names of a categorical series' categories, in their order."""
    categories = getattr(getattr(value, "dtype", None), "categories", None) if is_series(value) else None
    return [str(category) for category in categories] if hasattr(categories, "to_list") else None  # type: ignore[union-attr]


def _ordered(value: Any, words: list[str]) -> tuple[str, ...]:
    """The classes that occur: in the order of their categories, of their values, or of the alphabet."""
    present = set(words)
    order = _categories(value) or sorted(present, key=int if all(map(_WHOLE.fullmatch, present)) else str)
    return tuple(name for name in order if name in present)


def _numbered(words: list[str], classes: Sequence[str], where: str) -> Tensor:
    number = {name: index for index, name in enumerate(classes)}
    unknown = next((row for row, word in enumerate(words) if word not in number), None)
    if unknown is not None:
        came = f"{words[unknown][:40]!r} in row {unknown} (counted from 0)"
        known = ", ".join(map(repr, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise DataError(f"{where}: labels out of range: {came}; expected one of {known}, as in training; correct it")
    return torch.tensor([number[word] for word in words])
