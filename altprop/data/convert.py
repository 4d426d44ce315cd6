"""From arrays, data frames, torch data sets and loaders to a `Dataset`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from .checks import check_finite, check_samples
from .dataset import Dataset, holdout
from .errors import DataError
from .frames import Columns, as_tensor, check_order, is_array, is_frame, read_frame, split_label
from .labels import encode
from .shapes import as_grey, check_layout
from .task import are_labels, tell_classes
from .weights import as_weights

TEST_FRACTION = 0.2

Pair = tuple[Any, Any]
_ARRAYS = (Tensor, np.ndarray, list)


def from_torch(
    train: Any, test: Any = None, *, label: str = "label", sample_weight: Any = None, seed: int = 0,
    name: str = "custom", task: str | None = None,
) -> Dataset:  # fmt: skip
    """A `Dataset` of what Python users have: a pair (x, y) of arrays, tensors, lists or data frames; a dict of x and y;
    a data frame with a column `label`; a torch Dataset, a DataLoader or an iterable of samples (x, y).

    sample_weight (N,): what each sample of `train` counts. The names of a frame's columns are kept as `features`.
    Everything is read once and kept: random augmentation is frozen as it fell. Without `test` a stratified fifth is
    held out by `seed`, by position: give a loader that does not shuffle if the split is to be the same again.
    `task` is "classification" or "regression" for labels that could be either.
    Raises `DataError` for samples that are not tensors of one shape with a label or target, and for what `assemble`
    refuses.
    """
    if isinstance(train, Mapping) and test is None:
        train, test = parts_of(train, f"{name}: data")
    pair = _gather(train, f"{name}: train", label)
    like = pair[0].names if isinstance(pair[0], Columns) else ()
    tested = None if test is None else _gather(test, f"{name}: test", label, like)
    return assemble(name, pair, tested, seed=seed, task=task, weights=sample_weight)


def parts_of(data: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """(train, test or None) of a dict of these two, or of arrays named as in an .npz; raises `DataError` for others."""
    for wanted in (("train", "test"), ("x_train", "y_train", "x_test", "y_test"), ("x", "y", "x_test", "y_test")):
        half = len(wanted) // 2
        if data.keys() in ({*wanted}, {*wanted[:half]}):
            parts = [data.get(key) for key in wanted]
            test = None if parts[half] is None else parts[half:]
            return (parts[0], parts[1]) if half == 1 else (tuple(parts[:2]), test and tuple(test))
    came = ", ".join(map(str, data))[:80]
    raise DataError(f"{where} is a dict of {came}; expected x and y, and perhaps x_test and y_test; rename its keys")


def assemble(
    name: str, train: Pair, test: Pair | None, *, seed: int = 0, classes: tuple[str, ...] | None = None,
    task: str | None = None, weights: Any = None,
) -> Dataset:  # fmt: skip
    """A `Dataset` of arrays or tensors (x, y); without `test` a stratified fifth of `train` is held out by `seed`.

    x of bytes are pixels, and (N, H, W) of them grey images (N, 1, H, W); other whole numbers stay int64.
    y (N,) of whole numbers are labels, which must be 0 to C-1 where `classes` does not name them; text, booleans and
    rows (N, K) of 0 and 1 mean what `labels.encode` says; other y (N,) and float y (N, K) are targets; `task` says
    otherwise. weights (N,): what each sample of `train` counts.
    Raises `DataError` for labels out of range, images whose channels stand last, and for what `Dataset` refuses.
    """
    kept: dict[str, Any] = {"features": train[0].names if isinstance(train[0], Columns) else ()}
    y, y_test = train[1], test[1] if test else None
    if classes is None and task != "regression":
        y, y_test, classes = encode(y, y_test, name)
    x, y = as_grey(as_tensor(train[0], f"{name}: x_train")), as_tensor(y, f"{name}: y_train")
    check_samples(f"{name}: x_train", x, y)
    check_layout(f"{name}: x_train", x.shape[1:], pixels=x.dtype == torch.uint8)
    kept["weights"] = None if weights is None else as_weights(weights, len(x), "sample_weight")
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
        kept["weights"] = None if kept["weights"] is None else kept["weights"][keep]
        return Dataset(name, x[keep], y[keep], x[held], y[held], classes or (), **kept)
    x_test, y_test = as_grey(as_tensor(test[0], f"{name}: x_test")), as_tensor(y_test, f"{name}: y_test")
    # The training part decides what y is: a test part of whole numbers alone does not make regression a classification.
    y_test = _labels(y_test, f"{name}: y_test") if labelled else _targets(y_test, f"{name}: y_test")
    if x.dtype != x_test.dtype and torch.uint8 not in (x.dtype, x_test.dtype):
        x, x_test = x.float(), x_test.float()
    return Dataset(name, x, y, x_test, y_test, classes or (), **kept)


def _labels(y: Tensor, where: str) -> Tensor:
    y = y[:, 0] if y.dim() == 2 and y.shape[1] == 1 else y
    if y.dim() != 1:
        came = f"shape {tuple(y.shape)}"
        raise DataError(f"{where} has {came}; expected labels (N,), rows (N, K) of 0 and 1, or float targets (N, K)")
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


def _gather(source: Any, where: str, label: str, like: Sequence[str] = ()) -> Pair:
    if isinstance(source, Mapping):
        source, other = parts_of(source, where)
        if other is not None:
            raise DataError(f"{where} is a dict with a test part of its own; expected x and y; give it as the only one")
    if is_frame(source):
        return split_label(source, label, where, like)
    # Two lists in a list are two samples; in a tuple, or of arrays, they are x and y.
    pair = isinstance(source, tuple) or (
        isinstance(source, list) and not any(isinstance(part, list) for part in source)
    )
    if pair and len(source) == 2 and all(map(is_array, source)):
        x, y = source
        check_order(x, y, where)
        return (read_frame(x, where, like) if is_frame(x) else x), y
    return _collect(source, where)


def _collect(source: Any, where: str) -> Pair:
    batched = isinstance(source, DataLoader) and source.batch_sampler is not None
    xs: list[Tensor] = []
    ys: list[Any] = []
    for number, item in enumerate(_items(source, where)):
        x, y = _item(item, f"{where}: item {number}")
        came, first = (_describe(*pair, batched) for pair in ((x, y), (xs[0], ys[0]) if xs else (x, y)))
        if came != first:
            raise DataError(f"{where}: item {number} has {came}; expected {first}, as item 0 has; make them alike")
        xs.append(x)
        ys.append(y)
    if not xs:
        raise DataError(f"{where}: holds no samples; expected at least one (tensor, label or target); add some")
    x = torch.cat(xs) if batched else torch.stack(xs)
    if isinstance(ys[0], list):  # text
        return x, [word for words in ys for word in words]
    return x, torch.cat(ys) if batched else torch.stack(ys)


def _items(source: Any, where: str) -> Iterable[Any]:
    if isinstance(source, str) or not (isinstance(source, Iterable) or hasattr(source, "__getitem__")):
        came = type(source).__name__
        raise DataError(f"{where} is {came}; expected a torch Dataset, a DataLoader or a pair (x, y); convert it")
    indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, IterableDataset)
    if indexed:
        # A torch Dataset need not raise IndexError at its end, so that plain iteration might not stop.
        return (source[i] for i in range(len(source)))
    return source


def _item(item: Any, where: str) -> tuple[Tensor, Any]:
    if not (isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], _ARRAYS)):
        types = [type(part).__name__ for part in item] if isinstance(item, (tuple, list)) else [type(item).__name__]
        raise DataError(
            f"{where} is ({', '.join(types)}); expected (tensor, label or target); "
            "for images set transform=torchvision.transforms.PILToTensor()"
        )
    words = [item[1]] if isinstance(item[1], str) else item[1]
    if isinstance(words, list | tuple) and words and all(isinstance(word, str) for word in words):
        return as_tensor(item[0], f"{where}: x"), list(words)
    return as_tensor(item[0], f"{where}: x"), as_tensor(item[1], f"{where}: y")


def _describe(x: Tensor, y: Any, batched: bool) -> str:
    own = 1 if batched else 0
    return f"x {tuple(x.shape[own:])} {x.dtype}, y " + (
        "text" if isinstance(y, list) else f"{tuple(y.shape[own:])} {y.dtype}"
    )
