"""What becomes of losses before they weigh the noise: (P,), sigma -> (P,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def ranks(L: Tensor, sigma: float) -> Tensor:
    """From -1/2 for the smallest to 1/2 for the largest, equal ones by their order: no more than the order counts."""
    return L.argsort(stable=True).argsort().to(L.dtype) / (len(L) - 1) - 0.5


def standard(L: Tensor, sigma: float) -> Tensor:
    """Of mean 0 and deviation 1; all 0 where losses do not differ."""
    L = L - L.mean()
    return torch.where(L.std() > 0, L / L.std(), 0)


def raw(L: Tensor, sigma: float) -> Tensor:
    """Over sigma, as a difference quotient."""
    return L / sigma


SHAPINGS: dict[str, Callable[[Tensor, float], Tensor]] = {"ranks": ranks, "standard": standard, "raw": raw}
