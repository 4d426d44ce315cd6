"""SDTP with auxiliary outputs: a label says too little of the layer below, so that the output's decoder hears fixed
random features of it besides.

    h_l = f_l(h_{l-1} W_l^T + b_l),   y_hat the head's output                                     (N, *out_l)
    z = f_{L-1}(h_{L-1} A^T)                          A fixed, (K, n_{L-1}), K = ``outputs``      (N, K)
    g_L(o, z) = f_{L-1}(o V_L + z U + c_L),   g_l(o) = f_{l-1}(o V_l + c_l)    below              (N, *out_{l-1})
    t_{L-1} = h_{L-1} + g_L(t, z) - g_L(y_hat, z)                         t the label             (N, C)
    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)                                                       (N, *out_{l-1})
    delta_l = ((h_l - t_l) / N) * f'_l(a_l),   delta_L = ((y_hat - t) / N) * f'_L(a_L)
    W_l.grad += delta_l^T h_{l-1}

    R_l = |g_l(f_l(h_{l-1} + eps)) - h_{l-1}|^2 / 2N                      eps ~ N(0, noise^2), in z too
    V_l.grad, c_l.grad, U.grad += the gradient of R_l at them alone;   inverse="preserving": as SDTP

Reference: Bartunov, Santoro, Richards, Marris, Hinton and Lillicrap, NeurIPS 2018 (bartunov2018).
Deviations from the paper: those of SDTP, and
    1. A is Glorot's and has no bias, U is drawn as V; the paper does not say how they are drawn.
Easily confused with: SDTP, which is this one without z; an auxiliary loss, which would teach the layers by z.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from altprop.core import Refused, Suits, Trace, draw_feedback
from altprop.rules.targets.reconstruction import Reconstructing


class AOSDTP(Reconstructing):
    """SDTP with auxiliary outputs (Bartunov et al. 2018).

    outputs: K.  features[0] is A, auxiliary[0] U (K, n_{L-1}).  Other arguments as ``SDTP``.  Raises ``Refused`` for
    anything else, and for what ``Decoded`` refuses."""

    claims = replace(Reconstructing.claims, learns=(*Reconstructing.claims.learns, "auxiliary"))
    reference = "bartunov2018"
    suits = Suits(lr=0.03, activation="tanh")

    def __init__(
        self, net: Any, *, outputs: int = 512, inverse: str = "denoising", noise: float = 0.1,
        decoder_rate: float = 1.0, alternate: int = 0, init: str = "orthogonal", scale: float = 1.0, seed: int = 0,
        **arguments: Any,
    ) -> None:  # fmt: skip
        own: Any = {"inverse": inverse, "noise": noise, "decoder_rate": decoder_rate, "alternate": alternate}
        super().__init__(net, **own, init=init, scale=scale, seed=seed, **arguments)
        if outputs < 1:
            raise Refused(f"outputs={outputs} came; AOSDTP takes at least 1, or use 'sdtp'")
        shape = [(outputs, shapes.h.numel()) for shapes in self.shapes[:-1][-1:]]
        self.features = draw_feedback(shape, init="glorot_uniform", seed=seed + 1, like=self.like)
        self.auxiliary = nn.ParameterList(draw_feedback(shape, init=init, scale=scale, seed=seed + 2, like=self.like))
        if len(self.auxiliary):
            own = nn.ParameterList([self.V[-1], self.offsets[-1], *self.auxiliary])
            self.layers[-1] = replace(self.layers[-1], beside=own)

    def aim(self, last: Trace, below: Tensor, e: Tensor, delta: Tensor) -> Tensor:
        return self.aim_by_label(last, below, e)
