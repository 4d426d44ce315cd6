"""What a node makes of the sum of its inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def steep_sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + exp(-4.9 z)), the paper's: nearly linear between -.5 and .5."""
    return (z * 4.9).sigmoid()


def clipped_sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + exp(-5 z)), neat-python's, with 5 z in [-60, 60]."""
    return (z * 5).clamp(-60, 60).sigmoid()


def bipolar_sigmoid(z: Tensor) -> Tensor:
    """2 / (1 + exp(-4.9 z)) - 1, in [-1, 1]."""
    return (z * 2.45).tanh()


def gaussian(z: Tensor) -> Tensor:
    """exp(-z^2)."""
    return z.square().neg().exp()


def linear(z: Tensor) -> Tensor:
    """z."""
    return z


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "steep_sigmoid": steep_sigmoid,
    "clipped_sigmoid": clipped_sigmoid,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "bipolar_sigmoid": bipolar_sigmoid,
    "gaussian": gaussian,
    "sine": torch.sin,
    "abs": torch.abs,
    "linear": linear,
}
