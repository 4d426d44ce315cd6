"""What a search leaves: its champion as an ordinary module, and its genome as text where it is written so."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Answer(nn.Module):
    """A vector (n,) as a module that answers it to every sample: x (N, ...) -> (N, n)."""

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        number = vector if vector.is_floating_point() else vector.to(torch.get_default_dtype())
        self.vector = nn.Parameter(number.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.vector.expand(len(x), -1)


def net_of(individual: Any) -> nn.Module:
    """The individual as a module: itself, a vector that answers itself, or the net that a genome says it is."""
    if isinstance(individual, nn.Module):
        return individual
    return Answer(individual) if isinstance(individual, Tensor) else individual.net().eval()


def text_of(individual: Any) -> str | None:
    """A genome as JSON; None where parameters say it all."""
    write = getattr(individual, "to_json", None)
    return None if write is None else write()
