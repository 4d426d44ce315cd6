"""Random trees, n at a time, from the root down.

full    every branch is as long as the height, where the types allow it
grow    any symbol may stand anywhere, but for the root, which is a primitive: branches end where a leaf is drawn
ramped half-and-half    of each height from low to high equally many, half of them full (Koza 1992)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from altprop.searches.draws import normal, uniform, whole
from altprop.searches.gp.forest import Forest
from altprop.searches.gp.language import CONSTANT

Constants = Callable[[int, Generator], Tensor]
CONSTANTS: dict[str, Constants] = {  # ephemeral: drawn for each leaf that becomes a constant, (n,)
    "whole": lambda n, generator: whole(3, (n,), generator).double() - 1,  # -1, 0 or 1
    "uniform": lambda n, generator: 2 * uniform((n,), generator) - 1,  # in [-1, 1)
    "normal": lambda n, generator: normal((n,), torch.empty(0, dtype=torch.float64), generator),
}


def plant(
    forest: Forest, kind: Tensor, height: Tensor, full: Tensor, constants: Constants | None, generator: Generator
) -> tuple[Forest, Tensor]:
    """Trees of a type (n,), no higher than height (n,) where types allow it, full or grown (n,) of bool; and the rows
    of their roots (n,)."""
    language, levels = forest.language, []
    left, inner = height, height > 0
    while len(kind):
        symbol = language.draw(kind, left, inner, generator)
        value = torch.zeros(len(kind), dtype=torch.float64)
        drawn = symbol == CONSTANT
        if constants is not None and drawn.any():
            value[drawn] = constants(int(drawn.sum()), generator).to(value)
        parent, place = (language.wanted[symbol] >= 0).nonzero(as_tuple=True)  # one a node of the next level
        levels.append((symbol, value, parent, place))
        kind, left, full = language.wanted[symbol[parent], place], (left[parent] - 1).clamp(min=0), full[parent]
        inner = full & (left > 0)
    rows = torch.zeros(0, dtype=torch.int64)
    for symbol, value, parent, place in reversed(levels):
        children = torch.zeros(len(symbol), language.width, dtype=torch.int64)
        children[parent, place] = rows
        forest, rows = forest.add(symbol, value, children)
    return forest, rows


def ramped(
    forest: Forest, count: int, low: int, high: int, constants: Constants | None, generator: Generator
) -> tuple[Forest, Tensor]:
    """Half-and-half: every other tree is full, and heights go round, so that each has as many of both."""
    n = torch.arange(count)
    kind = torch.full((count,), forest.language.answer)
    return plant(forest, kind, low + n // 2 % (high - low + 1), n % 2 == 0, constants, generator)
