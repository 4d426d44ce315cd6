"""Who has won: a candidate of a search as an ordinary module, as text where it is written so, and as tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TEXT, VECTOR = "champion.text", "champion.vector"


class Answer(nn.Module):
    """A vector (n,) as a module that answers it to every sample: x (N, ...) -> (N, n)."""

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        number = vector if vector.is_floating_point() else vector.to(torch.get_default_dtype())
        self.vector = nn.Parameter(number.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.vector.expand(len(x), -1)


class Alone:
    """One net as a population of one.  dimensions: of one input, (*in)."""

    def __init__(self, net: nn.Module, dimensions: int) -> None:
        self.net, self.dimensions = net.eval(), dimensions
        first = next(net.parameters(), None)
        self.dtype = torch.get_default_dtype() if first is None else first.dtype

    def __len__(self) -> int:
        return 1

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """x (N, *in) or (1, N, *in) -> (1, N, C)."""
        x = x[0] if x.dim() > self.dimensions + 1 else x
        return self.net(x.to(self.dtype) if x.is_floating_point() else x)[None]

    def reset(self) -> None:
        """Forget what it remembers."""
        forget = getattr(self.net, "reset", None)
        if forget is not None:
            forget()


def net_of(individual: Any) -> nn.Module:
    """The individual as a module: itself, a vector that answers itself, or the net that a genome says it is."""
    if isinstance(individual, nn.Module):
        return individual
    return Answer(individual) if isinstance(individual, Tensor) else individual.net().eval()


def text_of(candidate: Any) -> str | None:
    """A genome as JSON; None where a vector says it all."""
    return None if isinstance(candidate, Tensor) else candidate.to_json()


def packed(candidate: Any) -> dict[str, Tensor]:
    """It as tensors, for a checkpoint; nothing where there is none yet."""
    if candidate is None:
        return {}
    if isinstance(candidate, Tensor):
        return {VECTOR: candidate}
    return {TEXT: torch.tensor(list(candidate.to_json().encode()), dtype=torch.uint8)}


def unpacked(search: Any, state: dict[str, Tensor]) -> Any:
    """Back from ``packed``, whose tensors are taken out of ``state``."""
    vector, text = state.pop(VECTOR, None), state.pop(TEXT, None)
    return vector if text is None else search.read(bytes(text.tolist()).decode())
