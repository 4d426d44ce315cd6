"""Adjusted cosine similarity of the samples of a batch, and the way back through it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 1e-8  # what a sample or a map is divided by at least; one that is flat stays zero


class Rows(NamedTuple):
    """A batch s (N, *shape) as rows of length one, of mean zero."""

    u: Tensor  # (N, n)
    length: Tensor  # (N, 1)
    centred: Tensor | None  # (N, n, positions), of maps: s without each channel's mean
    deviation: Tensor | None  # (N, n, 1): of a channel over its positions, which stands for the map

    @property
    def S(self) -> Tensor:
        """(N, N)."""
        return self.u @ self.u.T

    def back(self, G: Tensor) -> Tensor:
        """Of G = dL/dS + its transpose (N, N), dL/ds: (N, n), or (N, n, positions).

        dL/du_i = sum_j G_ij u_j, of which what lies along u_i is lost.  As the same would be lost of u_i itself, it is
        taken from every u_j first, so that float32 keeps its digits where all samples are alike.  The mean over
        features needs no way of its own: the rows u have none."""
        d = self.u - self.u.mean(0)
        signal = G @ d - G.sum(1, keepdim=True) * d
        along = torch.linalg.vecdot(signal, self.u).unsqueeze(1)
        signal = (signal - along * self.u) / self.length
        if self.centred is None or self.deviation is None:
            return signal
        return self.centred * (signal.unsqueeze(2) / (self.deviation * (self.centred.shape[2] - 1)))


def rows(s: Tensor) -> Rows:
    """Rows of activity (N, n), or of maps (N, n, *positions), each channel by its deviation over positions.

    A single feature is not centred, since nothing would be left of it."""
    centred = deviation = None
    v = s.flatten(1)
    if s[0, 0].numel() > 1:
        maps = s.flatten(2)
        centred = maps - maps.mean(2, keepdim=True)
        spread = centred.square().sum(2, keepdim=True) / (centred.shape[2] - 1)
        deviation = spread.sqrt().clamp_(min=SMALLEST)
        v = deviation.squeeze(2)
    v = v - v.mean(1, keepdim=True) if v.shape[1] > 1 else v
    length = torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp_(min=SMALLEST)
    return Rows(v / length, length, centred, deviation)
