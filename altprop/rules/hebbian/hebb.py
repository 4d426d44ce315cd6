"""Hebbian learning of linear units: what fires together wires together, and what keeps the weights from growing.

    Hebb   Delta w_i = <h_i x> - gamma w_i                  h_i the activity, gamma the decay
    Oja    Delta w_i = <u_i x> - <u_i^2> w_i                u = x W^T: every unit finds the first principal component
    GHA    Delta w_i = <u_i x> - sum_{j<=i} <u_i u_j> w_j   unit i finds the i-th (Sanger's generalised Hebbian rule)

    W_l.grad += -Delta W_l, l < L;   W_L.grad += (e / N)^T h_{L-1}, e = y_hat - t: the last layer reads out
    <.> is the mean over samples, and over the positions of a convolution.

Without decay the norm under Hebb's rule grows exponentially; with linear units only a decay above the largest
eigenvalue of the inputs' correlation holds it, and then the weights vanish.  Centre the inputs for Oja and GHA: the
first component of others is their mean.

References: Hebb, The Organization of Behavior, 1949; Oja, J. Math. Biology 15, 1982; Sanger, Neural Networks 2, 1989.
Deviations from the papers:
    1. Oja and Sanger have no nonlinearity.  Here the layer hands its activity on, but learns by u.
    2. Biases of hidden layers do not learn.
Easily confused with: each other; competitive rules, where y is a winner's; anti-Hebbian rules, of the opposite sign.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from altprop.core import Claims, Refused, Suits, Trace
from altprop.rules.hebbian.correlations import along, correlated, rows, unbiased, weight_of
from altprop.rules.hebbian.family import Hebbian, hidden

CLAIMS = Claims(weight_transport="none", locking="none", signal="none", labels=False, trains=("synapse",))


class Hebb(Hebbian):
    """Hebb's rule (1949) with the layer's own activity, less decay times the weights; readout: see ``Hebbian``."""

    claims = CLAIMS
    reference = "hebb1949"
    of_activity = True
    suits = Suits(0.00001, norms="centre", norm_of_readout="centre", lr_readout=0.02, lr_regression=0.00001)

    def __init__(self, net: Any, *, decay: float = 0.0, readout: bool = True, **arguments: Any) -> None:
        super().__init__(net, readout=readout, **arguments)
        self.decay = decay

    def gradient(self, index: int, trace: Trace) -> Tensor:
        h = rows(trace, trace.h)  # (N, *positions, units)
        return correlated(trace, h).div_(-_samples(h)).add_(weight_of(trace), alpha=self.decay)


class Oja(Hebbian):
    """Oja's rule (1982): Hebb's, with the decay that leads every weight vector to norm 1.

    All units of a layer find the same component, so that a readout hears one number: GHA parts them."""

    claims = CLAIMS
    reference = "oja1982"
    suits = Suits(lr=0.001, norms="norm", lr_regression=0.001)

    def gradient(self, index: int, trace: Trace) -> Tensor:
        W, u = weight_of(trace), unbiased(trace)
        power = u.square().flatten(0, -2).sum(0)  # (units,): sum u_i^2
        return correlated(trace, u).addcmul_(along(power, W), W, value=-1).div_(-_samples(u))


class GHA(Hebbian):
    """Sanger's generalised Hebbian algorithm (1989): the principal components in their order."""

    claims = CLAIMS
    reference = "sanger1989"
    suits = Suits(lr=0.001, norms="norm", lr_regression=0.001)

    def __init__(self, net: Any, *, readout: bool = True, **arguments: Any) -> None:
        super().__init__(net, readout=readout, **arguments)
        for layer in hidden(self):
            if getattr(layer.synapse, "groups", 1) > 1:
                raise Refused(f"the units of {layer} see different channels, so that GHA has no order: use groups=1")

    def gradient(self, index: int, trace: Trace) -> Tensor:
        W, u = weight_of(trace), unbiased(trace)
        U = u.flatten(0, -2)
        shadow = (U.T @ U).tril_() @ W.flatten(1)  # sum_{j<=i} u_i u_j w_j
        return correlated(trace, u).sub_(shadow.view_as(W)).div_(-_samples(u))


def _samples(u: Tensor) -> int:
    return u.numel() // u.shape[-1]
