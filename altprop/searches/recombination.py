"""A child of two parents, for M pairs at a time: a, b (M, n) -> (M, n).

one_point     a up to a place drawn for each pair, b from there on, so that either gives something
uniform       each entry of a or of b, by a fair coin
arithmetic    alpha a + (1 - alpha) b, alpha drawn in [0, 1) for each pair
midpoint      (a + b) / 2
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from altprop.searches.draws import chance, uniform, whole


def one_point(a: Tensor, b: Tensor, generator: Generator) -> Tensor:
    """What stood together stays together."""
    pairs, n = a.shape
    cuts = 1 + whole(max(n - 1, 1), (pairs, 1), generator)  # in 1 ... n - 1
    return torch.where((torch.arange(n) < cuts).to(a.device), a, b)


def uniform_crossover(a: Tensor, b: Tensor, generator: Generator) -> Tensor:
    """Every entry is drawn by itself."""
    return torch.where(chance(0.5, tuple(a.shape), a, generator), a, b)


def arithmetic(a: Tensor, b: Tensor, generator: Generator) -> Tensor:
    """A place on the line between the parents."""
    alpha = uniform((len(a), 1), generator).to(a)
    return alpha * a + (1 - alpha) * b


def midpoint(a: Tensor, b: Tensor, generator: Generator) -> Tensor:
    """Nothing is drawn."""
    return (a + b) / 2


RECOMBINATIONS: dict[str, Callable[[Tensor, Tensor, Generator], Tensor]] = {
    "one_point": one_point,
    "uniform": uniform_crossover,
    "arithmetic": arithmetic,
}
