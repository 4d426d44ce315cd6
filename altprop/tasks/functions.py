"""Functions of a vector whose top is known: what a search is tried on first.  Each individual answers one vector,
x (n,), whatever it is asked, and its fitness is

    sphere        - sum_i x_i^2                                                  0 at x = 0
    rosenbrock    - sum_{i < n} (100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2)          0 at x = 1, along a bent valley
    rastrigin     - sum_i (x_i^2 - 10 cos(2 pi x_i) + 10)                        0 at x = 0, among hills as on a lattice
    onemax        the number of ones (entries above 1/2)                         n where all are one

References: Rosenbrock, The Computer Journal 3, 1960; Rastrigin, Systems of Extremal Control, 1974, in the form for n
dimensions of Muhlenbein, Schomisch and Born, Parallel Computing 17, 1991; Ackley, 1987 (OneMax).
"""

from __future__ import annotations

from abc import abstractmethod
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from altprop.core import Population, Refused
from altprop.tasks.task import Task


class Function(Task):
    """The family.  n: dimensions, so many as an individual must answer; asked with a single 1."""

    inputs: tuple[int, ...] = (1,)
    least = 1  # dimensions that it needs
    span: ClassVar[tuple[float, float]] = (-5.0, 5.0)  # where it is usually begun, in each dimension

    def __init__(self, n: int = 10) -> None:
        if n < self.least:
            raise Refused(f"{type(self).__name__} of {n} dimensions came: give {self.least} or more")
        self.outputs = n

    def origin(self, generator: torch.Generator) -> Tensor:
        low, high = self.span
        return low + (high - low) * torch.rand(self.outputs, generator=generator)

    @abstractmethod
    def height(self, x: Tensor) -> Tensor:
        """x (P, n) -> (P,); larger is better."""

    def fitness(self, population: Population, generator: torch.Generator | None = None) -> Tensor:
        """(P,); nothing is drawn.  Raises ``Refused`` for answers that are not of n numbers."""
        population.reset()
        x = population(torch.ones(1, *self.inputs))[:, 0]  # (P, n)
        if x.shape[1:] != (self.outputs,):
            what = f"{type(self).__name__} of {self.outputs} dimensions was answered by {tuple(x.shape[1:])}"
            raise Refused(f"{what}: give a search over vectors ({self.outputs},), or nets of so many outputs")
        return self.height(x)


class Sphere(Function):
    """Less the squared distance to 0."""

    solved = -1e-8

    def height(self, x: Tensor) -> Tensor:
        return -x.square().sum(1)


class Rosenbrock(Function):
    """A bent valley, easy to reach and hard to follow (Rosenbrock 1960)."""

    least, solved, span = 2, -1e-8, (-2.0, 2.0)

    def height(self, x: Tensor) -> Tensor:
        now, after = x[:, :-1], x[:, 1:]
        return -(100 * (after - now.square()).square() + (1 - now).square()).sum(1)


class Rastrigin(Function):
    """A sphere beneath a regular lattice of hills (Rastrigin 1974)."""

    solved, span = -1e-8, (-5.12, 5.12)

    def height(self, x: Tensor) -> Tensor:
        return -(x.square() - 10 * (2 * pi * x).cos() + 10).sum(1)


class OneMax(Function):
    """How many entries are one (Ackley 1987).  A search begins from bits, all 0."""

    def __init__(self, n: int = 100) -> None:
        super().__init__(n)
        self.solved = n

    def origin(self, generator: torch.Generator) -> Tensor:
        return torch.zeros(self.outputs, dtype=torch.bool)

    def height(self, x: Tensor) -> Tensor:
        return (x > 0.5).sum(1).to(torch.get_default_dtype())
