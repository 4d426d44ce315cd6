"""Direct feedback alignment: the output error reaches every hidden layer in one step, through a fixed random
matrix of its own.

    delta_L = e / N                        e = y_hat - t                                  (N, C)
    DFA     delta_l = (e D_l / N) * f'(a_l)          D_l fixed, (C, *out_l)               (N, *out_l)
    sDFA    delta_l = (sign(e) D_l / N) * f'(a_l)    sign(0) = 0
    W_l.grad += delta_l^T h_{l-1}

The signal enters at the layer's activity, before pooling; no layer waits for the one above it.

References: Nokland, NeurIPS 2016 (DFA); Frenkel, Lefebvre and Bol, Frontiers in Neuroscience 15, 2021 (sDFA).
Deviations from the papers:
    1. Every layer takes the mean over the batch; the code of Frenkel et al. does not divide the hidden signal by N.
Easily confused with: feedback alignment, layer by layer; DRTP, which projects the target instead of the error.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Rule, Suits, ascend, draw_feedback, learn, project, slope, weighed


class Direct(Rule):
    """The family: feedback[l] (C, *out_l) brings what is made of the error to hidden layer l."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="forward", signal="error", trains=("synapse", "activation"))

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        self.feedback = draw_feedback(self.direct_shapes, init=init, scale=scale, seed=seed, like=self.like)

    @abstractmethod
    def modulation(self, e: Tensor, t: Any) -> Tensor:
        """What hidden layers hear of the error e (N, C)."""

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces, t = ascend(self.layers, x), self.targets(y, len(x))
        loss, e = self.output_error(traces[-1].h, t)
        m = self.modulation(e, t) / len(x)  # (N, C)
        for trace, D in zip(traces, self.feedback, strict=False):
            learn(trace, slope(trace, project(m, D)), ready)
        learn(traces[-1], slope(traces[-1], e / len(x)), ready)
        return loss


class DFA(Direct):
    """Direct feedback alignment (Nokland 2016, eq. 7).

    feedback[l] (C, *out_l) brings the error to hidden layer l.  init, scale, seed: how it is drawn."""

    reference = "nokland2016"

    def modulation(self, e: Tensor, t: Any) -> Tensor:
        return e


class SDFA(Direct):
    """DFA with the sign of the error (Frenkel et al. 2021).  Arguments as ``DFA``.

    The sign does not shrink with the error, so neither does the step, and with many classes nearly all signs are those
    of the classes that are absent: hidden layers may end below what they were drawn as.  Give it a schedule."""

    reference = "frenkel2021"
    suits = Suits(lr=0.02, activation="tanh")

    def modulation(self, e: Tensor, t: Any) -> Tensor:
        return weighed(t, e.sign())
