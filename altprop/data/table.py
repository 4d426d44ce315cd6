"""A data set from a table in text, as people have such: columns by name, one of them the label."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .cells import labels, missing, short
from .columns import MOST_CATEGORIES, TableEncoding, check_columns, fill, tell_more, to_features
from .convert import TEST_FRACTION, assemble
from .dataset import Dataset, holdout
from .dialect import Sheet, read_sheet
from .errors import DataError, DataWarning, printable, suggest
from .task import tell_classes

MISSING = ("drop", "mean")  # what may become of cells without a value


def read_csv(
    path: Path,
    *,
    label: str = "label",
    seed: int = 0,
    val: float = 0.0,
    task: str | None = None,
    encoding: str | None = None,
    categories: Sequence[str] = (),
    missing: str | None = None,
    table: TableEncoding | None = None,
) -> Dataset:
    """Features (N, features) float32 and the column `label`, from a table in text with a header.

    Encoding, separator (comma, semicolon, tab) and decimal mark are told from the file (`read_sheet`); numbers, codes
    and labels by the grammar of `cells`. `task` says "classification" or "regression" of labels that could be either.
    The columns named in `categories` become one feature a category; `missing` says what to do where a cell has no
    value: None refuses it, "drop" leaves the row out, "mean" takes the mean of the training part (without `val`, the
    share that is held out of it later). `table` gives the columns that training had, and their order.
    Raises `DataError`, naming data row, line and column, for a cell that cannot be used, a row of another length, or a
    column that is not there.
    """
    if missing not in (None, *MISSING):
        raise DataError(f"missing {missing!r} is unknown; use None or one of these: {suggest(str(missing), MISSING)}")
    wanted = (label, *categories, *(table.columns if table else ()))
    sheet = read_sheet(path, wanted, encoding=encoding)
    header = list(sheet.columns)
    names = _features(sheet, label, categories, table)
    rows = len(sheet)
    if missing == "drop":
        sheet = _dropped(sheet, [*names, label])
    texts = set(table.categories if table else categories)
    sheet = sheet.pointed([name for name in names if name not in texts], label)
    y, classes = labels(sheet.columns[label], task, lambda row: sheet.place.at(row, label))
    if table is None:
        table = TableEncoding(tuple(names), {name: _categories(sheet, name) for name in names if name in texts}, label)
    x = to_features(table, sheet.columns, sheet.place, filled=missing == "mean", training=True)
    means = _means(x, y, seed, val, table, sheet.place.name) if missing == "mean" else None
    table = replace(table, means=means)
    data = assemble(
        printable(path.name), (fill(x, means), y), None, seed=seed, classes=classes or (), task=_task(classes)
    )
    if classes:
        tell_classes(printable(path.name), torch.from_numpy(y), classes, task)
    tell_more(header, (*table.columns, label), sheet.place.name)
    _tell_reading(sheet, rows)
    return replace(data, features=table.features, table=table)


def _tell_reading(sheet: Sheet, rows: int) -> None:
    if len(sheet) < rows:
        told = f"{rows - len(sheet)} of {rows} rows were left out, since they lack a value (missing = drop)"
        warnings.warn(f"{sheet.place.name}: {told}", DataWarning, stacklevel=3)
    if sheet.guess is not None:
        told = f"is no UTF-8 and was read as {sheet.guess}; if names look wrong, give its --encoding"
        warnings.warn(f"{sheet.place.name}: {told}", DataWarning, stacklevel=3)


def _task(classes: tuple[str, ...] | None) -> str:
    return "classification" if classes else "regression"


def _features(sheet: Sheet, label: str, categories: Sequence[str], table: TableEncoding | None) -> list[str]:
    """The columns that become features, after a look at the header."""
    header, name = list(sheet.columns), sheet.place.name
    if label not in header:
        came = f"the header has no column {short(label)}"
        raise DataError(f"{name}: {came}; expected one with the labels; name it by label=; {suggest(label, header)}")
    if len(header) < 2:
        came = f"has no column but {short(label)}"
        raise DataError(f"{name}: {came}; expected features beside it, separated by commas, semicolons or tabs")
    if not len(sheet):
        raise DataError(f"{name}: has a header but no rows; expected at least one; add samples")
    for category in categories:
        if category not in header or category == label:
            came = f"is no feature of {name}" if category == label else f"is no column of {name}"
            others = [other for other in header if other != label]
            raise DataError(f"categories: {short(category)} {came}; name columns of text; {suggest(category, others)}")
    if table is None:
        return [other for other in header if other != label]
    check_columns(table, header, sheet.place)
    return list(table.columns)


def _dropped(sheet: Sheet, names: Sequence[str]) -> Sheet:
    """The rows without a missing cell in these columns."""
    without = np.zeros(len(sheet), bool)
    for name in names:
        without |= missing(sheet.columns[name])
    if without.all():
        raise DataError(f"{sheet.place.name}: every row lacks a value; expected some that are whole; give missing mean")
    return sheet.keep(~without) if without.any() else sheet


def _categories(sheet: Sheet, name: str) -> tuple[str, ...]:
    cells = sheet.columns[name]
    nothing = missing(cells)
    found = sorted({cell for cell, without in zip(cells, nothing.tolist(), strict=True) if not without})
    if not 0 < len(found) <= MOST_CATEGORIES:
        came = f"column {short(name)} has {len(found)} categories"
        raise DataError(f"{sheet.place.name}: {came}; expected 1 to {MOST_CATEGORIES}; leave the column out")
    return tuple(found)


def _means(x: np.ndarray, y: np.ndarray, seed: int, val: float, table: TableEncoding, name: str) -> tuple[float, ...]:
    """Of each feature over the samples that will be the training part; those held out must not shape what it is fed."""
    train, _ = holdout(torch.from_numpy(y), TEST_FRACTION, seed)
    if 0 < val < 1:
        train = train[holdout(torch.from_numpy(y)[train], val, seed)[0]]
    here = ~np.isnan(x[train])
    count = here.sum(0)
    if not count.all():
        empty = table.features[int(np.flatnonzero(count == 0)[0])]
        raise DataError(f"{name}: feature {short(empty)} has no value in the training part; leave that column out")
    sums = np.where(here, x[train], 0).sum(0, dtype=np.float64)
    return tuple((sums / count).tolist())
