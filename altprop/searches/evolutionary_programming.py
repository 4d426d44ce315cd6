"""Evolutionary programming: each parent has one child, by mutation alone, whose own step sizes are inherited and
mutate, too; parents and children then meet opponents at random, and those with most wins live on.

    x'_i     = x_i + sigma_i N_i(0, 1)                             i = 1 ... n, x (n,) one of mu parents
    sigma'_i = sigma_i exp(tau' N(0, 1) + tau N_i(0, 1))           tau' = 1/sqrt(2 n), tau = 1/sqrt(2 sqrt n)
    wins(x)  = how many of q opponents, drawn from all 2 mu, have f <= f(x);   the mu with most wins are parents

References: Fogel, Owens and Walsh, Artificial Intelligence through Simulated Evolution, Wiley 1966; Fogel, An
    introduction to simulated evolutionary optimization, IEEE Transactions on Neural Networks 5, 1994; Yao, Liu and Lin,
    Evolutionary programming made faster, IEEE Transactions on Evolutionary Computation 3, 1999 (whose CEP this is).
Deviations from the papers:
    1. ``sigma_first=True`` moves a child by its own new step, as evolution strategies do, and not by its parent's.
    2. Of equal wins the fitter lives on, so that the best is never lost.
    3. Steps do not fall below ``floor``.
    4. The first parents are the start and others around it, by the first step, not a box filled at random.
Easily confused with: (mu + lambda) evolution strategies, which recombine, and keep the best without a contest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from altprop.searches.draws import normal
from altprop.searches.family import VectorSearch, positive
from altprop.searches.mutation import self_adapted
from altprop.searches.selection import champions


class EvolutionaryProgramming(VectorSearch):
    """Evolutionary programming with self-adapting steps (Yao et al. 1999).

    mu: parents, and children a generation; sigma: the first step; q: opponents in the contest."""

    reference = "yao1999"
    remembers = ("parents", "sigma", "heights", "next_sigma")

    def __init__(
        self, start: Tensor | nn.Module, *, mu: int = 100, sigma: float = 1.0, q: int = 10, sigma_first: bool = False,
        floor: float = 1e-12, seed: int = 0, example: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(start, size=mu, seed=seed, example=example)
        positive(sigma=sigma, q=q)
        self.mu, self.q, self.sigma_first, self.floor, self.first_sigma = mu, q, sigma_first, floor, sigma
        self.parents = self.sigma = self.next_sigma = self.start.new_empty(0, len(self.start))
        self.heights = torch.empty(0, dtype=torch.float64)

    def propose(self) -> Tensor:
        if not len(self.parents):
            self.next_sigma = self.start.new_full((self.mu, len(self.start)), self.first_sigma)
            return self.scatter(self.first_sigma)
        self.next_sigma = self_adapted(self.sigma, self.generator).clamp(min=self.floor)  # (mu, n)
        step = self.next_sigma if self.sigma_first else self.sigma
        return self.parents + step * normal(tuple(step.shape), step, self.generator)

    def learn(self, x: Tensor, heights: Tensor) -> None:
        heights = torch.cat([self.heights, heights])  # (2 mu,)
        kept = champions(heights, self.mu, self.q, self.generator)
        self.parents = torch.cat([self.parents, x])[kept]
        self.sigma = torch.cat([self.sigma, self.next_sigma])[kept]
        self.heights = heights[kept]
