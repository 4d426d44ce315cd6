"""Whitening: inputs without correlations, learned on the training part and applied to any other.

C = (X - mean)^T (X - mean) / N = U diag(S) U^T
pca   X' = (X - mean) U diag(S + epsilon)^(-1/2)
zca   X' = (X - mean) U diag(S + epsilon)^(-1/2) U^T      of all whitenings the closest to X, so images stay images
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from altprop.core import Refused
from altprop.limits import gigabytes, memory

MATRICES = 5  # (D, D), that stand in memory at once: covariance, directions, what the solver needs, the result
EPSILONS = {"pca": 1e-5, "zca": 0.1}  # for pixels in [0, 1]


class Whitening(NamedTuple):
    """x -> (x - mean) matrix, learned by ``fit_whitening``."""

    mean: Tensor  # (D,) float64
    matrix: Tensor  # (D, D) float64
    shape: torch.Size  # of one sample
    restores: bool  # whether the result keeps that shape

    def apply(self, x: Tensor) -> Tensor:
        """x (N, *shape) -> (N, D) for pca, (N, *shape) for zca; computed in float64, returned in the dtype of x."""
        _check(x)
        if x.shape[1:] != self.shape:
            raise Refused(
                f"samples of shape {tuple(x.shape[1:])} came, but the whitening was fitted to {tuple(self.shape)}: "
                "give it data of the same kind"
            )
        white = ((x.flatten(1).double() - self.mean) @ self.matrix).to(x.dtype)  # (N, D)
        return white.view(x.shape) if self.restores else white


def fit_whitening(x: Tensor, kind: str = "pca", epsilon: float | None = None) -> Whitening:
    """Learn mean and directions from x (N, *shape), which should be the training part alone.

    kind: "pca", coordinates along the principal directions, the largest first, or "zca", rotated back.  epsilon is
    added to the variance of every direction; 1e-5 for pca and 0.1 for zca unless given.  The largest entry of every
    direction is positive, so that the result does not depend on the sign that the solver happens to choose.
    Raises ``Refused`` for integers, fewer than two samples, an unknown kind, an epsilon below 0, an epsilon of 0 where
    a direction has no variance, and more features than have a covariance that memory can hold."""
    if kind not in EPSILONS:
        raise Refused(f"unknown whitening '{kind}'; there are {', '.join(EPSILONS)}")
    _check(x)
    if len(x) < 2:
        raise Refused(f"{len(x)} samples came; a covariance needs at least 2: give the training part")
    _check_room(x[0].numel())
    epsilon = EPSILONS[kind] if epsilon is None else epsilon
    flat = x.flatten(1).double()  # (N, D)
    mean = flat.mean(0)
    S, U = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(x))  # (D,), (D, D)
    S, U = S.flip(0).clamp(min=0), U.flip(1)  # rounding leaves some that are 0 slightly below
    _check_epsilon(epsilon, S)
    U = U * torch.where(U.gather(0, U.abs().argmax(0, keepdim=True)) < 0, -1.0, 1.0)
    matrix = U / (S + epsilon).sqrt()
    restores = kind == "zca"
    return Whitening(mean, matrix @ U.T if restores else matrix, x.shape[1:], restores)


def _check(x: Tensor) -> None:
    if not x.is_floating_point() or x.dim() < 2:
        what = f"a tensor of {x.dtype} and shape {tuple(x.shape)} came"
        raise Refused(f"{what}; whitening takes floating-point samples (N, *shape): scale integers to [0, 1] first")


def _check_room(features: int) -> None:
    needed, held = MATRICES * 8 * features**2, memory()
    if needed > held:
        most = int((held / (MATRICES * 8)) ** 0.5)
        what = f"whitening {features} features takes {MATRICES} matrices of {features} x {features}"
        room = f"{gigabytes(needed)}; memory holds those of {most}"
        raise Refused(f"{what}, {room}: give smaller images or fewer features, or scale them by 'standard' instead")


def _check_epsilon(epsilon: float, variances: Tensor) -> None:
    if not epsilon >= 0:
        raise Refused(f"epsilon {epsilon} came; expected a variance of at least 0, such as 1e-5")
    rounding = variances[0] * len(variances) * torch.finfo(variances.dtype).eps
    flat = int((variances <= rounding).sum())
    if epsilon == 0 and flat:
        what = f"{flat} of {len(variances)} directions have no variance, which nothing can scale to 1"
        raise Refused(f"{what}: give an epsilon above 0")
