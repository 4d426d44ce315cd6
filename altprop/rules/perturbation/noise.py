"""What an evolution strategy adds to one parameter, K directions at once: full noise, or the product of two factors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core.product import linear, outer


class Noise(ABC):
    """E_k ~ N(0, 1), k = 1 .. K, in the shape of a parameter."""

    K: int

    @abstractmethod
    def part(self, chosen: slice) -> Noise:
        """Of some directions."""

    @abstractmethod
    def built(self) -> Tensor:
        """E (K, *shape)."""

    @abstractmethod
    def factors(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """u (K, R, q), v (K, q, m) whose product is h E_k^T; h (K, R, n), or (R, n), the same for all."""

    @abstractmethod
    def mean(self, w: Tensor) -> Tensor:
        """sum_k w_k E_k, in the shape of the parameter."""


class Full(Noise):
    """E itself."""

    def __init__(self, E: Tensor) -> None:
        self.E, self.K = E, len(E)

    def part(self, chosen: slice) -> Noise:
        return Full(self.E[chosen])

    def built(self) -> Tensor:
        return self.E

    def factors(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return h.expand(self.K, *h.shape[-2:]), self.E.mT

    def mean(self, w: Tensor) -> Tensor:
        return (w @ self.E.flatten(1)).view(self.E.shape[1:])


class LowRank(Noise):
    """E_k = A_k B_k^T / sqrt(r), which a product never builds.  A (K, r, m) carries the root, B (K, r, n)."""

    def __init__(self, A: Tensor, B: Tensor, shape: torch.Size) -> None:
        self.A, self.B, self.shape, self.K = A, B, shape, len(A)

    def part(self, chosen: slice) -> Noise:
        return LowRank(self.A[chosen], self.B[chosen], self.shape)

    def built(self) -> Tensor:
        return (self.A.mT @ self.B).view(-1, *self.shape)

    def factors(self, h: Tensor) -> tuple[Tensor, Tensor]:
        if h.dim() == 3:
            return h @ self.B.mT, self.A
        u = linear(h, self.B.flatten(0, 1)).view(len(h), self.K, -1)
        return u.transpose(0, 1), self.A  # one product for all members

    def mean(self, w: Tensor) -> Tensor:
        weighed = self.A * w.view(-1, 1, 1)
        return outer(weighed.flatten(0, 1), self.B.flatten(0, 1)).view(self.shape)


def draw(p: nn.Parameter, K: int, rank: int) -> Noise:
    """Noise of ``rank`` for what has rows and columns, else, and for rank 0, full.

    Drawn in float32 whatever the net's dtype, so that the same seed is the same noise."""
    if not rank or p.dim() < 2:
        return Full(normal((K, *p.shape), p))
    m, n = len(p), p[0].numel()
    return LowRank(normal((K, rank, m), p).div_(rank**0.5), normal((K, rank, n), p), p.shape)


def normal(shape: Sequence[int], like: Tensor) -> Tensor:
    """N(0, 1)."""
    return torch.randn(*shape, dtype=torch.float32, device=like.device).to(like.dtype)


def numbers(p: Any, rank: int) -> int:
    """How many numbers one direction of a parameter is."""
    return p.numel() if not rank or p.dim() < 2 else rank * (len(p) + p[0].numel())
