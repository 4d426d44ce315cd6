"""New samples with labels, to measure a trained net on: all of them, named and ordered as in training."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .catalogue import DATASETS, load
from .convert import Pair, as_tensor
from .dataset import Dataset, check_finite, check_samples
from .errors import DataError, DataWarning, suggest
from .files import read_file


@dataclass(frozen=True)
class Labelled:
    """x (N, *shape) as it was read, and y: classes (N,) by their place in `classes`, or targets."""

    name: str
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]  # empty where y is no class, or a class by its number
    part: str  # "test", or "all" where the data have no part of that name
    features: tuple[str, ...] = ()
    table: Any = None


def read_labelled(
    source: str | Path,
    *,
    label: str,
    classes: Sequence[str],
    features: Sequence[str] = (),
    data_dir: str | None = None,
) -> Labelled:
    """The test part of an .npz, .csv or folder of images by class, or of a published set; all samples of what has none.

    classes: those of training, none for a regression; y are their numbers then, found by name, and else targets
    (N, K).  features: the columns of training, found by name too where both have names (`align`).
    Raises `DataError` for what cannot be read, for labels that training did not know, and for columns that lack."""
    if isinstance(source, str) and source in DATASETS:
        data = _test_part(load(source, data_dir=data_dir))
    else:
        read: Any = read_file(Path(source).expanduser(), label=label, build=_labelled)
        data = read
    x = align(data.name, data.x, data.features, features)
    y = _classes(data, classes) if classes else _targets(data)
    check_samples(f"{data.name}: x", x, y)
    return Labelled(data.name, x, y, tuple(classes), data.part, tuple(features))


def align(where: str, x: Tensor, names: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """The columns of x (N, features), called `names`, in the order of `wanted`; see `find_columns`."""
    if not names or not wanted or tuple(names) == tuple(wanted):
        return x
    return x.index_select(1, torch.tensor(find_columns(where, names, wanted), device=x.device))


def find_columns(where: str, names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The places of the columns `wanted` among `names`; all in their order where one of them is empty.

    Columns that are not wanted are left out with one `DataWarning`. Raises `DataError` for one that lacks, or is there
    twice.
    """
    if not names or not wanted:
        return list(range(len(names or wanted)))
    place = {name: index for index, name in enumerate(names)}
    lacking = [name for name in wanted if name not in place]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        came = f"has no column {lacking[0]!r}{more}"
        raise DataError(
            f"{where}: {came}; expected the columns of training, in any order; {suggest(lacking[0], names)}"
        )
    twice = next((name for name in wanted if list(names).count(name) > 1), None) if len(place) < len(names) else None
    if twice is not None:
        raise DataError(f"{where}: column {twice!r} stands twice; expected different names; rename one")
    spare = [name for name in names if name not in set(wanted)]
    if spare:
        told = f"{spare[0]!r}" + (f" and {len(spare) - 1} more" if len(spare) > 1 else "")
        warnings.warn(f"{where}: training had no column {told}; left out", DataWarning, stacklevel=3)
    return [place[name] for name in wanted]


def _labelled(name: str, train: Pair, test: Pair | None, *, classes: Sequence[str] | None = None, **_: Any) -> Labelled:
    x, y = train if test is None else test
    x, y = as_tensor(x, f"{name}: x"), as_tensor(y, f"{name}: y")
    return Labelled(name, x, y, tuple(classes or ()), "all" if test is None else "test")


def _test_part(data: Dataset) -> Labelled:
    return Labelled(data.name, data.x_test, data.y_test, data.classes, "test", data.features)


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
