"""Latent predictive learning: a layer predicts what it says of one view of a sample from what it says of the other, and
keeps its units apart and alive.

    z = h_l, of a map its mean over positions        of two views of the same N samples        z, z' (N, M)
    L = mean (z - z')^2                              pull: both views are alike
        - push mean_i log(sigma_i^2 + 1e-4)          push: no unit says the same of all        sigma^2 (M,)
        + decorrelate sum_{i != k} C_ik^2 / (M^2 - M)                                          C (M, M)
    dL / dz = 2 (z - z') / (N M)
        - push (z - m) / ((N - 1) M (sigma^2 + 1e-4))                                          m = mean z (M,)
        + decorrelate 2 / ((N - 1) (M^2 - M)) (z - m) C, C without its diagonal
    W_l.grad += (dL / dz * f'(a_l))^T h_{l-1}, l < L;   W_L.grad += (e / N)^T h_{L-1}, e = y_hat - t: the readout

sigma^2 and C are those of one view over the batch, with N - 1; push and decorrelate are the means of both views' terms.
A batch holds one view of each sample, then the other, in the same order; a last row without a partner teaches nothing.

Reference: Halvagal and Zenke, Nature Neuroscience 26, 2023, with its erratum.
Deviations from the paper:
    1. Both views learn at once, as in published code; in the paper one is what the layer said a moment ago.
    2. A block is one layer, before the pooling, which is the next one's; published blocks pool first.
    3. Biases of hidden layers do not learn, and decay is the optimizer's.
Easily confused with: VICReg, whose variance has a hinge; ``scff``, which compares samples with each other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Refused, Suits, Trace, correlate, slope
from altprop.rules.hebbian.family import Hebbian

EPSILON = 1e-4  # added to variances


class LPL(Hebbian):
    """Latent predictive learning (Halvagal and Zenke 2023).

    push, decorrelate: weights of two terms of L, see above.  readout: see ``Hebbian``.
    Raises ``Refused`` for a weight below 0."""

    family, of_slope = "local", True
    claims = Claims(
        weight_transport="none", locking="none", signal="none", labels=False, trains=("synapse",), averages=False,
        views=2,
    )  # fmt: skip
    reference = "halvagal2023"
    suits = Suits(lr=0.05, norms="centre", norm_of_readout="centre", lr_regression=0.05)

    def __init__(
        self, net: Any, *, push: float = 1.0, decorrelate: float = 10.0, readout: bool = True, **arguments: Any
    ) -> None:
        super().__init__(net, readout=readout, **arguments)
        if not (push >= 0 and decorrelate >= 0):
            raise Refused(f"push={push}, decorrelate={decorrelate} came; LPL takes weights of at least 0")
        self.push, self.decorrelate = push, decorrelate

    def gradient(self, index: int, trace: Trace) -> Tensor:
        h: Any = trace.h
        N, maps = len(h) // 2, h.flatten(2) if h.dim() > 2 else h.unsqueeze(2)
        z = maps.mean(2)[: 2 * N].unflatten(0, (2, N))  # (views, N, M)
        signal = torch.zeros_like(maps)
        signal[: 2 * N] = (self._uphill(z) / maps.shape[2]).flatten(0, 1).unsqueeze(2)
        return correlate(trace.layer.synapse, trace.x, slope(trace, signal.view_as(h)))

    def _uphill(self, z: Tensor) -> Tensor:
        """dL / dz (views, N, M)."""
        _, N, M = z.shape
        d = z - z.mean(1, keepdim=True)
        d = d - d.mean(1, keepdim=True)  # what rounding has left, which inputs far from zero would multiply
        C = d.mT @ d / max(N - 1, 1)  # (views, M, M)
        sigma2 = C.diagonal(dim1=1, dim2=2).clone().unsqueeze(1)  # (views, 1, M)
        C.diagonal(dim1=1, dim2=2).zero_()
        pull = (z - z.flip(0)) * (2 / max(N * M, 1))
        push = d / (sigma2 + EPSILON) * (self.push / (max(N - 1, 1) * M))
        return pull - push + d @ C * (2 * self.decorrelate / (max(N - 1, 1) * max(M * M - M, 1)))
