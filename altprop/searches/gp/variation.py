"""Children of trees, n at a time; none is higher than the limit, since a child that is gives way to its parent.

crossover   any node of the first below its root, and one of the same type of the second, change places
mutation    any node of the tree gives way to a new random tree of its type
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from altprop.searches.draws import uniform, whole
from altprop.searches.gp.forest import Forest
from altprop.searches.gp.growing import Constants, plant


def crossover(forest: Forest, a: Tensor, b: Tensor, limit: int, generator: Generator) -> tuple[Forest, Tensor, Tensor]:
    """Roots a, b (n,) of pairs -> those of their children, which are they themselves where nothing can be swapped."""
    language = forest.language
    drawn = uniform((2, len(a)), generator)
    both = torch.full_like(a, language.any)
    possible = (forest.counts[a, both] > 1) & (forest.counts[b, both] > 1)
    one = forest.find(a, below_root(forest, a, both, drawn[0]), both)
    kind = language.made[forest.symbol[one.end]]  # (n,)
    possible &= forest.counts[b, kind] > language.own[forest.symbol[b], kind]
    kind = torch.where(possible, kind, both)
    other = forest.find(b, below_root(forest, b, kind, drawn[1]), kind)
    forest, first = forest.put(one, other.end)
    forest, second = forest.put(other, one.end)
    return forest, kept(forest, first, a, possible, limit), kept(forest, second, b, possible, limit)


def below_root(forest: Forest, roots: Tensor, kind: Tensor, drawn: Tensor) -> Tensor:
    """drawn (n,) in [0, 1) -> ranks of nodes of these types below the roots, all alike; 0 where there is none."""
    root = forest.language.own[forest.symbol[roots], kind]
    number = forest.counts[roots, kind] - root
    return torch.where(number > 0, root + (drawn * number).long(), 0)


def mutation(
    forest: Forest, roots: Tensor, heights: tuple[int, int], limit: int, constants: Constants | None,
    generator: Generator,
) -> tuple[Forest, Tensor]:  # fmt: skip
    """Roots (n,) -> those of their children; the new trees are full, of a height drawn from low to high."""
    low, high = heights
    kind = torch.full_like(roots, forest.language.any)
    rank = (uniform((len(roots),), generator) * forest.counts[roots, kind]).long()
    path = forest.find(roots, rank, kind)
    height = low + whole(high - low + 1, (len(roots),), generator)
    made = forest.language.made[forest.symbol[path.end]]
    forest, new = plant(forest, made, height, torch.ones_like(height, dtype=torch.bool), constants, generator)
    forest, child = forest.put(path, new)
    return forest, kept(forest, child, roots, torch.ones_like(child, dtype=torch.bool), limit)


def kept(forest: Forest, child: Tensor, parent: Tensor, possible: Tensor, limit: int) -> Tensor:
    """The children, and their parents in place of those that cannot be or are too high."""
    return torch.where(possible & (forest.height[child] <= limit), child, parent)
