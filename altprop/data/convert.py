"""From arrays, torch data sets and loaders to a `Dataset`."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from .dataset import Dataset, check_finite, check_samples, holdout
from .errors import DataError
from .task import are_labels, tell_classes

TEST_FRACTION = 0.2

Pair = tuple[Any, Any]
_ARRAYS = (Tensor, np.ndarray)


def from_torch(
    train: Any, test: Any = None, *, seed: int = 0, name: str = "custom", task: str | None = None
) -> Dataset:
    """A `Dataset` of a torch Dataset, a DataLoader, an iterable of samples (x, y), or a pair of tensors (x, y).

    Everything is read once and kept: random augmentation is frozen as it fell. Without `test` a stratified fifth is
    held out by `seed`, by position: give a loader that does not shuffle if the split is to be the same again.
    `task` is "classification" or "regression" for labels that could be either.
    Raises `DataError` for samples that are not tensors of one shape with a label or target, and for what `Dataset`
    refuses.
    """
    pair = _gather(train, f"{name}: train")
    return assemble(name, pair, None if test is None else _gather(test, f"{name}: test"), seed=seed, task=task)


def assemble(
    name: str,
    train: Pair,
    test: Pair | None,
    *,
    seed: int = 0,
    classes: tuple[str, ...] | None = None,
    task: str | None = None,
) -> Dataset:
    """A `Dataset` of arrays or tensors (x, y); without `test` a stratified fifth of `train` is held out by `seed`.

    y (N,) of whole numbers are labels, which must be 0 to C-1 where `classes` does not name them; other y (N,) and
    float y (N, K) are targets; `task` says otherwise. Raises `DataError` for labels out of range and for what
    `Dataset` refuses.
    """
    x, y = as_tensor(train[0], f"{name}: x_train"), as_tensor(train[1], f"{name}: y_train")
    x = _samples(x)
    check_samples(f"{name}: x_train", x, y)
    if x.dtype == torch.uint8 and x.dim() == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        came = f"images of shape {tuple(x.shape[1:])}"
        raise DataError(f"{name}: has {came}; expected (channels, height, width); give x.transpose(0, 3, 1, 2)")
    labelled = are_labels(y, task, f"{name}: y_train")
    y = _labels(y, f"{name}: y_train") if labelled else _targets(y, f"{name}: y_train")
    if labelled and classes is None:
        classes = _number_classes(y, name)
        tell_classes(name, y, classes, task)
    if test is None:
        keep, held = holdout(y, TEST_FRACTION, seed)
        if not len(held):
            raise DataError(
                f"{name}: no class has 2 samples; expected 2, to hold one out for testing; "
                "add samples, or if the labels are amounts give --task regression"
            )
        return Dataset(name, x[keep], y[keep], x[held], y[held], classes or ())
    x_test, y_test = as_tensor(test[0], f"{name}: x_test"), as_tensor(test[1], f"{name}: y_test")
    # The training part decides what y is: a test part of whole numbers alone does not make regression a classification.
    y_test = _labels(y_test, f"{name}: y_test") if labelled else _targets(y_test, f"{name}: y_test")
    return Dataset(name, x, y, _samples(x_test), y_test, classes or ())


def as_tensor(value: Any, where: str) -> Tensor:
    """Array or tensor -> CPU tensor of uint8, int64 or float32 (other integers and floats are cast).

    Raises `DataError` for text, objects, dates or complex numbers.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise DataError(f"{where} is {value.dtype}; expected real numbers; take its real part or its modulus")
        value = value.detach().cpu()
        return value if value.dtype == torch.uint8 else value.float() if value.is_floating_point() else value.long()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} is an array of {array.dtype}; expected numbers; encode it as integers or floats")
    dtype = np.uint8 if array.dtype == np.uint8 else np.float32 if array.dtype.kind == "f" else np.int64
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which the checks report with its row
        return torch.from_numpy(np.array(array, dtype=dtype, order="C"))


def _samples(x: Tensor) -> Tensor:
    return x if x.dtype == torch.uint8 else x.float()


def _labels(y: Tensor, where: str) -> Tensor:
    y = y[:, 0] if y.dim() == 2 and y.shape[1] == 1 else y
    if y.dim() != 1:
        came = f"shape {tuple(y.shape)}"
        raise DataError(f"{where} has {came}; expected labels (N,), or float targets (N, K); take argmax(1) if one-hot")
    fractional = (y != y.round()).nonzero().flatten() if y.is_floating_point() else y[:0]
    if len(fractional):
        row = int(fractional[0])
        came = f"{y[row].item():g} in row {row} (counted from 0)"
        raise DataError(f"{where}: labels out of range: {came}; expected whole numbers, as in training; correct it")
    return y.long()


def _targets(y: Tensor, where: str) -> Tensor:
    if y.dim() not in (1, 2):
        raise DataError(f"{where} has shape {tuple(y.shape)}; expected labels (N,) or float targets (N, K); reshape it")
    y = (y[:, None] if y.dim() == 1 else y).float()
    check_finite(where, y)  # here, where rows still have the numbers that the user knows
    return y


def _number_classes(y: Tensor, name: str) -> tuple[str, ...]:
    present = y.unique()
    if not torch.equal(present, torch.arange(len(present))):
        came = f"{len(present)} different labels from {int(present[0])} to {int(present[-1])}"
        raise DataError(
            f"{name}: labels out of range: y_train has {came}; expected 0 to {len(present) - 1} without a gap; "
            "renumber them, or for a regression give --task regression (in Python task='regression')"
        )
    return tuple(str(i) for i in range(len(present)))


def _gather(source: Any, where: str) -> Pair:
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, _ARRAYS) for part in source):
        return source
    batched = isinstance(source, DataLoader) and source.batch_sampler is not None
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    for number, item in enumerate(_items(source, where)):
        x, y = _item(item, f"{where}: item {number}")
        came, first = (_describe(*pair, batched) for pair in ((x, y), (xs[0], ys[0]) if xs else (x, y)))
        if came != first:
            raise DataError(f"{where}: item {number} has {came}; expected {first}, as item 0 has; make them alike")
        xs.append(x)
        ys.append(y)
    if not xs:
        raise DataError(f"{where}: holds no samples; expected at least one (tensor, label or target); add some")
    return (torch.cat(xs), torch.cat(ys)) if batched else (torch.stack(xs), torch.stack(ys))


def _items(source: Any, where: str) -> Iterable[Any]:
    if isinstance(source, (dict, str)) or not (isinstance(source, Iterable) or hasattr(source, "__getitem__")):
        came = type(source).__name__
        raise DataError(f"{where}: is {came}; expected a torch Dataset, a DataLoader or a pair of tensors; convert it")
    indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, IterableDataset)
    if indexed:
        # A torch Dataset need not raise IndexError at its end, so that plain iteration might not stop.
        return (source[i] for i in range(len(source)))
    return source


def _item(item: Any, where: str) -> tuple[Tensor, Tensor]:
    if not (isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], _ARRAYS)):
        types = [type(part).__name__ for part in item] if isinstance(item, (tuple, list)) else [type(item).__name__]
        raise DataError(
            f"{where} is ({', '.join(types)}); expected (tensor, label or target); "
            "for images set transform=torchvision.transforms.PILToTensor()"
        )
    return as_tensor(item[0], f"{where}: x"), as_tensor(item[1], f"{where}: y")


def _describe(x: Tensor, y: Tensor, batched: bool) -> str:
    own = 1 if batched else 0
    return f"x {tuple(x.shape[own:])} {x.dtype}, y {tuple(y.shape[own:])} {y.dtype}"
