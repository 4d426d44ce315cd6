"""Direct random target projection: the target itself, randomly projected, tells every hidden layer where to go.  No
error is awaited, so a layer learns the moment its activity exists, and one layer's activity is held at a time.

    delta_l = s (t D_l / N) * f'(a_l)      t one-hot, D_l fixed, (C, *out_l)              (N, *out_l)
    delta_L = e / N                        e = y_hat - t                                  (N, C)
    W_l.grad += delta_l^T h_{l-1}

Reference: Frenkel, Lefebvre and Bol, Frontiers in Neuroscience 15, 2021, eq. 6.
Deviations from the paper:
    1. Hidden layers take the mean over the batch.  The authors' code sums there, so with its losses the published
       rates meet a hidden signal N (cross entropy) or N C (binary cross entropy) times larger relative to the
       output's: ``scale`` is that factor.
    2. ``sign`` s = +1 as in the code; D is drawn symmetrically about 0, so -1 is an equal choice.
Easily confused with: DFA and sDFA, which need the output first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Refused, Staged, Suits, draw_feedback, forward, learn, project, slope, weighed


class DRTP(Staged):
    """Direct random target projection (Frenkel et al. 2021).

    feedback[l] (C, *out_l) brings the target to hidden layer l.  sign: +1 or -1.  scale multiplies the hidden signal;
    init, seed: how the feedback is drawn.  Raises ``Refused`` for another sign."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="none", signal="target", trains=("synapse", "activation"))
    reference = "frenkel2021"
    suits = Suits(activation="tanh")

    def __init__(
        self, net: Any, *, sign: int = 1, scale: float = 1.0, init: str = "he_uniform", seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        if sign not in (1, -1):
            raise Refused(f"sign {sign!r} came; DRTP takes sign=1 or sign=-1")
        self.s, self.scale = sign, scale
        self.feedback = draw_feedback(self.direct_shapes, init=init, seed=seed, like=self.like)

    @torch.no_grad()
    def stage(self, index: int, h: Tensor, t: Any) -> tuple[Tensor, Tensor | None]:
        trace, N, loss = forward(self.layers[index], h), len(h), None
        if index < len(self.feedback):
            signal = project(weighed(t) * (self.s * self.scale / N), self.feedback[index])  # (N, *out_l)
        else:
            loss, e = self.output_error(trace.h, t)
            signal = e / N
        learn(trace, slope(trace, signal))
        return trace.h, loss
