"""Difference target propagation whose decoders learn no inverse but the transposed Jacobian of their layer, so that its
targets are those of backpropagation: local difference reconstruction losses.

    h_l = f_l(h_{l-1} W_l^T + b_l),   g_l(o) = f_l(o) V_l                                         (N, *out_{l-1})
    t_L = h_L - step e                                                    e = y_hat - t           (N, C)
    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)                                                       (N, *out_{l-1})
    delta_l = ((h_l - t_l) / (step N)) * f'_l(a_l)                        for L too
    W_l.grad += delta_l^T h_{l-1}

    R_l = (|g_l(h_l + eta) - g_l(h_l)|^2 / 2 - <eps, g_l(F_l(h_{l-1} + eps)) - g_l(h_l)>) / (N noise^2)
    V_l.grad += the gradient of R_l at V_l      eps, eta ~ N(0, noise^2), F_l the layer

As noise shrinks, R_l becomes half the squared distance of g_l's Jacobian to F_l's transposed one, and a constant.

Reference: Ernoult, Normandin, Moudgil, Spinney, Belilovsky, Rish, Richards and Bengio, ICML 2022 (ernoult2022).
Deviations from the paper:
    1. Half of R_l, and over noise^2, so that V's rate does not depend on the noise.
    2. Over ``step`` as well, so that a rate here is step times the published one.
    3. One step of each decoder a batch; the authors' code takes 20 to 55, each on noise of its own.  ``draws`` averages
       as many, and the phase "decoders first" lets V come close before the net moves.
    4. No bias in g_l: it would cancel in every difference.
    5. A decoder unpools by the places that the clean pass took, in all of R_l.
Easily confused with: DTP, whose decoders undo their layers; weight mirroring, which correlates noise as well but hears
of no slope.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from altprop.core import Refused, Suits, Trace, accumulate, pull
from altprop.rules.targets.decoded import Decoded
from altprop.rules.targets.inverse import noisy, spread


class LDRL(Decoded):
    """Target propagation by transposed Jacobians (Ernoult et al. 2022).

    feedback[l], V of layer l + 1, of the shape of its weight.  step: of the output's target.  draws: of noise, a batch.
    noise, decoder_rate, alternate, init, scale, seed: as ``DTP``.  Raises ``Refused`` for anything else, and for what
    ``Decoded`` refuses."""

    claims = replace(
        Decoded.claims, learns=("feedback",),
        is_backprop_when="V_l = W_l, f'(f(a)) = f'(a) as of linear and leaky ReLU layers, and step tends to 0",
    )  # fmt: skip
    reference = "ernoult2022"
    suits = Suits(lr=0.03, activation="tanh")

    def __init__(
        self, net: Any, *, step: float = 0.1, draws: int = 1, noise: float = 0.1, decoder_rate: float = 1.0,
        alternate: int = 0, init: str = "orthogonal", scale: float = 1.0, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        own: Any = {"noise": noise, "decoder_rate": decoder_rate, "alternate": alternate}
        super().__init__(net, **own, init=init, scale=scale, seed=seed, **arguments)
        if not (step > 0 and draws > 0):
            raise Refused(f"step={step}, draws={draws} came; LDRL takes a step above 0 and at least one draw")
        self.step, self.draws, self.pace = step, draws, 1 / step
        self.stand_beside([self.V])

    def aim(self, last: Trace, below: Tensor, e: Tensor, delta: Tensor) -> Tensor:
        return self.lower(len(self.layers) - 1, last, below, -self.step * e)

    def lower(self, index: int, trace: Trace, below: Tensor, d: Tensor) -> Tensor:
        f = self.bends[index]
        return pull(trace, f(trace.h + d) - f(trace.h.clone()), weight=self.V[index - 1])

    def invert(self, index: int, trace: Trace, below: Tensor) -> Tensor:
        f, V, losses = self.bends[index], self.V[index - 1], []
        o, M = f(trace.h.clone()), len(below) * self.noise**2 * self.draws
        for _ in range(self.draws):
            up, h = noisy(trace, below, self.noise)
            risen = f(up.h) - o  # (N, *out_l), by eps
            shaken = f(trace.h + self.noise * torch.randn_like(trace.h)) - o  # by eta
            r = pull(trace, shaken, weight=V)  # (N, *out_{l-1})
            along = spread(trace, risen, (h - below) / M)  # (*W_l), whose product with V is <eps, risen V>
            accumulate(V, spread(trace, shaken, r / M) - along)
            losses.append(r.square().sum() / (2 * M) - (V * along).sum())
        return torch.stack(losses).sum()
