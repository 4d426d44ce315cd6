"""Burstprop: a unit's events carry the activity, and the probability that an event is a burst carries the teaching
signal, as a change from the phase before the teacher to the phase with it.

    e_l   = f(a_l)                              events; e_L = y_hat                        (N, n_l)
    b_L   = p0 e_L,  b^t_L = p0 (e_L - delta_L) delta_L = (y_hat - t) f'(a_L)              (N, C)
    c_l   = b_{l+1} Y_l,  c^t_l = b^t_{l+1} Y_l at the apical dendrite, in either phase    (N, n_l)
    u_l   = c_l h_l - r_l,  u^t_l = c^t_l h_l - r_l,  r_l = (sigmoid(c_l) e_l) R_l^T       (N, n_l)
    p_l   = sigmoid(u_l),  b_l = p_l e_l,  p^t_l = sigmoid(u^t_l),  b^t_l = p^t_l e_l
    delta_l = -(b^t_l - b_l) / p0                                                          (N, n_l)
    W_l.grad += delta_l^T h_{l-1} / N
    R_l.grad -= u_l^T (sigmoid(c_l) e_l) / N    recurrent bursts learn to keep p_l at 1/2, where it is linear

h = f'(a) / e, 1 - e for the sigmoid.  For u near zero and small signals, delta_l = delta_{l+1} Y_l f'(a_l) / 4:
feedback alignment, four times smaller in each layer further down.  feedback="random": Y fixed; "symmetric": W_{l+1};
"learned": Y.grad += delta_{l+1}^T h_l / N, as W_{l+1}.grad (Kolen-Pollack).

Reference: Payeur, Guerguiev, Zenke, Richards and Naud, Nature Neuroscience 24, 2021.
Deviations from the paper:
    1. The update is divided by p0, so that the output learns as by backpropagation.
    2. The output takes any loss, e_L being its y_hat; the code's is sigmoid and squared error, whose b^t is this one.
    3. On maps R joins the channels of one place; the code joins all units of a layer with each other.
    4. R takes the mean over the batch at ``recurrent_lr``; the code takes the sum at 1e-4.
    5. u^t - u is found from b^t - b, and p^t - p without a difference, which float32 would lose.
Easily confused with: BurstCCN, which cancels in one phase and whose signals are equally large in every layer.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Refused, Trace, accumulate, draw_feedback
from altprop.core.layer import is_convolution
from altprop.core.product import linear, outer
from altprop.rules.bursts.family import SATURATED, Bursts, Signal, gain, spread


class Burstprop(Bursts):
    """Burst-dependent plasticity (Payeur et al. 2021).

    feedback: "random", "symmetric" or "learned"; init, scale, seed: how Y, feedback[l], is drawn.  p0: the output's
    burst probability.  R[l] (n_l, n_l), a parameter, is recurrent and learns at ``recurrent_lr``.  Raises ``Refused``
    as ``BurstCCN`` does, and for a p0 outside of (0, 1] or a rate below 0."""

    reference = "payeur2021"
    claims = replace(Bursts.claims, learns=("R",))

    def __init__(
        self, net: Any, *, p0: float = 0.2, recurrent_lr: float = 1e-3, feedback: str = "random", init: str = "normal",
        scale: float = 1.0, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, feedback=feedback, init=init, scale=scale, seed=seed, **arguments)
        if not (0 < p0 <= 1 and 0 <= recurrent_lr < inf):
            what = f"p0={p0}, recurrent_lr={recurrent_lr} came; Burstprop takes a burst probability above 0"
            raise Refused(f"{what} and of at most 1, and a rate of at least 0")
        self.p0, self.recurrent_lr = p0, recurrent_lr
        shaped = zip(self.layers[:-1], self.shapes, strict=False)
        units = [shapes.a[0 if is_convolution(layer.synapse) else -1] for layer, shapes in shaped]
        drawn = draw_feedback([(n, n) for n in units], init="uniform", scale=0.01, seed=seed + 1, like=self.like)
        self.R = nn.ParameterList(drawn)
        for index, R in enumerate(self.R):
            self._place(index, R)

    def apical(self, index: int, trace: Trace, above: Trace, signal: Signal) -> Signal:
        e, c = trace.h, self.come(index, above, signal.b)  # (N, *out_l)
        axis = 1 if is_convolution(trace.layer.synapse) else -1
        bursts = (c.sigmoid() * e).movedim(axis, -1)  # (N, ..., n_l)
        u = (gain(trace, c) - linear(bursts, self.R[index]).movedim(-1, axis)).clamp(-SATURATED, SATURATED)
        change = gain(trace, self.come(index, above, signal.delta * -self.p0))  # u^t - u
        if self.R[index].requires_grad:
            places = u.numel() // (len(u) * len(self.R[index]))
            rows = (u * spread(signal.share, u) / -places).movedim(axis, -1).flatten(0, -2)
            accumulate(self.R[index], outer(rows, bursts.flatten(0, -2)))
        return Signal(rise(u, change) * e / -self.p0, e, u.sigmoid() * e, signal.share)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        own = {"params": list(self.R), "lr": self.recurrent_lr, "momentum": 0.0, "weight_decay": 0.0}
        return [*super().param_groups(lr), own]


def rise(u: Tensor, change: Tensor) -> Tensor:
    """sigmoid(u + change) - sigmoid(u) = sinh(change / 2) / (2 cosh((u + change) / 2) cosh(u / 2))."""
    return torch.sinh(change / 2) / (2 * torch.cosh((u + change) / 2) * torch.cosh(u / 2))
