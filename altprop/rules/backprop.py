"""Backpropagation: every layer is told how its activity should have changed the output, by way of the weights above it.

    delta_L = e / N                              e = y_hat - t                            (N, C)
    delta_l = (delta_{l+1} W_{l+1}) * f'(a_l)                                             (N, n_l)
    W_l.grad += delta_l^T h_{l-1},  b_l.grad += sum_n delta_l

The yardstick, computed by the same local arithmetic as every other rule and equal to ``loss.backward()``; no graph
is built.

Reference: Rumelhart, Hinton and Williams, Nature 323, 1986.
Deviations from the paper: none.
Easily confused with: feedback alignment, which comes down through fixed random matrices instead of W.
"""

from __future__ import annotations

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Rule, ascend, descend, learn


class Backprop(Rule):
    """Backpropagation (Rumelhart et al. 1986) without autograd.  Arguments as ``Rule``."""

    family = "gradient"
    role = "reference"
    claims = Claims(weight_transport="full", locking="backward", signal="layerwise")
    reference = "rumelhart1986"

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        for trace, delta in descend(traces, e / len(x)):
            learn(trace, delta, ready)
            del trace, delta
        return loss
