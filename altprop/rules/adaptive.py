"""Adaptive feedback alignment: what PEPITA does when its perturbation is small.  The error enters at the input and is
carried forward by the weights themselves, so the feedback adapts as they do.

    delta_0 = -s e F / N                     e = y_hat - t, F fixed, (C, *in)              (N, *in)
    delta_l = (delta_{l-1} W_l^T) * f'(a_l)  for hidden l                                  (N, *out_l)
    delta_L = e / N
    W_l.grad += delta_l^T h_{l-1}

For one hidden layer it is DFA with D = (W_1 F)^T.

Reference: Dellaferrera and Kreiman, ICML 2022, appendix; Srinivasan et al., ICLR 2024 (arXiv 2302.05440), section 3.
Deviations from the paper:
    1. ``sign`` s = -1 as in the derivation; with +1 it approximates PEPITA as published.
Easily confused with: indirect feedback alignment, where the error enters at the first hidden layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Refused, Rule, Suits, ascend, draw_feedback, learn, project, push, slope


class AFA(Rule):
    """Adaptive feedback alignment (Dellaferrera and Kreiman 2022).

    feedback[0] (C, *in) is F, drawn as ``init`` at ``scale`` from ``seed``.  sign: -1 or +1, else ``Refused``."""

    family = "forward-only"
    claims = Claims(weight_transport="none", locking="forward", signal="error", trains=("synapse", "activation"))
    reference = "dellaferrera2022"
    suits = Suits(lr=0.1)
    feedback_reaches = 0

    def __init__(
        self,
        net: Any,
        *,
        sign: int = -1,
        init: str = "he_uniform",
        scale: float = 0.05,
        seed: int = 0,
        **arguments: Any,
    ) -> None:
        super().__init__(net, **arguments)
        if sign not in (1, -1):
            raise Refused(f"sign={sign!r} came; AFA takes -1 or 1")
        if self.integer_input:
            raise Refused("AFA projects an error onto its input, but integers came: give the net a real-valued input")
        self.check_shapes(self.layers[:-1])
        self.s = sign
        shape = (self.classes, *self.shapes[0].x)
        self.feedback = draw_feedback([shape], init=init, scale=scale, seed=seed, like=self.like)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=0)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        delta = project(-self.s * e / len(x), self.feedback[0])  # (N, *in)
        for trace in traces[:-1]:
            delta = slope(trace, push(trace, delta))  # (N, *out_l), at a_l
            learn(trace, delta, ready)
        learn(traces[-1], slope(traces[-1], e / len(x)), ready)
        return loss
