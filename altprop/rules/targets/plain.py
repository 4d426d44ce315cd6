"""Target propagation: each layer's target is what a decoder, which has learned to undo the layer above, makes of that
layer's target; the output's is the label.

    h_l = f_l(h_{l-1} W_l^T + b_l),   y_hat the head's output                                     (N, *out_l)
    g_l(o) = f_{l-1}(o V_l + c_l)                                         l = 2 ... L             (N, *out_{l-1})
    t_{L-1} = g_L(t)                                                      t the label             (N, C)
    t_{l-1} = g_l(t_l)                                                                            (N, *out_{l-1})
    delta_l = ((h_l - t_l) / N) * f'_l(a_l),   delta_L = ((y_hat - t) / N) * f'_L(a_L)
    W_l.grad += delta_l^T h_{l-1}

    r_l = g_l(f_l(h_{l-1} + eps)),  eps ~ N(0, noise^2);  of f_L as well y_hat
    R_l = |r_l - (h_{l-1} + eps)|^2 / 2N                                  inverse="preserving"
    R_l = |r_l - h_{l-1}|^2 / 2N                                          inverse="denoising"
    V_l.grad, c_l.grad += the gradient of R_l at them alone

What a decoder cannot undo pulls at its layer even where the output is right, which DTP mends.

Reference: Lee, Zhang, Fischer and Bengio, ECML 2015 (lee2015), section 2.
Deviations from the paper:
    1. The output's target is the label, the least loss; the paper's is a step down the loss's gradient.
    2. Half of each square, so that a rate here is twice the published one.
    3. One optimizer for net and decoders, at ``decoder_rate`` times the rate, unless a recipe's phase gives another.
    4. A decoder goes back through pools to the places that they took.
Easily confused with: DTP and SDTP, which take off what the decoders miss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from altprop.core import Suits, Trace
from altprop.rules.targets.reconstruction import Reconstructing


class TP(Reconstructing):
    """Target propagation (Lee et al. 2015).

    inverse: "preserving" or "denoising".  noise: sigma.  decoder_rate: of the net's.  alternate: how many epochs
    decoders and net each learn alone, in turns; 0: side by side.  init, scale, seed: how V is drawn.  Raises
    ``Refused`` for anything else, and for what ``Decoded`` refuses."""

    claims = replace(Reconstructing.claims, signal="target")
    reference = "lee2015"
    suits = Suits(lr=0.03, activation="tanh")

    def __init__(
        self, net: Any, *, inverse: str = "preserving", noise: float = 0.1, decoder_rate: float = 1.0,
        alternate: int = 0, init: str = "orthogonal", scale: float = 1.0, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        own: Any = {"inverse": inverse, "noise": noise, "decoder_rate": decoder_rate, "alternate": alternate}
        super().__init__(net, **own, init=init, scale=scale, seed=seed, **arguments)

    def aim(self, last: Trace, below: Tensor, e: Tensor, delta: Tensor) -> Tensor:
        index = len(self.layers) - 1
        return self.inverse(index, below).value(last, self.heard(index, last.h) - e)[0] - below

    def lower(self, index: int, trace: Trace, below: Tensor, d: Tensor) -> Tensor:
        return self.inverse(index, below).value(trace, trace.h + d)[0] - below
