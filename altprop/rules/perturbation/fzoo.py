"""FZOO: the loss is read where the net is, and a step away along each of some random signs; the net moves along those
signs, by as much as their losses differ from the first, over the spread of these losses.

    u_k in {-1, 1} over all that learns, by a seed, k = 1 .. K;   theta = all W_l, b_l
    l_0 = L(theta),   l_k = L(theta + epsilon u_k),   s = std of l_1 .. l_K
    W_l.grad += 1/K sum_k (l_k - l_0) / s u_{k,l}                                          u_{k,l} (n_l, n_{l-1})

Where the loss is flat its spread is small and the step large, as that of a gradient divided by its length.

Reference: Dang, Guo, Zhao, Ye, Zheng, Dai and Tsang, arXiv 2506.09034, 2025 (dang2025).
Deviations from the paper:
    1. epsilon, by which the paper divides the estimate, is left to the rate, as in the authors' code: a rate here is
       1 / epsilon of the paper's.
    2. s is the paper's, over K - 1; the authors' code divides by K, a rate sqrt(K / (K - 1)) of this.
    3. The signs are drawn again from their seed, as MeZO's are; losses that do not differ at all give no step.
    4. Members share the masks of dropout; the authors' code leaves dropout out of these passes.  Its reuse of the last
       step's losses is left out.
Easily confused with: mezo, which steps to either side, and by the slope itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Claims, Ready, Refused, Rule, Suits, ascend
from altprop.rules.perturbation.masks import masks_of
from altprop.rules.perturbation.replay import RADEMACHER, Replay


class FZOO(Rule):
    """One-sided zeroth-order steps over the spread of losses (Dang et al. 2025).

    directions: K, at the cost of a forward pass each.  epsilon: how far.  Takes any module.
    Raises ``Refused`` for less than 2 directions, an epsilon that is not above 0, and norms of running statistics."""

    family, reference = "perturbation", "dang2025"
    claims = Claims(
        weight_transport="full", locking="forward", signal="loss", passes=9, draws=True, averages=False
    )  # fmt: skip
    suits = Suits(lr=0.003)
    refuses = (_NormBase,)  # whose statistics every pass would move

    def __init__(self, net: Any, *, directions: int = 8, epsilon: float = 1e-3, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        if directions < 2 or not epsilon > 0:
            what = f"directions={directions}, epsilon={epsilon} came"
            raise Refused(f"{what}; FZOO takes at least 2 directions, whose losses have a spread, and a step above 0")
        self.K, self.epsilon = directions, epsilon
        self.claims = replace(self.claims, passes=1 + directions)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t, traces = self.targets(y, len(x)), ascend(self.layers, x)
        l_0, _ = self.output_error(traces[-1].h, t)
        u = Replay(self, RADEMACHER, self.K)
        outputs = u.ascend(x, (self.epsilon,), masks_of(traces))
        l = torch.vmap(lambda z: self.output_error(z, t)[0])(outputs)  # noqa: E741  (K,)
        s = l.std()
        u.learn(torch.where(s > 0, (l - l_0) / (self.K * s), 0), ready)
        return l_0
