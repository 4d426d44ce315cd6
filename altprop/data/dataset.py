"""A data set as tensors, and batches of it.

Tensors that already lie on the device make a loader superfluous: a shuffled batch is one gather and one scaling.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .checks import check_alike, check_inputs, check_labels, check_samples, check_targets
from .columns import TableEncoding, tell_more
from .errors import DataError, suggest
from .scaling import SCALES, Raw, statistics
from .weights import as_weights


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train, test and perhaps validation tensors. One that exists is sound: its checks run when it is made.

    Shapes: x (N, *shape) uint8, scaled to [0, 1] at batch time, floats of 32 or 16 bits, used as is, or int64, tokens
    for a net that begins with an embedding and plain numbers for any other;
    y (N,) int64 class labels, or (N, K) float32 targets (regression and multi-hot labels, `classes` is empty);
    x_unlabelled (M, *shape), samples of no known class, perhaps a strided view of a file;
    weights (N,) float32, what each training sample counts.
    Raises `DataError` for lengths, shapes or types that do not fit, empty parts, NaN or infinity, fewer than two
    classes, labels out of range.
    """

    name: str
    x_train: Tensor = field(repr=False)
    y_train: Tensor = field(repr=False)
    x_test: Tensor = field(repr=False)
    y_test: Tensor = field(repr=False)
    classes: tuple[str, ...]
    x_val: Tensor | None = field(default=None, repr=False)
    y_val: Tensor | None = field(default=None, repr=False)
    net: str = ""
    scaling: tuple[Tensor, Tensor] | None = field(default=None, repr=False)  # (offset, spread) that was applied to x
    x_unlabelled: Tensor | None = field(default=None, repr=False)
    features: tuple[str, ...] = field(default=(), repr=False)  # names of the columns of x, where they have names
    target_scaling: tuple[Tensor, Tensor] | None = field(default=None, repr=False)  # (offset, spread) applied to y
    table: TableEncoding | None = field(default=None, repr=False)  # how the columns of a table became features
    weights: Tensor | None = field(default=None, repr=False)
    scale: str = field(default="none", repr=False)  # which of `SCALES` was applied to x last
    raw: Raw | None = field(default=None, repr=False)  # what x was before; None where nothing was done to it
    whitening: tuple[Tensor, Tensor] | None = field(default=None, repr=False)  # (mean, matrix) applied to the scaled x

    def __post_init__(self) -> None:
        if (self.x_val is None) != (self.y_val is None):
            raise DataError(f"{self.name}: one of x_val and y_val is missing; give both or neither")
        for part, x, y in self.parts():
            check_samples(f"{self.name}: x_{part}", x, y)
            check_alike(f"{self.name}: x_{part}", x, self.x_train)
            (check_labels if self.classes else check_targets)(f"{self.name}: y_{part}", y, self)
        if self.features and (len(self.features),) != self.shape:
            came = f"{len(self.features)} names of features for samples of shape {self.shape}"
            raise DataError(f"{self.name}: has {came}; expected one for each column of x (N, features)")
        if self.weights is not None:
            as_weights(self.weights, len(self.x_train), f"{self.name}: weights")
        if self.x_unlabelled is not None:
            check_inputs(f"{self.name}: x_unlabelled", self.x_unlabelled)
            check_alike(f"{self.name}: x_unlabelled", self.x_unlabelled, self.x_train)

    def parts(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(part, x, y) for "train", "test" and, where there is one, "val"."""
        yield "train", self.x_train, self.y_train
        yield "test", self.x_test, self.y_test
        if self.x_val is not None and self.y_val is not None:
            yield "val", self.x_val, self.y_val

    def inputs(self) -> Iterator[tuple[str, Tensor]]:
        """(field, x) of every x there is: "x_train", "x_test", perhaps "x_val" and "x_unlabelled"."""
        yield from ((f"x_{part}", x) for part, x, _ in self.parts())
        if self.x_unlabelled is not None:
            yield "x_unlabelled", self.x_unlabelled

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.x_train.shape[1:])

    @property
    def outputs(self) -> int:
        """Number of classes, or of regression targets."""
        return len(self.classes) or self.y_train.shape[1]

    @property
    def task(self) -> str:
        """One of "classification", "multilabel" and "regression"."""
        return "classification" if self.classes else "multilabel" if self.multihot else "regression"

    @property
    def multihot(self) -> bool:
        """Whether the targets are 0 and 1, each a label of its own that a sample has or has not."""
        return not self.classes and is_binary(self.y_train)

    def numeric(self) -> "Dataset":
        """The same data set with whole numbers in x as float32."""
        if self.x_train.dtype != torch.int64:
            return self
        numbers: dict[str, Any] = {name: x.float() for name, x in self.inputs()}
        return replace(self, **numbers)

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data set with every tensor on `device`."""
        moved: dict[str, Any] = {name: x.to(device) for name, x in self.inputs()}
        moved |= {f"y_{part}": y.to(device) for part, _, y in self.parts()}
        return replace(self, **moved, weights=None if self.weights is None else self.weights.to(device))

    def aligned(self, features: Sequence[str]) -> "Dataset":
        """The same data set with these columns in this order; unchanged where it or they have no names.

        Says by one `DataWarning` which others it had. Raises `DataError` for a name that it lacks.
        """
        if not self.features or not features or self.features == tuple(features):
            return self
        present = set(self.features)
        lacking = next((name for name in features if name not in present), None)
        if lacking is not None:
            came = f"has no feature {lacking!r}, which training had"
            raise DataError(f"{self.name}: {came}; give the same columns, in any order; {suggest(lacking, present)}")
        tell_more(self.features, features, self.name)
        place = {name: number for number, name in enumerate(self.features)}
        order = torch.tensor([place[name] for name in features], device=self.x_train.device)
        moved: dict[str, Any] = {name: x.index_select(1, order) for name, x in self.inputs()}
        if self.scaling is not None:
            moved["scaling"] = tuple(part.index_select(1, order.to(part.device)) for part in self.scaling)
        table = None if self.table is None else self.table.ordered(features)
        return replace(self, features=tuple(features), table=table, **moved)

    @property
    def original(self) -> Raw:
        """What the samples were before anything was done to them."""
        return self.raw or Raw.of(self.x_train)

    def scaled(self, scale: str | None) -> "Dataset":
        """Inputs rescaled by statistics of the training part: "unit" to [0, 1], "standard" to mean 0, deviation 1.

        Per feature, or per channel of (C, H, W); a constant one is only shifted. None and "none" leave all as it is,
        and so does the scale that was applied already.
        Everything is float32 then, x_unlabelled too: 4 bytes a pixel of memory, even where it was a view of a file.
        Raises `DataError` for an unknown `scale`.
        """
        if scale in (None, "none", self.scale):
            return self
        if scale not in SCALES:
            raise DataError(f"scale {scale!r} is unknown; use one of these: {suggest(str(scale), ('none', *SCALES))}")
        offset, spread = statistics(as_float(self.x_train), scale)
        rescaled: dict[str, Any] = {name: _rescale(x, offset, spread) for name, x in self.inputs()}
        if self.scaling is not None:  # of one scale upon another `scaling` is both
            offset, spread = self.scaling[0] + offset * self.scaling[1], self.scaling[1] * spread
        return replace(self, scaling=(offset, spread), scale=scale, raw=self.original, **rescaled)

    def targets_scaled(self, scale: str | None) -> "Dataset":
        """Targets of a regression rescaled by statistics of the training part, each by itself: "standard" to mean 0,
        deviation 1, "unit" to [0, 1]; a constant one is only shifted. None and "none" leave all as it is, and what was
        rescaled already is not again. Raises `DataError` for an unknown `scale`, and for classes."""
        if scale in (None, "none") or self.target_scaling is not None:
            return self
        if scale not in SCALES or self.classes:
            came = f"target scale {scale!r} came for {self.task}"
            raise DataError(f"{came}; expected, for a regression: {suggest(str(scale), ('none', *SCALES))}")
        offset, spread = statistics(self.y_train, scale)
        moved: dict[str, Any] = {f"y_{part}": _rescale(y, offset, spread) for part, _, y in self.parts()}
        return replace(self, target_scaling=(offset, spread), **moved)

    def split_validation(self, fraction: float, seed: int) -> "Dataset":
        """Holds a stratified `fraction` of the training part out as x_val, y_val; 0 holds out nothing.

        Raises `DataError` for a fraction outside [0, 1), or where there is a validation part already.
        """
        if not 0 <= fraction < 1:
            raise DataError(f"validation fraction is {fraction}; expected 0 <= fraction < 1, such as 0.1")
        if fraction == 0:
            return self
        if self.x_val is not None:
            raise DataError(f"{self.name}: has a validation part already; split the data set it came from")
        keep, held = holdout(self.y_train, fraction, seed)
        x, y, weights = self.x_train, self.y_train, None if self.weights is None else self.weights[keep]
        return replace(self, x_train=x[keep], y_train=y[keep], x_val=x[held], y_val=y[held], weights=weights)


def _rescale(x: Tensor, offset: Tensor, spread: Tensor) -> Tensor:
    floats = as_float(x)
    shifted = floats - offset if floats is x else floats.sub_(offset)  # in place, as floats may be 11 GB
    return shifted.div_(spread)


def holdout(y: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (keep, held) of a stratified split of labels (N,); of a plain random one of targets (N, K).

    Each class gives its rounded share and at least one sample, but never its only one.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(len(y)) if y.is_floating_point() else y.cpu()
    held = torch.zeros(len(y), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        share = min(len(members) - 1, max(1, round(fraction * len(members))))
        held[members[torch.randperm(len(members), generator=generator)[:share]]] = True
    return (~held).nonzero().flatten().to(y.device), held.nonzero().flatten().to(y.device)


def as_float(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 scaled to [0, 1], contiguous; any other type only cast, and not copied where it is `dtype` already."""
    if x.dtype == torch.uint8:
        return x.to(dtype, memory_format=torch.contiguous_format).mul_(1 / 255)
    return x.to(dtype)


def as_input(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """What a net is given of x: int64 as it is, all else as `as_float` makes it."""
    return x if x.dtype == torch.int64 else as_float(x, dtype)


def is_binary(y: Tensor) -> bool:
    """Whether y holds 0 and 1, both of them, and nothing else."""
    zero, one = y == 0, y == 1
    return bool((zero | one).all() and zero.any() and one.any())


def batches(
    x: Tensor,
    y: Tensor,
    size: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    drop_last: bool = False,
    device: torch.device | str | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x (size, *shape) by `as_input`, y) on `device`, or where x lies, in order or shuffled by a generator.

    One call is one epoch: the permutation is drawn at the call. The last batch may be smaller unless `drop_last`.
    Without a generator, batches of float data are views of x.
    Raises `DataError` for a size below 1 or unequal lengths.
    """
    if size < 1:
        raise DataError(f"batch size is {size}; expected a whole number of at least 1")
    if len(x) != len(y):
        raise DataError(f"x has {len(x)} samples and y {len(y)}; give each sample one label or target")
    place = x.device if device is None else device
    stops = range(0, len(x) - len(x) % size if drop_last else len(x), size)
    if generator is None:
        return ((as_input(x[i : i + size].to(place), dtype), y[i : i + size].to(place)) for i in stops)
    order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    chosen = (order[i : i + size] for i in stops)
    picked = ((x.index_select(0, rows), y.index_select(0, rows)) for rows in chosen)
    return ((as_input(inputs.to(place), dtype), labels.to(place)) for inputs, labels in picked)
