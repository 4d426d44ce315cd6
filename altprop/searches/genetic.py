"""A genetic algorithm: parents are drawn by their fitness, two of them make a child, the child is changed a little at
random, and the best of the old generation stand in the new one as they were.

    a, b  = select(f), select(f)                          two parents, rows of the generation (P, n)
    child = recombine(a, b) with probability crossover, else a
    child = mutate(child)                                 entries with probability rate
    the next generation: elite old ones, and P - elite children

References: Holland, Adaptation in Natural and Artificial Systems, University of Michigan Press 1975; Goldberg, Genetic
    Algorithms in Search, Optimization, and Machine Learning, Addison-Wesley 1989; Such et al., arXiv 1712.06567, 2017
    (``selection="truncation"``, ``crossover=0``: that of nets); Srinivas and Patnaik, IEEE Transactions on Systems,
    Man, and Cybernetics 24, 1994 (``adaptive=True``).
Deviations from the papers:
    1. Tournaments are the default, since they ask for the order of fitness alone; Holland's roulette is ``"roulette"``.
    2. Every pair has one child, not two that mirror each other.
    3. The elite is asked again with its children, so that a lucky draw of the fitness does not stay for ever.
    4. ``adaptive`` rates are by the fitness of a child's first parent, since that of the child is not known yet.
Easily confused with: evolution strategies, where all of the best have children alike and steps evolve, too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from altprop.core import Refused
from altprop.limits import nearest, shown
from altprop.searches.draws import chance
from altprop.searches.family import VectorSearch, positive, probable
from altprop.searches.mutation import MUTATIONS, adaptive_rate
from altprop.searches.recombination import RECOMBINATIONS
from altprop.searches.selection import SELECTIONS, elite


class GA(VectorSearch):
    """A genetic algorithm of bits (a start of bool) or of numbers.

    size: P; selection: ``tournament``, ``roulette``, ``truncation``; recombination: ``uniform``, ``one_point``,
    ``arithmetic``; each of them also a function as those of altprop.searches; crossover: the probability of two
    parents; rate: of a change, an entry, by default 1/n for bits and 1 for numbers; power: the deviation of a change;
    adaptive: the fit are changed less; elite: how many stay; sigma: how far from it the first generation lies."""

    reference = "holland1975"
    remembers = ("parents", "heights")
    bits = True

    def __init__(
        self, start: Tensor | nn.Module, *, size: int = 100, selection: str | Callable[..., Tensor] = "tournament",
        recombination: str | Callable[..., Tensor] = "uniform", crossover: float = 0.5, rate: float | None = None,
        power: float = 0.1, adaptive: bool = False, elite: int = 1, sigma: float = 1.0, seed: int = 0,
        example: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(start, size=size, seed=seed, example=example)
        positive(sigma=sigma, power=power)
        probable(crossover=crossover, rate=0 if rate is None else rate)
        if not 0 <= elite < size:
            raise Refused(f"elite={elite} came for a population of {size}: give fewer, or 0")
        bits = self.start.dtype == torch.bool
        if bits and recombination == "arithmetic":
            raise Refused("recombination='arithmetic' came for bits, which have no mean: give 'uniform' or 'one_point'")
        self.select = _known(SELECTIONS, "selection", selection)
        self.recombine = _known(RECOMBINATIONS, "recombination", recombination)
        self.mutate = MUTATIONS["flip" if bits else "gaussian"]
        self.rate = (1 / len(self.start) if bits else 1.0) if rate is None else rate
        self.crossover, self.power, self.adaptive, self.elite, self.sigma = crossover, power, adaptive, elite, sigma
        self.parents, self.heights = self.start.new_empty(0, len(self.start)), torch.empty(0, dtype=torch.float64)

    def propose(self) -> Tensor:
        if not len(self.parents):
            return self.scatter(self.sigma)
        children = self.size - self.elite
        a, b = (self.select(self.heights, children, self.generator) for _ in range(2))
        mixed = self.recombine(self.parents[a], self.parents[b], self.generator)  # (P - elite, n)
        both = chance(self.crossover, (children, 1), mixed, self.generator)
        x = torch.where(both, mixed, self.parents[a])
        rate = adaptive_rate(self.heights[a], self.heights, self.rate) if self.adaptive else self.rate
        x = self.mutate(x, rate, self.power, self.generator)
        return torch.cat([self.parents[elite(self.heights, self.elite)], x])

    def learn(self, x: Tensor, heights: Tensor) -> None:
        self.parents, self.heights = x, heights


def _known(
    table: dict[str, Callable[..., Tensor]], what: str, given: str | Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """A function by its name, or as it is."""
    if callable(given):
        return given
    if given not in table:
        raise Refused(f"{what}={shown(given)} came{nearest(str(given), table)}")
    return table[given]
