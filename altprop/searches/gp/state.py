"""Trees as a state of tensors, and text byte by byte."""

from __future__ import annotations

import torch
from torch import Tensor

from altprop.searches.gp.forest import Forest
from altprop.searches.gp.language import Language

COLUMNS = ("symbol", "value", "children", "height", "counts")
TREES = {*COLUMNS, "roots"}


def pack(forest: Forest, roots: Tensor, prefix: str = "") -> dict[str, Tensor]:
    """The tables of a forest and its roots, by their names behind a prefix."""
    columns = dict(zip(COLUMNS, forest.columns(), strict=True))
    return {prefix + name: column for name, column in {**columns, "roots": roots}.items()}


def unpack(state: dict[str, Tensor], language: Language, prefix: str = "") -> tuple[Forest, Tensor]:
    """Back from ``pack``, copied."""
    *columns, roots = (state[prefix + name].to("cpu", copy=True) for name in (*COLUMNS, "roots"))
    return Forest(language, *columns), roots


def as_bytes(text: str) -> Tensor:
    """(n,) of uint8."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8)
