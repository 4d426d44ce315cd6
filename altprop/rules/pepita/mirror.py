"""Weight mirroring of PEPITA's F: it is a product of one matrix a layer, and each is drawn towards its layer's weights.

F = F_1 F_2 ... F_L                                      F_l (n_{l-1}, n_l)            (n_0, C)
xi ~ 0.1 N(0, 1) minus its mean,  y = h_l(xi)            softmax at the output
F_l <- F_l + eta xi^T y / N - eta lambda F_l
then all F_l by one factor, so that the deviation of F's entries stays as it was drawn
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from altprop.core import Feedback, Layer, Refused, Rule, draw_feedback
from altprop.core.layer import is_flat_linear

NOISE = 0.1  # deviation of xi


def draw_factors(rule: Rule, scale: float, seed: int) -> tuple[Feedback, float]:
    """(F_1 ... F_L, the deviation of F's entries); raises ``Refused`` where a layer is not linear."""
    for layer, (_, a, _) in zip(rule.layers, rule.shapes, strict=True):
        if not is_flat_linear(layer, a):
            raise Refused(f"mirror=True came for {layer}: mirroring of F takes Linear layers alone, leave it out")
    n_0, *hidden = (shapes.x.numel() for shapes in rule.shapes)
    widths, std = [n_0, *hidden, rule.classes], scale * (2 / n_0) ** 0.5
    each = (std / torch.tensor(hidden, dtype=torch.float64).prod().sqrt().item()) ** (1 / len(rule.layers))
    shapes = list(pairwise(widths))
    return draw_feedback(shapes, init="normal", scale=each, seed=seed, like=rule.like), std


def product(factors: Iterable[Tensor]) -> Tensor:
    """F_1 ... F_L (n_0, C)."""
    F, *others = factors
    for F_l in others:
        F = F @ F_l
    return F


def mirror(
    layers: Sequence[Layer], factors: Feedback, noise: Sequence[Tensor], *, lr: float, decay: float, std: float
) -> None:
    """One step of mirroring, in place; noise: xi (N, n_{l-1}) for every layer."""
    for layer, F_l, xi in zip(layers, factors, noise, strict=True):
        y = layer(xi)  # (N, n_l)
        y = y.softmax(1) if layer is layers[-1] else y
        F_l += lr * (xi.T @ y / len(xi) - decay * F_l)
    factor = (std / product(factors).std(correction=0)) ** (1 / len(factors))
    for F_l in factors:
        F_l *= factor


def draw_noise(factors: Feedback, samples: int) -> list[Tensor]:
    """xi (N, n_{l-1}) for every layer, from torch's global random stream."""
    drawn = [NOISE * torch.randn(samples, len(F_l), dtype=F_l.dtype, device=F_l.device) for F_l in factors]
    return [xi - xi.mean() for xi in drawn]
