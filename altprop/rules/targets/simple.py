"""Simplified difference target propagation: the last hidden layer's target comes from a decoder too, of the output,
whose target is the label, so that no weight is transported.

    h_l = f_l(h_{l-1} W_l^T + b_l),   y_hat the head's output                                     (N, *out_l)
    g_l(o) = f_{l-1}(o V_l + c_l)                                         l = 2 ... L             (N, *out_{l-1})
    t_{L-1} = h_{L-1} + g_L(t) - g_L(y_hat)                               t the label             (N, C)
    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)                                                       (N, *out_{l-1})
    delta_l = ((h_l - t_l) / N) * f'_l(a_l),   delta_L = ((y_hat - t) / N) * f'_L(a_L)
    W_l.grad += delta_l^T h_{l-1}

    r_l = g_l(f_l(h_{l-1} + eps)),  eps ~ N(0, noise^2);  of f_L as well y_hat
    R_l = |r_l - h_{l-1}|^2 / 2N                                          inverse="denoising"
    R_l = |r_l - (h_{l-1} + eps)|^2 / 2N                                  inverse="preserving"
    V_l.grad, c_l.grad += the gradient of R_l at them alone

Reference: Bartunov, Santoro, Richards, Marris, Hinton and Lillicrap, NeurIPS 2018 (bartunov2018).
Deviations from the paper:
    1. Half of each square, so that a rate here is twice the published one.
    2. V_l is orthogonal at first; the paper's is Glorot's: init="glorot_uniform".
    3. One optimizer for net and decoders, at ``decoder_rate`` times the rate, unless a recipe's phase gives another.
    4. A decoder goes back through pools to the places that they took; the paper has strides instead.
Easily confused with: DTP, whose last hidden target is a step down the true gradient; DRTP, which projects the label.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from altprop.core import Suits, Trace
from altprop.rules.targets.reconstruction import Reconstructing


class SDTP(Reconstructing):
    """Simplified difference target propagation (Bartunov et al. 2018).

    inverse: "denoising" or "preserving".  noise: sigma.  decoder_rate: of the net's.  alternate: how many epochs
    decoders and net each learn alone, in turns; 0: side by side.  init, scale, seed: how V is drawn.  Raises
    ``Refused`` for anything else, and for what ``Decoded`` refuses."""

    reference = "bartunov2018"
    suits = Suits(lr=0.03, activation="tanh")

    def __init__(
        self, net: Any, *, inverse: str = "denoising", noise: float = 0.1, decoder_rate: float = 1.0,
        alternate: int = 0, init: str = "orthogonal", scale: float = 1.0, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        own: Any = {"inverse": inverse, "noise": noise, "decoder_rate": decoder_rate, "alternate": alternate}
        super().__init__(net, **own, init=init, scale=scale, seed=seed, **arguments)

    def aim(self, last: Trace, below: Tensor, e: Tensor, delta: Tensor) -> Tensor:
        return self.aim_by_label(last, below, e)
