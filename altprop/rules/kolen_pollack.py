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

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Claims, Ready, Rule, Suits, accumulate, ascend, descend, draw_feedback, learn


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
        for index, B in enumerate(self.feedback, 1):
            self.layers[index] = replace(self.layers[index], beside=nn.ParameterList([B]))

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        for trace, delta in descend(traces, e / len(x), self.feedback):
            self._share(len(traces), learn(trace, delta))
            if ready is not None:
                ready(trace.layer)
            del trace, delta
        return loss

    def _share(self, index: int, increment: Tensor | None) -> None:
        """The increment of layer ``index`` for its B too; a copy, since it may be the gradient of W, which may grow."""
        if index and increment is not None:
            B = self.feedback[index - 1]
            accumulate(B, increment.clone() if B.grad is None else increment)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [*super().param_groups(lr), {"params": list(self.feedback), "lr": lr}]
