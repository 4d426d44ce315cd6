"""How the columns of a table become features, and how new samples become the same ones: by name, never by place."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cells import BEYOND, EXACT, NUMBER, codes, missing, numbers, short
from .dialect import Place
from .errors import DataError, DataWarning, suggest

MOST_CATEGORIES = 1000  # a column of more is no category but a name or a number of its own


@dataclass(frozen=True)
class TableEncoding:
    """What is needed to turn a table's columns into the features that a net was trained on.

    A column of numbers is one feature of its name; one of categories gives a feature `name=category` for each of them,
    1 where the cell is that category and else 0. Raises `DataError` where two features would have one name.
    """

    columns: tuple[str, ...]  # of the table, in the order of their features
    categories: Mapping[str, tuple[str, ...]]  # of each column of text
    label: str = "label"
    means: tuple[float, ...] | None = None  # of each feature, for cells without a value; None where those are refused

    def __post_init__(self) -> None:
        if len(set(self.features)) < len(self.features):
            name = next(name for name in self.features if self.features.count(name) > 1)
            raise DataError(f"feature {short(name)} comes of a column and of a category; rename that column")

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the columns of x."""
        return tuple(name for _, names in self.groups() for name in names)

    def groups(self) -> list[tuple[str, tuple[str, ...]]]:
        """(column, the names of its features) in the order of x."""
        texts = self.categories
        return [(c, tuple(f"{c}={each}" for each in texts[c]) if c in texts else (c,)) for c in self.columns]

    def ordered(self, features: Sequence[str]) -> "TableEncoding":
        """The same with those columns alone, and their means, that `features` has whole, in its order."""
        place = {name: number for number, name in enumerate(features)}
        groups = [group for group in self.groups() if place.keys() >= set(group[1])]
        groups.sort(key=lambda group: place[group[1][0]])
        by_name = dict(zip(self.features, self.means or (), strict=bool(self.means)))
        means = None if self.means is None else tuple(by_name[name] for _, names in groups for name in names)
        columns = tuple(column for column, _ in groups)
        texts = {column: names for column, names in self.categories.items() if column in columns}
        return replace(self, columns=columns, categories=texts, means=means)

    def state(self) -> dict[str, Any]:
        """Plain lists and dicts, for JSON; `from_state` takes them back."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Any) -> "TableEncoding":
        """Raises `DataError` for what `state` did not write."""
        try:
            columns, (label,), means = _words(state["columns"]), _words([state["label"]]), state["means"]
            texts = {name: _words(categories) for name, categories in state["categories"].items()}
            means = None if means is None else tuple(map(float, means))
            encoding = cls(columns, texts, label, means)
            sound = columns and texts.keys() <= set(columns) and all(texts.values())
            if not sound or (
                means is not None and (len(means) != len(encoding.features) or not np.isfinite(means).all())
            ):
                raise ValueError("it does not agree with itself")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"the encoding of a table is damaged ({error}); expected what a run wrote") from error
        return encoding


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise TypeError("a list of names is none")
    return tuple(value)


def encode(table: TableEncoding, columns: Mapping[Any, Any], place: Place | None = None) -> Tensor:
    """x (N, features) float32 of new samples: `columns` gives by name sequences of N cells, text or values.

    Such are the columns of a file, a dict of lists or arrays, a data frame. Their order is free; one that training did
    not have is left out with one `DataWarning` that names it. Cells without a value take the means of training.
    Raises `DataError` for a column that is missing, and with its row for a cell that is no number, a code, a category
    that training did not have, or without a value where there are no means.
    """
    place = place or Place()
    names = {str(name).strip(): name for name in getattr(columns, "columns", columns)}  # of a data frame
    check_columns(table, list(names), place)
    cells = {name: as_cells(columns[names[name]], place, name) for name in table.columns}
    return encode_cells(table, cells, list(names), place)


def encode_cells(table: TableEncoding, cells: Mapping[str, Any], names: Sequence[str], place: Place) -> Tensor:
    """`encode` of columns that are there and stripped, of a table whose header has these `names`."""
    x = fill(to_features(table, cells, place, filled=table.means is not None, training=False), table.means)
    tell_more(names, (*table.columns, table.label), place.name)
    return torch.from_numpy(x)


def check_columns(table: TableEncoding, names: Sequence[str], place: Place) -> None:
    """Raises `DataError` for a table that lacks a column of training."""
    present = set(names)
    for name in table.columns:
        if name not in present:
            came = f"has no column {short(name)}, which training had"
            raise DataError(f"{place.name}: {came}; give the same columns, in any order; {suggest(name, names)}")


def tell_more(names: Sequence[str], known: Iterable[str], where: str) -> None:
    """One `DataWarning` of the names that are not among those known."""
    wanted = set(known)
    extra = [name for name in names if name not in wanted]
    if extra:
        listed = ", ".join(map(short, extra[:5])) + (f" and {len(extra) - 5} more" if len(extra) > 5 else "")
        told = f"{where}: left out what training did not have: column{'s'[: len(extra) > 1]} {listed}"
        warnings.warn(told, DataWarning, stacklevel=3)


def to_features(
    table: TableEncoding, cells: Mapping[str, Any], place: Place, *, filled: bool, training: bool
) -> np.ndarray:
    """x (N, features) float32, NaN where a cell has no value, which is refused unless such are `filled` afterwards."""
    rows = {name: len(cells[name]) for name in table.columns}
    count = next(iter(rows.values()), 0)
    name = next((name for name, length in rows.items() if length != count), None)
    if name is not None:
        raise DataError(f"{place.name}: column {short(name)} has {rows[name]} cells, but the first one {count}")
    whole = None if table.categories else _all_numbers([cells[name] for name in table.columns], count)
    if whole is not None:
        return whole
    x = np.empty((count, len(table.features)), np.float32)
    start = 0
    for name, features in table.groups():
        if name in table.categories:
            values = _one_hot(cells[name], table.categories[name], place, name)
        else:
            values = _numbers(cells[name], place, name, training)
        without = np.flatnonzero(np.isnan(values[:, 0]))
        if len(without) and not filled:
            raise _missing(cells[name], int(without[0]), place, name, training)
        x[:, start : start + len(features)] = values
        start += len(features)
    return x


def fill(x: np.ndarray, means: Sequence[float] | None) -> np.ndarray:
    """x with the mean of its feature wherever it is NaN."""
    if means is not None:
        rows, features = np.nonzero(np.isnan(x))
        x[rows, features] = np.asarray(means, np.float32)[features]
    return x


def as_cells(values: Any, place: Place, name: str) -> Any:
    """Text of each value, stripped, or a numeric array as it is; raises `DataError` for dates, objects and tables."""
    if isinstance(values, (list, tuple)) and all(type(value) is str for value in values):
        return [value.strip() for value in values]
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biufOUT":
        came = f"column {short(name)} is {array.dtype} of shape {array.shape}"
        raise DataError(f"{place.name}: {came}; expected one number or text for each sample; convert it")
    return array if array.dtype.kind in "biuf" else [_text(value) for value in array.tolist()]


def _text(value: Any) -> str:
    """As a file would have it; a value that is none (None, NaN, NaT, NA) is an empty cell."""
    if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _one_hot(cells: Any, categories: tuple[str, ...], place: Place, name: str) -> np.ndarray:
    cells = [_text(value) for value in cells.tolist()] if isinstance(cells, np.ndarray) else cells
    index = {category: number for number, category in enumerate(categories)}
    nothing = missing(cells)
    for row, cell in enumerate(cells):
        if cell not in index and not nothing[row]:
            came = f"category {short(cell)} did not occur in training"
            raise DataError(f"{place.at(row, name)}: {came}; correct the cell or leave out the row; {_few(categories)}")
    values = np.zeros((len(cells), len(categories)), np.float32)
    known = np.flatnonzero(~nothing)
    values[known, [index[cells[row]] for row in known]] = 1
    values[nothing] = np.nan
    return values


def _few(categories: Sequence[str]) -> str:
    return "there are: " + ", ".join(map(short, categories[:5])) + (", ..." if len(categories) > 5 else "")


def _all_numbers(columns: Sequence[Any], count: int) -> np.ndarray | None:
    """float32 (N, columns) where every cell is a sound number, and else None: thousands of columns in one go."""
    if any(isinstance(cells, np.ndarray) for cells in columns):
        return None
    flat = list(chain.from_iterable(columns))
    found = numbers(flat)
    if found is None or next(codes(flat, found), None) is not None or not (np.abs(found) <= BEYOND).all():
        return None
    return np.ascontiguousarray(found.astype(np.float32).reshape(len(columns), count).T)


def _numbers(cells: Any, place: Place, name: str, training: bool) -> np.ndarray:
    """float64 (N, 1), NaN where a cell is missing."""
    array = isinstance(cells, np.ndarray)
    nothing = np.isnan(cells.astype(np.float64)) if array else missing(cells)
    here = np.flatnonzero(~nothing)
    given: Any = cells[here] if array else [cells[row] for row in here.tolist()]
    found = given.astype(np.float64) if array else numbers(given)
    if found is None:
        row = next(int(row) for row in here if not NUMBER.fullmatch(cells[row]))
        raise DataError(f"{place.at(row, name)}: {short(cells[row])} is no number; {_advice(name, training)}")
    _check(given, found, here, place, name, training)
    values = np.full((len(cells), 1), np.nan)
    values[here, 0] = found
    return values


def _check(given: Any, found: np.ndarray, here: np.ndarray, place: Place, name: str, training: bool) -> None:
    if isinstance(given, np.ndarray):
        exact = given.dtype.kind not in "iu" or not len(given) or max(-int(given.min()), int(given.max())) <= EXACT
        code = -1 if exact else int(np.flatnonzero((found >= EXACT) | (found <= -EXACT))[0])
    else:
        code = next(codes(given, found), -1)
    if code >= 0:
        came = f"{short(given[code])} is a code, no amount (leading zero or above 2**53)"
        raise DataError(f"{place.at(int(here[code]), name)}: {came}; {_advice(name, training)}")
    outside = np.flatnonzero(~(np.abs(found) <= BEYOND))
    if len(outside):
        came = f"{short(given[int(outside[0])])} is no finite number in 32 bits"
        raise DataError(f"{place.at(int(here[outside[0]]), name)}: {came}; correct the cell or remove the row")


def _advice(name: str, training: bool) -> str:
    if training:
        return f"if it is a category or code, give --categories {name}, or leave the column out; else correct the cell"
    return "expected a number, as in training; correct the cell"


def _missing(cells: Any, row: int, place: Place, name: str, training: bool) -> DataError:
    cell = str(cells[row])
    came = f"{short(cell)} is no value" if cell else "the cell is empty"
    advice = "fill it in, or give --missing drop (its row) or mean" if training else "fill it in, or train with "
    return DataError(f"{place.at(row, name)}: {came}; {advice}{'' if training else '--missing mean'}")
