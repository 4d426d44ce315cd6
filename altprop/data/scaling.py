"""Scales of inputs and of targets: statistics of the training part, and whether values need them at all."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import DataError

USUAL = (0.01, 10.0)  # root mean square of the largest feature, of inputs in [0, 1] and of standardised ones alike
APART = 100.0  # times the median deviation of a feature: one that is as much larger drowns most of the others


class Raw(NamedTuple):
    """What samples were before anything was done to them: of training, in their own numbers."""

    shape: tuple[int, ...]  # of one sample
    dtype: str  # "uint8", "float32", ...
    low: float
    high: float

    @classmethod
    def of(cls, x: Tensor) -> "Raw":
        """Of x (N, *shape)."""
        low, high = (float(value) for value in x.aminmax())
        return cls(tuple(x.shape[1:]), str(x.dtype).removeprefix("torch."), low, high)


def _unit(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    low = x.amin(axes, keepdim=True)
    return low, x.amax(axes, keepdim=True) - low


def _standard(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    deviation, mean = torch.std_mean(x, axes, correction=0, keepdim=True)
    return mean, deviation


SCALES: dict[str, Callable[[Tensor, tuple[int, ...]], tuple[Tensor, Tensor]]] = {
    "unit": _unit,
    "standard": _standard,
}


def statistics(x: Tensor, scale: str) -> tuple[Tensor, Tensor]:
    """(offset, spread), float32, of x (N, features) or (N, C, ...): per feature or channel, with which
    (x - offset) / spread is scaled as `scale` says; a constant one is only shifted.

    Raises `DataError` for differences that no float32 can hold."""
    axes = (0, *range(2, x.dim()))
    offset, spread = SCALES[scale](x, axes)
    # Rounding gives a constant feature a tiny deviation, and dividing by that would turn it into noise.
    constant = x.amax(axes, keepdim=True) == x.amin(axes, keepdim=True)
    if not bool((offset.isfinite() & spread.isfinite() & ((spread > 0) | constant)).all()):
        low, high = (f"{float(value):.2g}" for value in x.aminmax())
        raise DataError(f"values from {low} to {high} differ by what float32 cannot hold; give them in other units")
    return offset, spread.masked_fill(constant, 1.0)


def far(x: Tensor) -> str | None:
    """What about x (N, features) or (N, C, ...), floats, is far from inputs in [0, 1] and from standardised ones; None
    where nothing is."""
    axes = (0, *range(2, x.dim()))
    deviation, mean = (part.double() for part in torch.std_mean(x.float(), axes, correction=0))
    largest = float((deviation.square() + mean.square()).sqrt().max())
    if largest and not USUAL[0] <= largest <= USUAL[1]:
        return f"their largest feature is of size {largest:.2g} (root mean square)"
    varied = deviation[deviation > 0]
    widest, middle = (float(varied.max()), float(varied.median())) if len(varied) else (0.0, 0.0)
    if widest > APART * middle:
        return f"one feature deviates by {widest:.2g}, half of them by less than {middle:.2g}"
    return None
