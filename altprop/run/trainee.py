"""What the loop of a run sees of whatever learns in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Trainee(Protocol):
    """A learner of a rule, or of a search: something that gets better step by step, and can be written down."""

    def step(self) -> float:
        """One batch or one generation; returns what it cost, a loss, or less the best fitness."""

    def row(self) -> dict[str, Any]:
        """What metrics.jsonl keeps of an epoch."""

    def state(self) -> dict[str, Tensor]:
        """All that decides what comes next, random states included: ``load`` of it goes on to the bit."""

    def load(self, state: Mapping[str, Tensor]) -> None: ...

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, *in) -> (N, C), by what has been learned so far; of a search by its best individual."""
