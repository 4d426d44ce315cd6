"""What a map is made of: units on a grid and their distances, and a layer that is seen through masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from altprop.core import Layer

COLUMNS: Any = {"chain": int, "ring": int, "grid": lambda units: math.isqrt(units - 1) + 1}
"""Units of a map -> how many of them stand in a row; of a near-square grid the last row may be short."""


@dataclass(frozen=True, eq=False)
class Masked(Layer):
    """A layer whose units see the input through ``masks[index]`` (*W)."""

    masks: Any = None
    index: int = 0

    def respond(self, x: Tensor) -> Any:
        weight = self.synapse.get_parameter("weight") * self.masks[self.index]
        return functional_call(self.synapse, {"weight": weight}, (x,))


def neighbourhood(c: Tensor, units: int, maps: int, grid: str, sigma: float, like: Tensor) -> Tensor:
    """exp(-d^2 / (2 sigma^2)) (N, *positions, units) of the winners c (N, *positions, 1), in the dtype of ``like``.

    d is the Euclidean distance on the map that holds c; units of other maps have 0."""
    size = units // maps
    columns, i = COLUMNS[grid](size), torch.arange(units, device=c.device)
    across = (i % size % columns - c % size % columns).abs()
    if grid == "ring":
        across = torch.minimum(across, size - across)
    down = i % size // columns - c % size // columns
    n = torch.exp((across.square() + down.square()).to(like) / (-2 * sigma**2))
    return n * (i // size == c // size)
