"""The heads that stand beside a hidden layer: ordinary layers, whose parameters the rule holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer, Refused, Trace, learn, pull

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}  # by the axes of positions
POOLS: dict[int, Any] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
KERNEL = 3  # of the convolution before a map's similarities


def check_axes(shapes: Sequence[torch.Size]) -> None:
    """Raises ``Refused`` for activity of more than three axes of positions."""
    for shape in shapes:
        if len(shape) - 1 not in (0, *CONVOLUTIONS):
            what = f"activity of shape {tuple(shape)} a sample came"
            raise Refused(f"{what}: local losses take up to three axes of positions; flatten it, or use 'mono'")


def patch(shape: torch.Size, features: int) -> int:
    """The side of the patches over which a map of that shape (channels, *positions) is averaged, so that at most
    ``features`` numbers are left, or one a channel: 1, 2, 4, ..."""
    side = 1
    while _pooled(shape, side) > features and side < max(shape[1:], default=1):
        side *= 2
    return side


def decoder(shape: torch.Size, outputs: int, features: int, like: Tensor) -> Layer:
    """z = pool(h) A^T + b (N, outputs) of activity h (N, *shape); A and b start at zero."""
    side = patch(shape, features)
    pool = [POOLS[len(shape) - 1](side, ceil_mode=True)] if side > 1 else []
    linear = nn.Linear(_pooled(shape, side), outputs, device="meta")
    linear.weight = nn.Parameter(like.new_zeros(linear.weight.shape))
    linear.bias = nn.Parameter(like.new_zeros(outputs))
    return Layer(nn.Sequential(*pool, nn.Flatten()), linear, nn.Sequential(), "decoder")


def transform(shape: torch.Size) -> Layer:
    """s (N, *shape) of activity h (N, *shape): a Linear, of a map a convolution; its weight is to come."""
    if len(shape) == 1:
        module: Any = nn.Linear(shape[0], shape[0], bias=False, device="meta")
    else:
        module = CONVOLUTIONS[len(shape) - 1](
            shape[0], shape[0], KERNEL, padding=KERNEL // 2, bias=False, device="meta"
        )
    return Layer(nn.Sequential(), module, nn.Sequential(), "transform")


def down(trace: Trace, signal: Tensor, B: Tensor | None = None) -> Tensor:
    """The signal at the head's input, through its own weight or B; the head learns."""
    learn(trace, signal)
    return pull(trace, signal, weight=B)


def _pooled(shape: torch.Size, side: int) -> int:
    return shape[0] * torch.Size(-(-positions // side) for positions in shape[1:]).numel()
