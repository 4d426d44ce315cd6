"""Kolen-Pollack learning: forward and feedback weights receive the same increments and decay alike, so that whatever
they differed in at first is forgotten.

    delta_L = e / N                              e = y_hat - t                            (N, C)
    delta_l = (delta_{l+1} B_{l+1}) * f'(a_l)                                             (N, n_l)
    W_l.grad += delta_l^T h_{l-1}
    B_l.grad += delta_l^T h_{l-1}                the same, for every l above the first

With the same learning rate and weight decay lambda, W - B shrinks by 1 - eta lambda a step; without decay it stays.

Reference: Akrout, Wilson, Humphreys, Lillicrap and Tweed, NeurIPS 2019; Kolen and Pollack, ICNN 1994.
Deviations from the paper:
    1. Decay belongs to the optimizer (``weight_decay``), which must treat W and B alike: SGD does, AdamW does too, Adam
       rescales each by its own statistics.
Easily confused with: weight mirroring, which finds W from noise; feedback alignment, whose B is fixed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Claims, Layer, Ready, Rule, Suits, ascend, descend, draw_feedback


class KP(Rule):
    """Kolen-Pollack learning (Akrout et al. 2019).

    feedback[l], a parameter of the shape of layer l+1's weight, brings the signal to layer l.  init, scale, seed: how
    it is drawn at first.  Raises ``Refused`` for a layer above the first that is neither Linear nor a convolution."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="backward", signal="layerwise", learns=("feedback",))
    reference = "akrout2019"
    suits = Suits(lr=0.05)

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        drawn = draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like)
        self.feedback = nn.ParameterList(drawn)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        weights = [next(layer.synapse.parameters()) for layer in self.layers]  # the first layer may be any module
        before = [W.grad for W in weights]
        for W in weights:
            W.grad = None  # so that the increment of this batch stands there alone

        def share(layer: Layer) -> None:
            index = self.layers.index(layer)
            W = weights[index]
            if index and W.grad is not None:
                B = self.feedback[index - 1]
                B.grad = W.grad.clone() if B.grad is None else B.grad + W.grad
            held = before[index]
            if held is not None:
                W.grad = held if W.grad is None else W.grad.add_(held)
            if ready is not None:
                ready(layer)

        descend(traces, e / len(x), share, self.feedback)
        return loss

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [*super().param_groups(lr), {"params": list(self.feedback), "lr": lr}]
