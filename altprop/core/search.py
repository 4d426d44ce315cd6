"""What a search is: it proposes individuals, hears how fit they are, and proposes better ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from torch import Tensor


@dataclass(frozen=True)
class SearchClaims:
    """What a search proposes.  Data, not prose, as ``Claims`` of a rule."""

    genome: Literal["vector", "graph", "tree"]  # what an individual is written in
    memory: bool = False  # whether an individual holds states from one input to the next


class Population(Protocol):
    """P individuals as one callable."""

    def __len__(self) -> int:
        """P."""

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, *in) for all, or (P, N, *in) for each its own -> (P, N, C)."""

    def reset(self) -> None:
        """Forget every state; nothing where ``memory`` is not claimed."""


Individual = TypeVar("Individual")


class Search(ABC, Generic[Individual]):
    """A way to better individuals by their fitness alone.  ``ask`` and ``tell`` take turns."""

    claims: SearchClaims

    @abstractmethod
    def ask(self) -> Population:
        """The individuals whose fitness is wanted next."""

    @abstractmethod
    def tell(self, fitness: Tensor) -> None:
        """fitness (P,) of those that were asked for, in their order; larger is better."""

    @abstractmethod
    def best(self) -> Individual:
        """The fittest individual so far."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that the next ``ask`` depends on, random state included."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, to the bit."""
