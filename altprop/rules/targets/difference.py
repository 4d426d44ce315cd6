"""Difference target propagation: decoders lead targets down, and what they miss of the activity is taken off again.
The last hidden layer's target is a step down the true gradient.

    h_l = f_l(h_{l-1} W_l^T + b_l),   g_l(o) = f_{l-1}(o V_l + c_l)      l = 2 ... L - 1          (N, *out_{l-1})
    t_{L-1} = h_{L-1} - step (e * f'_L(a_L)) W_L                          e = y_hat - t           (N, *out_{L-1})
    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)                                                       (N, *out_{l-1})
    delta_l = ((h_l - t_l) / N) * f'_l(a_l),   delta_L = (e / N) * f'_L(a_L)
    W_l.grad += delta_l^T h_{l-1}

    r_l = g_l(f_l(h_{l-1} + eps)),  eps ~ N(0, noise^2)
    R_l = |r_l - (h_{l-1} + eps)|^2 / 2N                                  inverse="preserving"
    R_l = |r_l - h_{l-1}|^2 / 2N                                          inverse="denoising"
    V_l.grad, c_l.grad += the gradient of R_l at them alone

References: Lee, Zhang, Fischer and Bengio, ECML 2015 (lee2015); Bartunov et al., NeurIPS 2018, for "denoising" and the
schedules.
Deviations from the papers:
    1. Half of each square, so that a rate here is twice the published one; and the step goes down the gradient of each
       sample's loss, where the authors' code takes that of the batch's mean, so that theirs is N times smaller.
    2. V_l and c_l are orthogonal and zero at first, as published; the net's own weights are its builder's.
    3. One optimizer for net and decoders, at ``decoder_rate`` times the rate, unless a recipe's phase gives another.
    4. The authors' code leaves out W_6 and B_5 by a slip; here all layers learn.
    5. A decoder goes back through pools to the places that they took; the papers have strides instead.
Easily confused with: SDTP, whose last hidden target comes from a decoder as well; feedback alignment, whose signal is
linear.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from altprop.core import Refused, Suits, Trace, pull
from altprop.rules.targets.reconstruction import Reconstructing


class DTP(Reconstructing):
    """Difference target propagation (Lee et al. 2015).

    step: of the last hidden layer's target.  inverse: "preserving" or "denoising".  noise: sigma.  decoder_rate: of the
    net's.  alternate: how many epochs decoders and net each learn alone, in turns; 0: side by side.  init, scale, seed:
    how V is drawn.  Raises ``Refused`` for anything else, and for what ``Decoded`` refuses."""

    claims = replace(
        Reconstructing.claims, weight_transport="full",  # of the last layer alone
        is_backprop_when="step is 1, and one layer is hidden or layers are linear and V_l = W_l",
    )  # fmt: skip
    reference = "lee2015"
    suits = Suits(lr=0.03, activation="tanh")
    below_output = False

    def __init__(
        self, net: Any, *, step: float = 1.0, inverse: str = "preserving", noise: float = 0.1,
        decoder_rate: float = 1.0, alternate: int = 0, init: str = "orthogonal", scale: float = 1.0, seed: int = 0,
        **arguments: Any,
    ) -> None:  # fmt: skip
        own: Any = {"inverse": inverse, "noise": noise, "decoder_rate": decoder_rate, "alternate": alternate}
        super().__init__(net, **own, init=init, scale=scale, seed=seed, **arguments)
        if not step > 0:
            raise Refused(f"step={step} came; DTP takes one above 0")
        self.step = step

    def aim(self, last: Trace, below: Tensor, e: Tensor, delta: Tensor) -> Tensor:
        return -self.step * pull(last, delta)
