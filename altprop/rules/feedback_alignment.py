"""Feedback alignment: backpropagation whose way down leads through fixed random matrices; the weights come to align
with them.

    delta_L = e / N                              e = y_hat - t                            (N, C)
    delta_l = (delta_{l+1} B_{l+1}) * f'(a_l)    B_{l+1} fixed, of the shape of W_{l+1}   (N, n_l)
    W_l.grad += delta_l^T h_{l-1}

Pooling, nonlinearities and norms keep their exact derivatives; a convolution comes down as a transposed convolution
with B.

Reference: Lillicrap, Cownden, Tweed and Akerman, Nature Communications 7, 2016.
Deviations from the paper:
    1. B is drawn He-uniform as the forward weights are; the paper draws both uniformly at a hand-set scale.
Easily confused with: direct feedback alignment, which brings e to every layer in one step; sign symmetry, where B knows
the signs of W.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Rule, ascend, descend, draw_feedback, learn


class FA(Rule):
    """Feedback alignment (Lillicrap et al. 2016, eq. 3).

    feedback[l], of the shape of layer l+1's weight, brings the signal to layer l.  init, scale, seed: how it is drawn.
    Raises ``Refused`` for a layer above the first that is neither Linear nor a convolution."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="backward", signal="layerwise")
    reference = "lillicrap2016"

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        self.feedback = draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        for trace, delta in descend(traces, e / len(x), self.feedback):
            learn(trace, delta, ready)
            del trace, delta
        return loss
