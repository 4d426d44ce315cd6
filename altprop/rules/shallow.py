"""Shallow learning: only the last layer learns, on top of random features.  The control that every rule must beat.

    delta_L = e / N,   W_L.grad += delta_L^T h_{L-1};   the hidden layers stay as they were drawn

Reference: the "shallow" curve of Frenkel, Lefebvre and Bol, Frontiers in Neuroscience 15, 2021.
Deviations from the paper: none.
Easily confused with: an extreme learning machine, which solves the last layer in closed form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from altprop.core import Claims, Phase, Ready, Rule, Suits, ascend, descend, learn
from altprop.core.phase import modules_of


class Shallow(Rule):
    """The delta rule in the last layer alone (the control of Frenkel et al. 2021).  Hidden ``.grad`` stays as it is."""

    family = "control"
    role = "control"
    claims = Claims(weight_transport="none", locking="forward", signal="none")
    reference = "frenkel2021"
    suits = Suits(lr=0.03)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        *hidden, last = self.layers
        h = x
        for layer in hidden:
            h = layer(h)
        traces = ascend([last], h, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        for trace, delta in descend(traces, e / len(x)):
            learn(trace, delta, ready)
        return loss

    def phases(self) -> list[Phase]:
        """Of the hidden layers norms alone move; by themselves they do so before the readout learns."""
        *hidden, last = self.layers
        below = (*(module for layer in hidden for module in modules_of(layer)), last.inlet)
        readout = Phase("readout", modules_of(last), self.credit, beside=True)
        return [Phase("hidden", below, self.credit), readout] if hidden else [readout]
