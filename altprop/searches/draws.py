"""Random numbers of a search: drawn on the CPU by its own generator, so that they are the same on every device."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

STREAM = int.from_bytes(b"seek", "big")  # parts seed k from torch.manual_seed(k), which may have drawn the start


def generator_of(seed: int) -> Generator:
    """A generator that no other seed and nothing else shares."""
    return torch.Generator().manual_seed((seed + STREAM) % 2**63)


def normal(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    """Standard normal numbers, in the dtype and on the device of ``like``."""
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Numbers in [0, 1), in float64 on the CPU."""
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def whole(high: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Whole numbers in [0, high)."""
    return torch.randint(high, shape, generator=generator)


def chance(p: float | Tensor, shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    """True with probability p, on the device of ``like``."""
    return (uniform(shape, generator) < p).to(like.device)
