"""Equilibrium propagation: states settle freely, then nudged; the contrast of both is the gradient.

    s_l = f_l(W_l s_{l-1} + b_l + s_{l+1} W_{l+1}),  s_L = W_L s_{L-1} + b_L - beta e
    W_l.grad += (s_l^T s_{l-1} |free - s_l^T s_{l-1} |nudged) / (beta N)

Reference: Scellier and Bengio, 2017 (key: rumelhart1986).
Deviations from the paper: none.
Easily confused with: predictive coding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Rule, Suits, Trace, ascend, forward, learn, pull


class Nudged(Rule):
    """Equilibrium propagation."""

    family, reference = "energy", "rumelhart1986"
    suits = Suits(activation="tanh")
    claims = Claims(
        weight_transport="full", locking="backward", signal="layerwise", passes=37, trains=("synapse",), inference="own"
    )

    def __init__(self, net: Any, *, free: int = 12, nudged: int = 6, beta: float = 0.2, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        self.free, self.nudged, self.beta = free, nudged, beta

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self._settle(ascend(self.layers, x, reach=0), x, None, self.free)[-1].h

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t = self.targets(y, len(x))
        first = self._settle(ascend(self.layers, x, reach=0), x, None, self.free)
        loss, _ = self.output_error(first[-1].h, t)
        second = self._settle(first, x, t, self.nudged)
        for a, b in reversed([*zip(first, second, strict=True)]):
            learn(a, a.h / (self.beta * len(x)))
            learn(b, -b.h / (self.beta * len(x)), ready)
        return loss

    def _settle(self, traces: list[Trace], x: Tensor, t: Tensor | None, steps: int) -> list[Trace]:
        for _ in range(steps):
            s = [trace.h for trace in traces]
            new = []
            for n, layer in enumerate(self.layers):
                below = forward(layer, x if n == 0 else s[n - 1], traces[n], reach=True, keep=True)
                if n + 1 < len(s):
                    a = below.a + pull(traces[n + 1], s[n + 1])  # pooled activations would not fit
                    new.append(forward(layer, x if n == 0 else s[n - 1], traces[n], reach=True, a=a))
                else:
                    e = 0.0 if t is None else self.beta * self.output_error(below.h, t)[1]
                    new.append(below._replace(h=below.h - e))
            traces = new
        return traces
