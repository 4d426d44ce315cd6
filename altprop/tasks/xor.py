"""Exclusive or: the smallest task that no net without a hidden unit can do."""

from __future__ import annotations

import torch
from torch import Tensor

from altprop.core import Population
from altprop.tasks.task import Task


class XOR(Task):
    """4 less the squared errors over the four patterns, so that 4 is perfect and .5 everywhere gives 3.

    Individuals get two bits and answer one number.  Stanley and Miikkulainen (2002) square 4 less the absolute errors:
    the same order where errors are alike."""

    inputs, outputs = (2,), 1
    solved = 3.9  # the usual goal

    def fitness(self, population: Population, generator: torch.Generator | None = None) -> Tensor:
        """(P,); nothing is drawn."""
        x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        t = torch.tensor([0.0, 1.0, 1.0, 0.0])
        population.reset()
        answers = population(x)[:, :, 0]  # (P, 4)
        return 4 - (answers - t.to(answers)).square().sum(1)
