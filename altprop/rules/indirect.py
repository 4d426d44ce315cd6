"""Indirect feedback alignment: the error enters at the first layer and travels forward through the ordinary weights.

    delta_L = e / N                              e = y_hat - t                            (N, C)
    delta_1 = (e D / N) * f'(a_1)                D fixed, (C, *out_1)                     (N, *out_1)
    delta_l = (delta_{l-1} W_l^T) * f'(a_l)      for hidden l > 1                         (N, *out_l)
    W_l.grad += delta_l^T h_{l-1}

Reference: Nokland, NeurIPS 2016, section 3, fig. 1d.
Deviations from the paper: none.
Easily confused with: direct feedback alignment, which has a matrix for every layer; with one hidden layer they are
the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Rule, ascend, draw_feedback, learn, project, push, slope


class IFA(Rule):
    """Indirect feedback alignment (Nokland 2016).

    One matrix, feedback[0] (C, *out_0), brings the error to the first layer.  init, scale, seed: how it is drawn."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="forward", signal="error", trains=("synapse", "activation"))
    reference = "nokland2016"

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        if len(self.layers) > 2:  # else nothing travels forward
            self.check_shapes(self.layers[:-1])
        self.feedback = draw_feedback(self.direct_shapes[:1], init=init, scale=scale, seed=seed, like=self.like)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        delta = None
        for trace in traces[:-1]:
            signal = project(e / len(x), self.feedback[0]) if delta is None else push(trace, delta)
            delta = slope(trace, signal)  # (N, *out_l), at a_l
            learn(trace, delta, ready)
        learn(traces[-1], slope(traces[-1], e / len(x)), ready)
        return loss
