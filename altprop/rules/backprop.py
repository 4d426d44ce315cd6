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

from altprop.core import Claims, Ready, Rule, Trace, forward, learn, pull, slope


class Backprop(Rule):
    """Backpropagation (Rumelhart et al. 1986) without autograd.  Arguments as ``Rule``."""

    family = "gradient"
    claims = Claims(weight_transport="full", locking="backward", signal="layerwise")
    reference = "rumelhart1986"

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces: list[Trace] = []
        h = x
        for layer in self.layers:
            traces.append(forward(layer, h, reach=bool(traces) or layer.inlet_learns))
            h = traces[-1].h
        loss, e = self.output_error(h, self.targets(y, len(x)))
        signal = e / len(x)  # (N, C), at h_L
        while traces:
            trace = traces.pop()  # its activity is not needed below
            delta = slope(trace, signal)  # (N, *out_l), at a_l
            if traces or trace.layer.inlet_learns:
                signal = pull(trace, delta)  # (N, *out_{l-1}), before W_l changes
            learn(trace, delta, ready)
        return loss
