"""Self-Contrastive Forward-Forward: a layer that sees two samples at once is to be louder where both are the same than
where they differ.  Since both go through the same weights, one pass tells what every pair would give.

    a = x W^T + b                                    x a sample, or a patch of a convolution       (M, units)
    a+ = 2 a,  a- = a + a'                           of [x, x] and [x, x'], x' of another sample   (M, units)
    h = max(a, 0),  g = mean_i h_i^2                 of either                                     (M, 1)
    L = mean_m softplus(theta_+ - g+) + softplus(g- - theta_-) + lambda g+
    d+ = (lambda - sigmoid(theta_+ - g+)) 2 h+ / (M units),  d- = sigmoid(g- - theta_-) 2 h- / (M units)
    delta = 2 d+ + d- + what d- of its partners says to x'                                         (M, units)
    W_l.grad += delta^T x, l < L;   W_L.grad += (e / N)^T h_{L-1}, e = y_hat - t: the last layer reads out

x' is the sample before x in the batch, at the same position; the order of batches is random where runs are made.

Reference: Chen, Liu, Laydevant and Grollier, Nature Communications 16, 5978, 2025.
Deviations from the paper:
    1. Every layer makes pairs of what it sees itself; published nets also hand pairs on from the first layer to the
       second.
    2. The paper standardises each sample before a layer; here norms are the net's ("sample" in its spec), and without
       that one a layer finds little.
    3. Published code moves a batch on by a random number of places to find partners; here it is one.
    4. Biases of hidden layers do not learn.
    5. A linear readout of the top layer, where the paper also reads several.
Easily confused with: Forward-Forward, whose pairs are an image and a label; contrastive learning from two views.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from altprop.core import Claims, Refused, Suits, Trace
from altprop.rules.hebbian.correlations import correlated, rows
from altprop.rules.hebbian.family import Hebbian


class SCFF(Hebbian):
    """Self-Contrastive Forward-Forward (Chen et al. 2025).

    positive, negative: theta_+ and theta_-.  penalty: lambda.  readout: see ``Hebbian``.
    Raises ``Refused`` for a penalty below 0."""

    family = "forward-only"
    claims = Claims(
        weight_transport="none", locking="none", signal="none", labels=False, trains=("synapse",), averages=False
    )
    reference = "chen2025"
    suits = Suits(
        lr=0.1, activation="triangle", init="radius0.6", norms="sample", norm_of_readout="sample", lr_regression=0.1
    )

    def __init__(
        self, net: Any, *, positive: float = 1.0, negative: float = 1.0, penalty: float = 0.01, readout: bool = True,
        **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, readout=readout, **arguments)
        if not penalty >= 0:
            raise Refused(f"penalty={penalty} came; SCFF takes an amount of at least 0")
        self.positive, self.negative, self.penalty = positive, negative, penalty

    def gradient(self, index: int, trace: Trace) -> Tensor:
        a = rows(trace, trace.a)  # (N, *positions, units)
        alike, other = (2 * a).relu_(), (a + a.roll(1, 0)).relu_()  # h+, h-
        g_alike, g_other = (h.square().mean(-1, keepdim=True) for h in (alike, other))
        share = 2 / a.numel()
        d_alike = alike.mul_(share * (self.penalty - (self.positive - g_alike).sigmoid_()))
        d_other = other.mul_(share * (g_other - self.negative).sigmoid_())
        return correlated(trace, 2 * d_alike + d_other + d_other.roll(-1, 0))
