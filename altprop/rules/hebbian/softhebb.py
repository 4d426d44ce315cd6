"""SoftHebb: the units of a layer compete softly for every input, the winner moves towards it and all others away.

    u = x W^T,  a = u + b                            x a sample, or a patch of a convolution       (M, units)
    y_i = exp(t a_i) / sum_j exp(t a_j)              t the inverse temperature                     (M, units)
    y_i <- -y_i for every unit but the largest       anti_hebbian                                  (M, units)
    Delta w_i = sum_m y_mi (x_m - u_mi w_i)                                                        (*W)
    Delta W <- Delta W / max |Delta W|               scale="max"; with None / M
    W_l.grad += -Delta W_l, l < L;  the last layer reads out by the delta rule: see ``climb``, or, supervised, so:

    W_L.grad += -Delta W_L, where y_i is 1 for the unit of the label and 0 for all others

sum_m y_mi u_mi is w_i . sum_m y_mi x_m, so that one product gives both.  The weight vectors go to norm 1.  Published
nets start with norms of 25 and learn with a rate that falls as a norm nears 1: ``altprop.NormSGD``.  So who wins often
shrinks first, and leaves samples to the others.

References: Moraitis et al., Neuromorphic Computing and Engineering 2, 2022 (y as it is: anti_hebbian=False); Journe et
    al., International Conference on Learning Representations, 2023 (anti_hebbian=True).
Deviations from the papers:
    1. The rate of published code takes the distance of the norm to 1 and adds 1e-10; the paper has no absolute value.
    2. The softmax sees the bias, the decay does not.  Hidden biases do not learn; published nets have none.
Easily confused with: ``hard_wta``, where only the winner and one loser learn; softmax classifiers, which see labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Refused, Rule, Suits, Trace, accumulate, weighed
from altprop.core.layer import is_dense
from altprop.rules.hebbian.climb import (
    along,
    climb,
    correlated,
    equip,
    hidden,
    largest_entry,
    one_by_one,
    present,
    rows,
    weight_of,
)
from altprop.rules.hebbian.needs import advise


class SoftHebb(Rule):
    """SoftHebb (Moraitis et al. 2022, Journe et al. 2023).

    inverse_temperature: t, one number or one a layer that learns so.  anti_hebbian: whether losers move away.
    scale: "max" or None, see above.  readout: see ``climb``.  supervised: whether it is Hebbian too.
    Raises ``Refused`` for arguments out of range; warns of what the net lacks: see ``needs``."""

    family, competes = "hebbian", True
    claims = Claims(
        weight_transport="none", locking="none", signal="none", labels=False, trains=("synapse",), averages=False
    )
    reference = "journe2023"
    suits = Suits(
        lr=0.1, activation="triangle", optimizer="norm_sgd", init="radius25", norms="centre", norm_of_readout="centre",
        lr_regression=0.1, lr_readout=0.02,
    )  # fmt: skip

    def __init__(
        self, net: Any, *, inverse_temperature: float | Sequence[float] = 1.0, anti_hebbian: bool = True,
        scale: str | None = "max", readout: bool = True, supervised: bool = False, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        equip(self, readout)
        depth = len(self.layers) - readout
        many = isinstance(inverse_temperature, Sequence)
        self.t = [float(t) for t in (inverse_temperature if many else [inverse_temperature] * depth)]  # type: ignore
        if len(self.t) != depth or not all(t > 0 for t in self.t):
            raise Refused(f"inverse_temperature={inverse_temperature} came: give one above 0, or one a layer ({depth})")
        if scale not in ("max", None):
            raise Refused(f"scale={scale!r} came: give 'max', or None for the mean")
        if supervised and not (readout and is_dense(self.layers[-1].synapse)):
            raise Refused(
                f"supervised came with readout={readout} and {self.layers[-1]}: it is of a Linear that reads out"
            )
        self.claims = replace(self.claims, averages=scale is None)
        self.anti_hebbian, self.scale, self.supervised = anti_hebbian, scale, supervised
        advise(self, arguments["example"], hidden(self))

    phases = one_by_one

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor | None = None, ready: Ready | None = None) -> Tensor:
        return climb(self, self._gradient, x, y, ready, read_out=self._learn_labels if self.supervised else None)

    def _gradient(self, index: int, trace: Trace) -> Tensor:
        y = torch.softmax(rows(trace, trace.a) * self.t[index], -1)
        if self.anti_hebbian:
            largest, winner = y.max(-1, keepdim=True)
            y.neg_().scatter_(-1, winner, largest)
        return self._drawn(y, trace)

    def _learn_labels(self, rule: Rule, x: Tensor, labels: Tensor, ready: Ready | None) -> Tensor:
        trace = present(self.layers[-1], x)
        output = trace.layer.activation(trace.a)
        y = self.targets(labels, len(output))  # (N, C)
        if weight_of(trace).requires_grad:
            accumulate(weight_of(trace), self._drawn(weighed(y), trace))
        if ready is not None:
            ready(trace.layer)
        return self.output_error(output, y)[0]

    def _drawn(self, y: Tensor, trace: Trace) -> Tensor:
        """-Delta W of the activity y (N, *positions, units)."""
        W = weight_of(trace)
        G = correlated(trace, y)  # sum y (x) x, (*W)
        decay = torch.linalg.vecdot(G.flatten(1), W.flatten(1))  # sum y_i u_i, (units,)
        dW = G.addcmul_(along(decay, W), W, value=-1)
        return dW.div_(-largest_entry(dW) if self.scale else -(y.numel() // y.shape[-1]))
