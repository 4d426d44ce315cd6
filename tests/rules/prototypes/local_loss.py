"""Local losses: each hidden layer has a linear classifier of its own and learns by its error.

    z_l = h_l A_l^T,  e_l = y_hat(z_l) - t;   A_l.grad += e_l^T h_l / N
    delta_l = (e_l A_l / N) * f'(a_l),  W_l.grad += delta_l^T h_{l-1}

Reference: Nokland and Eidnes, 2019 (key: rumelhart1986).
Deviations from the paper: none.
Easily confused with: Forward-Forward.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Claims, Ready, Rule, accumulate, draw_feedback, forward, learn, slope


class LocalLoss(Rule):
    """Local classifiers."""

    family, reference = "local", "rumelhart1986"
    claims = Claims(
        weight_transport="none", locking="none", signal="target", trains=("synapse", "activation"), learns=("heads",)
    )

    def __init__(self, net: Any, *, seed: int = 0, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        shapes = [(self.classes, s.h.numel()) for s in self.shapes[:-1]]
        self.heads = nn.ParameterList(draw_feedback(shapes, seed=seed, like=self.like))
        for n, A in enumerate(self.heads):
            self.layers[n] = replace(self.layers[n], beside=nn.ParameterList([A]))

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t, h = self.targets(y, len(x)), x
        for layer, A in zip(self.layers, self.heads, strict=False):
            trace = forward(layer, h)
            h = trace.h
            e = self.output_error(h.flatten(1) @ A.T, t)[1] / len(x)
            accumulate(A, e.T @ h.flatten(1))
            learn(trace, slope(trace, (e @ A).view_as(h)), ready)
        trace = forward(self.layers[-1], h)
        loss, e = self.output_error(trace.h, t)
        learn(trace, slope(trace, e / len(x)), ready)
        return loss

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [*super().param_groups(lr), {"params": list(self.heads), "lr": lr}]
