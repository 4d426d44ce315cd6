"""Single sparse direct feedback alignment: each hidden unit hears the error of one randomly chosen output, by one wire.

    delta_L = e / N                        e = y_hat - t                                  (N, C)
    delta_l = (e D_l / N) * f'(a_l)        D_l fixed, (C, *out_l), ``sparse`` entries a unit, the others zero
    W_l.grad += delta_l^T h_{l-1}

The entries are uniform in +-h with h = sqrt(sqrt(C sparse) / n_l), n_l the number of units.

Reference: Crafton, Parihar, Gebhardt and Raychowdhury, Frontiers in Neuroscience 13, 2019.
Deviations from the paper:
    1. In a convolutional layer the signal enters at the activity, before pooling; the authors' enters behind it.
    2. The ``rank`` of D is not limited.
Easily confused with: DFA, where every unit hears every error.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Feedback, Ready, Refused, Rule, Suits, ascend, draw_feedback, learn, project, slope


class SSDFA(Rule):
    """Single sparse direct feedback alignment (Crafton et al. 2019).

    feedback[l] (C, *out_l) brings the error to hidden layer l.  sparse: how many outputs a unit hears, 1 to C, else
    ``Refused``; scale multiplies D; seed: of the draw."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="forward", signal="error", trains=("synapse", "activation"))
    reference = "crafton2019"
    suits = Suits(lr=0.05, activation="tanh")

    def __init__(self, net: Any, *, sparse: int = 1, scale: float = 1.0, seed: int = 0, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        if not 1 <= sparse <= self.classes:
            raise Refused(f"sparse={sparse} came; SSDFA takes 1 to {self.classes}, the number of outputs")
        dense = draw_feedback(self.direct_shapes, init="uniform", scale=scale, seed=seed, like=self.like)
        self.feedback = Feedback(_prune(D, sparse, seed + index) for index, D in enumerate(dense))

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        for trace, D in zip(traces, self.feedback, strict=False):
            learn(trace, slope(trace, project(e / len(x), D)), ready)
        learn(traces[-1], slope(traces[-1], e / len(x)), ready)
        return loss


def _prune(D: Tensor, sparse: int, seed: int) -> Tensor:
    """D (C, *out), uniform in +-1, with ``sparse`` random entries left in each column, at the published magnitude."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    heard = torch.rand(D.shape, generator=generator).argsort(0) < sparse  # (C, *out)
    h = ((len(D) * sparse) ** 0.5 / prod(D.shape[1:])) ** 0.5
    return D * heard.to(D) * h
