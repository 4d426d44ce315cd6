"""The two goodnesses of Forward-Forward, and its peer term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from altprop.core import Layer

MOMENTUM = 0.9  # of the running mean in the peer term


class Goodness(NamedTuple):
    """How the activity h (N, *out) of n units a sample is scored, and what of it the next layer sees."""

    mean: bool  # over the units; else their sum
    epsilon: float  # added to what a sample is divided by

    def of(self, h: Tensor) -> Tensor:
        """g (N, 1, ...): sum h^2 or mean h^2."""
        return h.square().sum(tuple(range(1, h.dim())), keepdim=True) * self.share(h)

    def unit(self, h: Tensor) -> Tensor:
        """h / rms(h) for the sum, h / |h| for the mean; a sample of zeros stays zero."""
        length = torch.linalg.vector_norm(h, dim=tuple(range(1, h.dim())), keepdim=True)
        return h / (length * (1 if self.mean else h[0].numel() ** -0.5) + self.epsilon)

    def share(self, h: Tensor) -> float:
        """dg / d |h|^2."""
        return 1 / h[0].numel() if self.mean else 1.0

    def theta(self, h: Tensor) -> float:
        """The g at which p is 1/2."""
        return 2.0 if self.mean else float(h[0].numel())

    def score(self, layers: Sequence[Layer], x: Tensor) -> Tensor:
        """(N,): the goodness of x summed over these hidden layers, for the sum without the first of several."""
        scores = []
        for layer in layers:
            x = layer(self.unit(x))
            scores.append(self.of(x).flatten())
        return torch.stack(scores[not self.mean and len(layers) > 1 :]).sum(0)


GOODNESS = {"sum": Goodness(False, 1e-8), "mean": Goodness(True, 1e-4)}


def peer_signal(m: Tensor, h: Tensor, moves: bool) -> Tensor:
    """The gradient (*out) at every h (N, *out) of mean_j (mean(m) - m_j)^2, m the running mean with h in it.

    ``moves``: m becomes that mean."""
    now = torch.lerp(h.mean(0), m, MOMENTUM)
    if moves:
        m.copy_(now)
    return (now - now.mean()) * (2 * (1 - MOMENTUM) / (len(h) * m.numel()))
