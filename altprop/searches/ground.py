"""What a search is made for, as a task and a recipe say it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Ground(NamedTuple):
    """``Search.on(ground, **arguments)`` takes of it what it needs: a vector search where to begin, others the sizes.

    inputs: numbers that an individual gets at a time.  outputs: numbers that it answers.  start: a vector (n,) or a net
    whose parameters are searched, with example (1, *in); None for a search that grows its individuals itself."""

    inputs: int
    outputs: int
    seed: int
    start: Tensor | nn.Module | None = None
    example: Tensor | None = None
