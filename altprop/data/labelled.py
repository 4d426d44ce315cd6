"""New samples with labels, to measure a trained net on: all of them, named and ordered as in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .catalogue import DATASETS, load
from .cells import labels
from .checks import check_finite, check_samples
from .columns import TableEncoding
from .convert import Pair
from .dataset import Dataset
from .dialect import read_sheet
from .errors import DataError, suggest, user_path
from .features import read_features
from .files import TABLES, read_file
from .frames import as_tensor
from .shapes import as_grey, check_shape


@dataclass(frozen=True)
class Labelled:
    """x (N, *shape) as it was read, and y: classes (N,) by their place in `classes`, or targets."""

    name: str
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]  # empty where y is no class, or a class by its number
    part: str  # "test", or "all" where the data have no part of that name


def read_labelled(
    source: str | Path,
    shape: tuple[int, ...],
    *,
    label: str,
    classes: Sequence[str],
    table: TableEncoding | None = None,
    fallback: str | None = None,
    data_dir: str | None = None,
) -> Labelled:
    """The test part of an .npz or folder of images by class, or of a published set; all samples of what has none.

    shape: of a sample in training.  classes: those of training, none for a regression; y are their numbers then, found
    by name, and else targets (N, K).  table: the columns of training, by which those of a .csv are found by name.
    Raises `DataError` for what cannot be read, for labels that training did not know, and for columns that lack."""
    if isinstance(source, str) and source in DATASETS:
        data = _test_part(load(source, data_dir=data_dir))
    else:
        path = user_path(source)
        if path.suffix.lower() in TABLES and not path.is_dir():
            data = _rows(path, shape, label, bool(classes), table, fallback)
        else:
            read: Any = read_file(path, label=label, build=_labelled)
            data = read
    x = as_grey(data.x, shape)
    check_shape(data.name, x.shape, shape)
    y = _classes(data, classes) if classes else _targets(data)
    check_samples(f"{data.name}: x", x, y)
    return Labelled(data.name, x, y, tuple(classes), data.part)


def _rows(
    path: Path, shape: tuple[int, ...], label: str, classify: bool, table: TableEncoding | None, fallback: str | None
) -> Labelled:
    x = read_features(path, shape, label=label, table=table, fallback=fallback)
    sheet = read_sheet(path, (label,), fallback=fallback)
    if label not in sheet.columns:
        came = f"the header has no column {label!r}"
        raise DataError(f"{path}: {came}; expected one with the labels; {suggest(label, list(sheet.columns))}")
    sheet = sheet.pointed((), label)
    task = "classification" if classify else "regression"
    y, classes = labels(sheet.columns[label], task, lambda row: sheet.place.at(row, label))
    return Labelled(path.name, x, torch.from_numpy(np.asarray(y)), tuple(classes or ()), "all")


def _labelled(name: str, train: Pair, test: Pair | None, *, classes: Sequence[str] | None = None, **_: Any) -> Labelled:
    x, y = train if test is None else test
    x, y = as_tensor(x, f"{name}: x"), as_tensor(y, f"{name}: y")
    return Labelled(name, x, y, tuple(classes or ()), "all" if test is None else "test")


def _test_part(data: Dataset) -> Labelled:
    return Labelled(data.name, data.x_test, data.y_test, data.classes, "test")


def _classes(data: Labelled, known: Sequence[str]) -> Tensor:
    """The place of each label among the classes of training."""
    y = data.y[:, 0] if data.y.dim() == 2 and data.y.shape[1] == 1 else data.y
    if y.dim() != 1 or (y.is_floating_point() and bool((y != y.round()).any())):
        came = f"targets of shape {tuple(y.shape)}"
        raise DataError(f"{data.name}: has {came}; expected labels (N,) of the {len(known)} classes of training")
    numbers, index = y.long().unique(return_inverse=True)
    names = [data.classes[number] if data.classes else str(number) for number in numbers.tolist()]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise DataError(f"{data.name}: label {unknown!r} was not known in training; expected {suggest(unknown, known)}")
    return torch.tensor([list(known).index(name) for name in names])[index]


def _targets(data: Labelled) -> Tensor:
    """Targets (N, K); whole numbers that were read as classes are numbers again."""
    y = data.y
    if data.classes:
        try:
            y = torch.from_numpy(np.array([float(name) for name in data.classes], np.float32))[y]
        except ValueError as error:
            came = f"labels that are no numbers ({data.classes[0]!r})"
            raise DataError(f"{data.name}: has {came}; expected targets, as in training; correct them") from error
    y = (y[:, None] if y.dim() == 1 else y).float()
    check_finite(f"{data.name}: y", y)
    return y
