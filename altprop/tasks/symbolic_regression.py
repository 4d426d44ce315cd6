"""A formula is sought by the values that it takes.

    fitness = - 1/N sum_n (y_n - t_n)^2            0 is perfect; a hit is a point with |y_n - t_n| < .01

References: Koza, Genetic Programming, MIT Press 1992 (the quartic, 20 points in [-1, 1], hits); its 20 points at equal
distances are those of DEAP's example.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from altprop.core import Population, Refused
from altprop.tasks.task import Task

HIT = 0.01  # how near a point must be (Koza 1992)


def quartic(x: Tensor) -> Tensor:
    """x^4 + x^3 + x^2 + x, x (N, 1) -> (N,)."""
    x = x[:, 0]
    return x**4 + x**3 + x**2 + x


class SymbolicRegression(Task):
    """Less the mean squared error at N points x (N, k), by default -1, -.9, ..., .9.

    target: x (N, k) -> (N,).  ``solved`` is a fitness above which every point is hit.  Raises ``Refused`` for points
    that are not (N, k), and for a target that gives other than a finite number for each."""

    outputs = 1

    def __init__(self, target: Callable[[Tensor], Tensor] = quartic, x: Tensor | None = None) -> None:
        self.x = torch.arange(-10, 10, dtype=torch.float64)[:, None] / 10 if x is None else x
        if self.x.ndim != 2 or not self.x.numel():
            raise Refused(f"points of shape {tuple(self.x.shape)} came: give (N, k), a row a point")
        self.t = target(self.x)
        if self.t.shape != (len(self.x),) or not self.t.isfinite().all():
            what = f"the target gave {tuple(self.t.shape)}, {int(self.t.isfinite().sum())} of them finite"
            raise Refused(f"{what}: let it give a finite number for each point, ({len(self.x)},)")
        self.inputs = (self.x.shape[1],)
        self.solved = -(HIT**2) / len(self.x)

    def fitness(self, population: Population, generator: torch.Generator | None = None) -> Tensor:
        """(P,); nothing is drawn."""
        return -self.errors(population).square().mean(1)

    def hits(self, population: Population) -> Tensor:
        """(P,), how many points are hit."""
        return (self.errors(population).abs() < HIT).sum(1)

    def errors(self, population: Population) -> Tensor:
        """y - t (P, N), in the precision and on the device of the answers.  Raises ``Refused`` for more than one."""
        population.reset()
        answers = population(self.x)
        if answers.shape[2:] != (1,):
            raise Refused(f"individuals answered {tuple(answers.shape[2:])} numbers: give a search of 1 output")
        return answers[:, :, 0] - self.t.to(answers)
