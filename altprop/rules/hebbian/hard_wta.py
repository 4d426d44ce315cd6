"""Hard winner-take-all: of the units of a layer only a few winners learn from an input.

    v_i = sum_d sign(w_id) |w_id|^(p-1) x_d                                                        (M, units)
    y_i = 1 for the largest v, -delta for the k-th largest, 0 for all others                       (M, units)
    Delta w_i = sum_m y_mi (x_m - v_mi w_i),  Delta W <- Delta W / max |Delta W|                   (*W)

With thresholds=True, theta of a unit rises with its wins, so that every unit wins a share k / K in the long run:

    y_i = 1 for the k largest u_i / |w_i| - theta_i, 0 for all others      u = x W^T               (M, units)
    Delta w_i = (1 / M) sum_m y_mi (x_m - w_i);   theta_i += rate (<y_i> - k / K), in training     (units,)

    W_l.grad += -Delta W_l, l < L;   W_L.grad += (e / N)^T h_{L-1}, e = y_hat - t: the last layer reads out

p is that of the Lebesgue norm which goes to 1; x a sample, or a patch of a convolution; M their number.

References: Krotov and Hopfield, PNAS 116, 2019 (and Grinberg et al., arXiv 1908.08993, 2019, for convolutions);
    thresholds: Miconi, arXiv 2107.01729, 2021.
Deviations from the papers:
    1. Weight vectors are not set to norm 1 after each step: with thresholds they go to the mean of what they win, and
       compete as if their norm were 1.
    2. Pruning of synapses and image filters are not part of the rule.
    3. Biases of hidden layers do not learn.
Easily confused with: ``softhebb``, where all units learn; k-means, whose y is that of k=1 by distance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Feedback, Refused, Suits, Trace
from altprop.rules.hebbian.correlations import (
    along,
    centred,
    correlated,
    driven,
    largest_entry,
    unbiased,
    weight_of,
)
from altprop.rules.hebbian.family import Hebbian, hidden
from altprop.rules.hebbian.needs import advise


class HardWTA(Hebbian):
    """k winners take all (Krotov and Hopfield 2019; with thresholds Miconi 2021).

    k, delta: rank and strength of the anti-Hebbian unit; k=1 has none.  p: of the norm.  thresholds, rate: see above,
    theta[l] (units,) is a buffer.  readout: see ``Hebbian``.  Raises ``Refused`` for arguments out of range; without
    thresholds it warns of what the net lacks: see ``needs``."""

    claims = Claims(
        weight_transport="none",
        locking="none",
        signal="none",
        labels=False,
        changes=("theta",),
        trains=("synapse",),
        averages=False,
    )
    reference = "krotov2019"
    suits = Suits(
        lr=0.03, activation="triangle", optimizer="norm_sgd", init="radius25", norms="centre", norm_of_readout="centre",
        lr_regression=0.03, lr_readout=0.02,
    )  # fmt: skip

    def __init__(
        self, net: Any, *, k: int = 2, delta: float = 0.4, p: float = 2.0, thresholds: bool = False,
        rate: float = 10.0, readout: bool = True, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, readout=readout, **arguments)
        units = [len(layer.synapse.get_parameter("weight")) for layer in hidden(self)]
        fewest = min(units, default=k)
        if not (1 <= k <= fewest and p > 1 and rate >= 0):
            raise Refused(f"k={k}, p={p}, rate={rate} came: k is 1 to {fewest}, the units of a layer, p above 1")
        self.k, self.delta, self.p, self.rate = k, delta, p, rate
        self.theta = Feedback(map(self.like.new_zeros, units))
        self.thresholds, self.competes = thresholds, not thresholds
        self.claims = replace(self.claims, averages=thresholds)
        if not thresholds:
            advise(self, arguments["example"], hidden(self))

    def gradient(self, index: int, trace: Trace) -> Tensor:
        return self._by_threshold(index, trace) if self.thresholds else self._by_rank(trace)

    def _by_rank(self, trace: Trace) -> Tensor:
        W = weight_of(trace)
        steep = W if self.p == 2 else W.sign() * W.abs().pow(self.p - 1)
        v = unbiased(trace) if steep is W else driven(trace, steep)
        ranking = v.topk(self.k, -1).indices  # (M, k)
        y = torch.zeros_like(v).scatter_(-1, ranking[..., :1], 1.0)
        if self.k > 1:
            y.scatter_(-1, ranking[..., -1:], -self.delta)
        G = correlated(trace, y)
        decay = torch.linalg.vecdot(G.flatten(1), steep.flatten(1))  # sum y_i v_i, (units,)
        dW = G.addcmul_(along(decay, W), W, value=-1)
        return dW.div_(-largest_entry(dW))

    def _by_threshold(self, index: int, trace: Trace) -> Tensor:
        W = weight_of(trace)
        length = torch.linalg.vector_norm(W.flatten(1), dim=1).clamp_(min=torch.finfo(W.dtype).tiny)  # (units,)
        contest = unbiased(trace) / length - self.theta[index]
        y = torch.zeros_like(contest).scatter_(-1, contest.topk(self.k, -1).indices, 1.0)
        share = y.flatten(0, -2).mean(0)  # (units,)
        if self.training:
            self.theta[index].add_(share - self.k / len(share), alpha=self.rate)
        trace, W = centred(trace)
        return correlated(trace, y).div_(-(y.numel() // len(share))).addcmul_(along(share, W), W)
