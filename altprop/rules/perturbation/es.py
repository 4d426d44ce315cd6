"""Evolution strategy: a population of nets, each the same net with noise of its own, in pairs that lie on either side;
the net moves along the noise of those that did well, by their ranks alone.

    E_{k,l} ~ N(0, 1) in the shape of W_l, k = 1 .. K                 rank 0, or                      (n_l, n_{l-1})
    E_{k,l} = A_{k,l} B_{k,l}^T / sqrt(r)                             A (n_l, r), B (n_{l-1}, r) ~ N(0, 1)
    L_{k,s} = L(theta + s sigma E_k),  s = +1, -1                     P = 2 K members, one batch      (K, 2)
    u_{k,s} = rank of L_{k,s} among all P, from -1/2 to 1/2
    W_l.grad += 1/P sum_k (u_{k,+} - u_{k,-}) E_{k,l}

shaping="raw": u = L / sigma, whose mean over draws is the gradient of the loss, smoothed by sigma;  "standard": L less
its mean, over its deviation.  All members run as one batch; of low-rank noise h E^T is (h B) A^T beside the shared
h W^T, so that no member's weights are ever built.

References: Salimans, Ho, Chen, Sidor and Sutskever, arXiv 1703.03864, 2017 (salimans2017); low rank: Sarkar et al.,
arXiv 2511.16652, 2025.
Deviations from the papers:
    1. rank is 1 where nothing is said, as in the second paper; the first draws full noise: rank=0.
    2. A fitness is the loss on this batch, downwards.  Every member sees the whole batch and the same dropout.
    3. Weight decay is the optimizer's; biases, which have no rows and columns, have full noise.
    4. Of convolutions, and of modules that are no Linear, the members' weights are built, some members at a time.
Easily confused with: CMA-ES, whose noise learns a covariance; mezo, which moves by differences of losses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Claims, Ready, Refused, Rule, Suits, accumulate, ascend
from altprop.limits import gigabytes, memory
from altprop.rules.perturbation.masks import masks_of
from altprop.rules.perturbation.noise import draw, numbers
from altprop.rules.perturbation.population import learning, losses
from altprop.rules.perturbation.shaping import SHAPINGS


class ES(Rule):
    """An evolution strategy with antithetic pairs and ranks (Salimans et al. 2017), by noise of low rank or full.

    population: P, even.  sigma: how large the noise is.  rank: r, or 0 for full noise.  shaping: "ranks", "standard" or
    "raw".  Raises ``Refused`` for other words and numbers, for noise that memory cannot hold, and for norms of running
    statistics."""

    family, reference = "perturbation", "salimans2017"
    claims = Claims(
        weight_transport="full", locking="forward", signal="loss", passes=257, trains=("synapse",), draws=True,
        averages=False,
    )  # fmt: skip
    suits = Suits(lr=0.01, optimizer="adam")
    refuses = (_NormBase,)  # whose statistics mix members

    def __init__(
        self, net: Any, *, population: int = 256, sigma: float = 0.05, rank: int = 1, shaping: str = "ranks",
        **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if population < 2 or population % 2 or not sigma > 0 or rank < 0 or shaping not in SHAPINGS:
            what = f"population={population}, sigma={sigma}, rank={rank}, shaping={shaping!r} came; ES takes an even"
            raise Refused(f"{what} population, a sigma above 0, a rank of at least 0, and {' or '.join(SHAPINGS)}")
        self.K, self.sigma, self.rank, self.shaping = population // 2, sigma, rank, SHAPINGS[shaping]
        size = self.K * self.like.element_size() * sum(numbers(p, rank) for p in net.parameters())
        if size > memory():
            what = f"the noise of {population} members takes {gigabytes(size)}, more than there is memory"
            raise Refused(f"{what}: use rank=1, fewer members, or 'mezo', which keeps none")
        self.claims = replace(self.claims, passes=1 + population)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t, traces = self.targets(y, len(x)), ascend(self.layers, x)
        loss, _ = self.output_error(traces[-1].h, t)
        E = [{name: draw(p, self.K, self.rank) for name, p in learning(layer).items()} for layer in self.layers]
        L = losses(self, x, t, E, self.K, self.sigma, masks_of(traces)) if any(E) else loss.expand(self.K, 2)
        u = self.shaping(L.flatten(), self.sigma).view_as(L)
        w = (u[:, 0] - u[:, 1]) / (2 * self.K)  # (K,)
        for layer, noise in zip(self.layers, E, strict=True):
            for name, p in learning(layer).items():
                accumulate(p, noise[name].mean(w))
            if ready is not None:
                ready(layer)
        return loss
