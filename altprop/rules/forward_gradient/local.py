"""Local forward gradients: every hidden layer has a linear classifier of its own, and follows the forward gradient of
that classifier's loss alone, so that the noise of a tangent is that of one layer and no layer waits for another.

    z_l = h_l C_l^T,  e_l = y_hat(z_l) - t      C_l learns                                 (N, C), C_l (C, n_l)
    d   = <e_l, (v_l * f'(a_l)) C_l^T>          v_l ~ N(0, 1) at a_l, k = 1 .. K           (N,)
    delta_l = 1/KN sum_k d_k v_l^k                                                         (N, *out_l)
    W_l.grad += delta_l^T h_{l-1},  C_l.grad += e_l^T h_l / N
    W_L.grad += e^T h_{L-1} / N                 the last layer reads out

perturb and combine as in forward_gradient.

Reference: Ren, Kornblith, Liao and Hinton, ICLR 2023.
Deviations from the paper:
    1. A local loss stands on every layer, on all of its units at once; the paper's LocalMixer has one for each patch
       and each group of channels, on blocks.
    2. C_l takes its exact gradient, as the paper's last linear layers do, and has no bias.
Easily confused with: local losses (Nokland and Eidnes), whose layers take the exact gradient of their classifier.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Claims, Staged, Suits, accumulate, draw_feedback, forward, learn, slope
from altprop.core.product import linear, outer
from altprop.rules.forward_gradient.tangents import bend, estimates, find


class ForwardGradientLocal(Staged):
    """Forward gradients of local losses (Ren et al. 2023).

    heads[l] (C, n_l), a parameter, classifies hidden layer l; init, scale, seed: how it is drawn at first.  Other
    arguments as ``ForwardGradient``."""

    family, reference = "forward-only", "ren2023"
    claims = Claims(
        weight_transport="none", locking="none", signal="target", trains=("synapse",), draws=True, learns=("heads",)
    )
    suits = Suits(lr=0.005)

    def __init__(
        self, net: Any, *, perturb: str = "activity", tangents: int = 8, combine: str = "mean",
        init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        self.perturbation = find(self, perturb, tangents, combine, together=False)
        self.K, self.project = tangents, combine == "projection"
        shapes = [(self.classes, shapes.h.numel()) for shapes in self.shapes[:-1]]
        self.heads = nn.ParameterList(draw_feedback(shapes, init=init, scale=scale, seed=seed, like=self.like))
        for index, C in enumerate(self.heads):
            self.layers[index] = replace(self.layers[index], beside=nn.ParameterList([C]))

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [{**group, "params": [*group["params"], *self.heads]} for group in super().param_groups(lr)]

    @torch.no_grad()
    def stage(self, index: int, h: Tensor, t: Any) -> tuple[Tensor, Tensor | None]:
        trace, P = forward(self.layers[index], h), self.perturbation
        if index == len(self.heads):
            loss, e = self.output_error(trace.h, t)
            learn(trace, slope(trace, e / len(h)))
            return trace.h, loss
        C, h_l = self.heads[index], trace.h.flatten(1)
        _, e = self.output_error(linear(h_l, C), t)
        V = [[P.draw(trace, self.shapes[index].a)] for _ in range(self.K)]
        d = torch.stack([(e * linear(bend(trace, P.reach(trace, v)).flatten(1), C)).sum(1) for (v,) in V])  # (K, N)
        (g,) = estimates(P.slopes(d), V, self.project)
        P.learn(trace, g)
        if C.requires_grad:
            accumulate(C, outer(e / len(h), h_l))
        return trace.h, None
