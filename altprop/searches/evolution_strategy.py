"""Evolution strategies: lambda children of mu parents, each of two of them, with step sizes that are inherited and
mutate before they are used; the best mu live on, of the children alone (comma) or of all (plus).

    sigma_i = (sigma_i^a + sigma_i^b) / 2 * exp(tau' N(0, 1) + tau N_i(0, 1))    a, b two parents drawn at random
    x_i     = (x_i^a or x_i^b) + sigma_i N_i(0, 1)                    x (n,), tau' = 1/sqrt(2 n), tau = 1/sqrt(2 sqrt n)
    (mu, lambda): the best mu of the lambda children       (mu + lambda): the best mu of parents and children

A comma forgets, so that steps which once were lucky do not stay; a plus never gets worse.

References: Schwefel, Numerical Optimization of Computer Models, Wiley 1981; Back and Schwefel, An overview of
    evolutionary algorithms for parameter optimization, Evolutionary Computation 1, 1993.
Deviations from the papers:
    1. lambda is 7 mu unless it is given, as recommended; the paper's example is (15, 100).
    2. Steps do not fall below ``floor``; rotated ellipsoids (correlated mutations) are left to ``cma_es``.
    3. The first children are those of the start alone, by the first step, and the start itself.
Easily confused with: ``es``, a rule, whose population is an estimate of one gradient; ``evolutionary_programming``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from altprop.core import Refused
from altprop.limits import nearest, shown
from altprop.searches.draws import normal, whole
from altprop.searches.family import VectorSearch, positive
from altprop.searches.mutation import self_adapted
from altprop.searches.recombination import midpoint, uniform_crossover
from altprop.searches.selection import elite

KINDS: dict[str, Callable[[Tensor, Tensor, Generator], Tensor]] = {
    "discrete": uniform_crossover,
    "intermediate": midpoint,
}


class EvolutionStrategy(VectorSearch):
    """The family.  mu: parents; offspring: children a generation, lambda, 7 mu by default; sigma: the first step;
    recombination: of x, ``discrete`` or ``intermediate``; that of steps is intermediate."""

    reference = "back1993"
    remembers = ("parents", "sigma", "heights", "next_sigma")

    def __init__(
        self, start: Tensor | nn.Module, *, mu: int = 15, offspring: int | None = None, sigma: float = 1.0,
        recombination: str = "discrete", floor: float = 1e-12, seed: int = 0, example: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(start, size=7 * mu if offspring is None else offspring, seed=seed, example=example)
        positive(sigma=sigma)
        if not 1 <= mu <= self.size:
            raise Refused(f"mu={mu} came with {self.size} offspring: give 1 or more, and at least as many offspring")
        if recombination not in KINDS:
            raise Refused(f"recombination={shown(recombination)} came{nearest(str(recombination), KINDS)}")
        self.mu, self.floor, self.first_sigma, self.recombine = mu, floor, sigma, KINDS[recombination]
        self.parents = self.sigma = self.next_sigma = self.start.new_empty(0, len(self.start))
        self.heights = torch.empty(0, dtype=torch.float64)

    @abstractmethod
    def pool(self, parents: Tensor, children: Tensor) -> Tensor:
        """Of whom the best live on: both have the same form, one row an individual."""

    def propose(self) -> Tensor:
        if not len(self.parents):
            self.next_sigma = self.start.new_full((self.size, len(self.start)), self.first_sigma)
            return self.scatter(self.first_sigma)
        a, b = whole(len(self.parents), (2, self.size), self.generator)
        x = self.recombine(self.parents[a], self.parents[b], self.generator)  # (lambda, n)
        sigma = midpoint(self.sigma[a], self.sigma[b], self.generator)
        self.next_sigma = self_adapted(sigma, self.generator).clamp(min=self.floor)
        return x + self.next_sigma * normal(tuple(x.shape), x, self.generator)

    def learn(self, x: Tensor, heights: Tensor) -> None:
        heights = self.pool(self.heights, heights)
        kept = elite(heights, self.mu)
        self.parents = self.pool(self.parents, x)[kept]
        self.sigma = self.pool(self.sigma, self.next_sigma)[kept]
        self.heights = heights[kept]


class MuPlusLambda(EvolutionStrategy):
    """The (mu + lambda) evolution strategy (Back and Schwefel 1993): the best fitness never falls.

    Arguments as ``EvolutionStrategy``: mu parents, ``offspring`` children, the first step ``sigma``."""

    def pool(self, parents: Tensor, children: Tensor) -> Tensor:
        return torch.cat([parents, children])


class MuCommaLambda(EvolutionStrategy):
    """The (mu, lambda) evolution strategy (Back and Schwefel 1993): no parent lives on.

    Arguments as ``MuPlusLambda``; lambda of 7 mu or more is recommended."""

    def pool(self, parents: Tensor, children: Tensor) -> Tensor:
        return children
