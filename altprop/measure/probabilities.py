"""From a classifier's outputs to probabilities, by the loss that it was trained with."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def shares(y_hat: Tensor) -> Tensor:
    """Rows that sum to one and are largest where y_hat is."""
    positive = y_hat - y_hat.amin(1, keepdim=True).clamp(max=0) + 1e-12
    return positive / positive.sum(1, keepdim=True)


PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": lambda z: z.softmax(1),
    "binary_cross_entropy": lambda z: shares(z.sigmoid()),
    "mse": shares,
}
