"""Fixed-weight difference target propagation: targets come down by fixed random decoders that nothing trains.

    h_l = f_l(h_{l-1} W_l^T + b_l),   g_l(o) = f_{l-1}(o V_l)             V_l fixed               (N, *out_{l-1})
    t_L = h_L - step e                                                    e = y_hat - t           (N, C)
    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)                                                       (N, *out_{l-1})
    delta_l = ((h_l - t_l) / (step N)) * f'_l(a_l)                        for L too
    W_l.grad += delta_l^T h_{l-1}

Reference: Shibuya, Inoue, Kawakami and Sato, AAAI 2023 (shibuya2023).
Deviations from the paper:
    1. Half of each square, and over ``step``, so that a rate here is 2 step times the published one.
    2. V_l is orthogonal, so that every layer hears as much; the authors' code draws it uniformly from 1e-3 [-1, 1),
       which leaves g_l linear: init="uniform", scale=0.001.
    3. f of the decoder is the nonlinearity of the layer below it; norms stand in the forward layers alone.
Easily confused with: feedback alignment, whose signal passes each layer's slope on its way; DTP, whose decoders learn.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from altprop.core import Claims, Refused, Suits, Trace, draw_feedback
from altprop.rules.targets.family import Targets
from altprop.rules.targets.inverse import Inverse, nonlinearity


class FWDTP(Targets):
    """Fixed-weight difference target propagation (Shibuya et al. 2023).

    feedback[l], of the shape of layer l + 1's weight, brings the target to layer l.  step: of the output's target.
    init, scale, seed: how feedback is drawn.  Raises ``Refused`` for a layer above the first that is neither Linear nor
    a convolution."""

    claims = Claims(
        weight_transport="none", locking="backward", signal="layerwise", trains=("synapse", "activation")
    )  # fmt: skip
    reference = "shibuya2023"
    suits = Suits(lr=0.03, activation="tanh")

    def __init__(
        self, net: Any, *, step: float = 0.1, init: str = "orthogonal", scale: float = 1.0, seed: int = 0,
        **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if not step > 0:
            raise Refused(f"step={step} came; FWDTP takes one above 0")
        self.step, self.pace = step, 1 / step
        self.feedback = draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like)
        self.bends = [nonlinearity(layer) for layer in self.layers]

    def aim(self, last: Trace, below: Tensor, e: Tensor, delta: Tensor) -> Tensor:
        return self.lower(len(self.layers) - 1, last, below, -self.step * e)

    def lower(self, index: int, trace: Trace, below: Tensor, d: Tensor) -> Tensor:
        inverse = Inverse(self.feedback[index - 1], None, self.bends[index - 1])
        return inverse.difference(trace, trace.h, d)

    def fit(self, index: int, trace: Trace, below: Tensor) -> None:
        """Nothing: it is fixed."""
