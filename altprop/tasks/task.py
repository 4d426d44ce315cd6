"""What a task is: it asks individuals, and says how well they answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from pathlib import Path

import torch
from torch import Tensor

from altprop.core import Population


class Task(ABC):
    """Anything that individuals can be better or worse at: labelled samples, a control problem, a function."""

    inputs: tuple[int, ...]  # shape of what one individual gets at a time, (*in)
    outputs: int  # numbers that it answers, C
    solved: float = inf  # the fitness at which nothing is left to do

    @abstractmethod
    def fitness(self, population: Population, generator: torch.Generator) -> Tensor:
        """(P,), one number an individual; larger is better.  What is drawn is drawn from ``generator``, the same for
        all individuals, so that luck is no fitness."""

    def origin(self, generator: torch.Generator) -> Tensor | None:
        """The vector (n,) that a search for vectors begins from; None where nets are asked for."""
        return None

    def told(self, individual: Population) -> dict[str, float]:
        """What one individual does, beside how well: numbers by their names.  A population of one is asked."""
        return {}

    def film(self, individual: Population, path: Path) -> None:  # noqa: B027  few tasks have anything to see
        """Write what one individual does as a GIF, where there is something to see."""
