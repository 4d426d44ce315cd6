"""BurstCCN: a unit's events carry the activity, and the probability that an event is a burst carries the teaching
signal.  A second feedback cancels what bursts come without a teacher, so that one phase is enough.

    e_l   = f(a_l),  p0 = 1/2                   events; e_L = y_hat                        (N, n_l)
    b^t_L = p0 (e_L - delta_L)                  delta_L = (y_hat - t) f'(a_L)              (N, C)
    m_l   = b^t_{l+1} Y_l - e_{l+1} Q_l         at the apical dendrite                     (N, n_l)
    p^t_l = sigmoid(4 m_l h_l),  b^t_l = p^t_l e_l,   h = f'(a) / e, 1 - e for the sigmoid (N, n_l)
    delta_l = -(p^t_l - p0) e_l / p0
    W_l.grad += delta_l^T h_{l-1} / N

With Q = p0 Y, m_l = -p0 delta_{l+1} Y_l and delta_l = e_l tanh(h_l (delta_{l+1} Y_l)): feedback alignment, whose signal
cannot exceed the unit's own events, and with small signals and Y = W backpropagation.

    feedback="random"     Y fixed, Q = p0 Y
    feedback="symmetric"  Y = W_{l+1}, Q = p0 W_{l+1}
    feedback="learned"    Y.grad += delta_{l+1}^T h_l / N, as W_{l+1}.grad;  m0 = e_{l+1} (p0 Y - Q) is what is left
                          without a teacher, and Q.grad -= e_{l+1}^T m0 / sum |e_{l+1}|^2 drives it to zero

Reference: Greedy, Zhu, Pemberton, Mellor and Costa, NeurIPS 2022.
Deviations from the paper:
    1. The update is divided by p0: the paper's is p0 of backpropagation's in every layer.
    2. The output takes any loss, e_L being its y_hat; the paper's is sigmoid and squared error, whose b^t is this one.
    3. h = f'(a) / e serves any activation whose rate may be negative; the paper has the sigmoid alone.
    4. Of what the paper learns, Q is learned here together with a Y that follows W (Kolen-Pollack); Q starts at p0 Y,
       and its step is divided by the events' square, so that one rate serves every width.
Easily confused with: Burstprop, which compares two phases and whose probabilities depend on their operating point.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Refused, Trace, accumulate, correlate, pull
from altprop.rules.bursts.family import Bursts, Signal, gain


class BurstCCN(Bursts):
    """The bursting cortico-cortical network (Greedy et al. 2022).

    feedback: "random", "symmetric" or "learned", see above; init, scale, seed: how Y, feedback[l], is drawn.  Where it
    is learned, Q[l] is of Y's shape, and learns at ``cancel_lr``.  Raises ``Refused`` for another word, a rate below
    0, a layer above the first that is neither Linear nor a convolution, and an activation that changes a shape."""

    reference, p0 = "greedy2022", 0.5
    claims = replace(Bursts.claims, is_backprop_when="feedback is symmetric and signals are small")

    def __init__(
        self, net: Any, *, feedback: str = "random", cancel_lr: float = 0.5, init: str = "normal", scale: float = 1.0,
        seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, feedback=feedback, init=init, scale=scale, seed=seed, **arguments)
        if not 0 <= cancel_lr < inf:
            raise Refused(f"cancel_lr={cancel_lr} came; BurstCCN takes a rate of at least 0")
        self.cancel_lr = cancel_lr
        self.Q = nn.ParameterList()
        if feedback == "learned":
            self.Q = nn.ParameterList(self.p0 * Y.detach() for Y in self.feedback)
            self.claims = replace(self.claims, learns=(*self.claims.learns, "Q"))
            for index, Q in enumerate(self.Q, 1):
                self._place(index, Q)

    def apical(self, index: int, trace: Trace, above: Trace, signal: Signal) -> Signal:
        m = self.come(index, above, signal.delta)  # (N, *out_l): of -m / p0 what the teacher does
        if len(self.Q):
            m = m - self._cancel(index, above, signal.e) / self.p0
        e = trace.h
        return Signal(e * torch.tanh(gain(trace, m)), e, self.p0 * e, signal.share)

    def _cancel(self, index: int, above: Trace, e: Tensor) -> Tensor:
        """m0 (N, *out_l), of the events e (N, *out_{l+1}) above; Q learns to make it zero."""
        Q, rest = self.Q[index], self.p0 * self.feedback[index] - self.Q[index]
        if Q.requires_grad:
            m0 = pull(above._replace(inlet=[]), e, weight=rest)  # (N, *x), as the synapse's product sees it
            scale = e.square().sum().clamp_min(torch.finfo(e.dtype).tiny)
            accumulate(Q, correlate(above.layer.synapse, m0, e / -scale))
        return pull(above, e, weight=rest)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        own = {"params": list(self.Q), "lr": self.cancel_lr, "momentum": 0.0, "weight_decay": 0.0}
        return [*super().param_groups(lr), *([own] if len(self.Q) else [])]
