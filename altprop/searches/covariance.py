"""Two forms of the covariance C of CMA-ES: full, C (n, n), and separable, its diagonal alone, C (n,)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

WORST = 1e-15  # of the largest variance: a smaller one is lost in rounding


class Form(ABC):
    """What CMA-ES does with C and its roots, in float64."""

    @abstractmethod
    def identity(self, n: int) -> Tensor:
        """C to begin with."""

    @abstractmethod
    def times(self, A: Tensor, y: Tensor) -> Tensor:
        """A y for each row of y (*, n); A is C or one of its roots."""

    @abstractmethod
    def outer(self, y: Tensor, w: Tensor) -> Tensor:
        """sum_i w_i y_i y_i^T, y (P, n), w (P,)."""

    @abstractmethod
    def roots(self, C: Tensor) -> tuple[Tensor, Tensor]:
        """C^1/2 and C^-1/2, both symmetric."""

    @abstractmethod
    def gain(self, n: int) -> float:
        """By how much faster it may learn than the full form: it has fewer numbers to learn."""


class Full(Form):
    """C (n, n), symmetric and positive."""

    def identity(self, n: int) -> Tensor:
        return torch.eye(n, dtype=torch.float64)

    def times(self, A: Tensor, y: Tensor) -> Tensor:
        return y @ A  # which is A y, A being symmetric

    def outer(self, y: Tensor, w: Tensor) -> Tensor:
        return (y.mT * w) @ y

    def roots(self, C: Tensor) -> tuple[Tensor, Tensor]:
        d2, B = torch.linalg.eigh((C + C.mT) / 2)
        d = d2.clamp(min=WORST * float(d2[-1])).sqrt()
        return (B * d) @ B.mT, (B / d) @ B.mT

    def gain(self, n: int) -> float:
        return 1.0


class Diagonal(Form):
    """C (n,), the variances alone (Ros and Hansen 2008)."""

    def identity(self, n: int) -> Tensor:
        return torch.ones(n, dtype=torch.float64)

    def times(self, A: Tensor, y: Tensor) -> Tensor:
        return A * y

    def outer(self, y: Tensor, w: Tensor) -> Tensor:
        return w @ y.square()

    def roots(self, C: Tensor) -> tuple[Tensor, Tensor]:
        d = C.clamp(min=WORST * float(C.max())).sqrt()
        return d, 1 / d

    def gain(self, n: int) -> float:
        return (n + 2) / 3
