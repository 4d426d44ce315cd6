"""MeZO: the loss is read at two points, a step to either side along a random direction, and the net moves along that
direction by the slope.  The direction is never kept: its seed draws it again.

    z ~ N(0, 1) over all that learns, by a seed;   theta = all W_l, b_l
    d = (L(theta + epsilon z) - L(theta - epsilon z)) / 2 epsilon                          one number
    W_l.grad += d z_l                             z_l (n_l, n_{l-1}), drawn again; over K directions the mean

credit returns (L(theta + epsilon z) + L(theta - epsilon z)) / 2, which is the loss but for epsilon^2.

Reference: Malladi, Gao, Nichani, Damian, Lee, Chen and Arora, NeurIPS 2023 (malladi2023).
Deviations from the paper:
    1. Weights are not moved in place and back: theta + epsilon z stands for one layer at a time, of as many directions
       as are small together, so nothing drifts by rounding, and both sides of a layer use one draw.
    2. ``directions`` K is 8 where nothing is said, so that a net that begins at random learns in few epochs; the
       paper tunes pretrained nets by K = 1, two forward passes.
    3. Both sides share the masks of dropout; the authors' code leaves dropout out of these passes.
Easily confused with: SPSA, whose direction is of signs and kept; es, whose losses count by their rank;
forward_gradient, whose slope is exact, by forward derivatives.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Claims, Ready, Refused, Rule, Suits
from altprop.rules.perturbation.replay import GAUSSIAN, Replay


class MeZO(Rule):
    """Zeroth-order steps by seed replay (Malladi et al. 2023).

    directions: K, at the cost of two forward passes each.  epsilon: how far to either side.  Takes any module.
    Raises ``Refused`` for less than 1 direction, an epsilon that is not above 0, and norms of running statistics."""

    family, reference = "perturbation", "malladi2023"
    claims = Claims(weight_transport="full", locking="forward", signal="loss", passes=16, draws=True)
    suits = Suits(lr=0.005, lr_regression=1e-5)
    refuses = (_NormBase,)  # whose statistics every pass would move

    def __init__(self, net: Any, *, directions: int = 8, epsilon: float = 1e-3, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        if directions < 1 or not epsilon > 0:
            what = f"directions={directions}, epsilon={epsilon} came"
            raise Refused(f"{what}; MeZO takes at least 1 direction, and a step above 0")
        self.K, self.epsilon = directions, epsilon
        self.claims = replace(self.claims, passes=2 * directions)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t, z = self.targets(y, len(x)), Replay(self, GAUSSIAN, self.K)
        outputs = z.ascend(x, (self.epsilon, -self.epsilon), {})
        L = torch.vmap(lambda z: self.output_error(z, t)[0])(outputs).view(self.K, 2)
        d = (L[:, 0] - L[:, 1]) / (2 * self.epsilon)  # (K,)
        z.learn(d / self.K, ready)
        return L.mean()
