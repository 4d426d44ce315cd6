"""Many trees in one table: a row a node, which names its children by their rows, all of which stand above it.

A subtree that occurs in many trees stands there once, so that it is computed once, and a child of two trees costs only
the nodes between the place of the change and its root."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from altprop.searches.gp.language import NOTHING, Language


@dataclass(frozen=True)
class Forest:
    """M nodes; row 0 is nothing, of height -1, and stands for children that are not there."""

    language: Language
    symbol: Tensor  # (M,)
    value: Tensor  # (M,), float64, of constants; 0 elsewhere
    children: Tensor  # (M, A), rows
    height: Tensor  # (M,), 0 for a leaf
    counts: Tensor  # (M, T + 1), nodes of each type in the tree below, and of any; itself included

    @classmethod
    def empty(cls, language: Language) -> Forest:
        """Nothing but nothing."""
        zero = torch.zeros(1, dtype=torch.int64)
        nobody = torch.zeros(1, language.width, dtype=torch.int64)
        return cls(language, zero, zero.double(), nobody, zero - 1, language.own[[NOTHING]])

    def __len__(self) -> int:
        return len(self.symbol)

    def add(self, symbol: Tensor, value: Tensor, children: Tensor) -> tuple[Forest, Tensor]:
        """With n more nodes, and their rows (n,)."""
        height = 1 + self.height[children].amax(1)
        counts = self.language.own[symbol] + self.counts[children].sum(1)
        pairs = zip(self.columns(), (symbol, value, children, height, counts), strict=True)
        more = Forest(self.language, *(torch.cat(pair) for pair in pairs))
        return more, torch.arange(len(self), len(more))

    def columns(self) -> tuple[Tensor, ...]:
        """The tables, in their order."""
        return self.symbol, self.value, self.children, self.height, self.counts

    def find(self, roots: Tensor, rank: Tensor, kind: Tensor) -> Path:
        """In each of n trees the node of that rank (n,), counted from 0 in the order in which one reads, root first,
        among those of the type ``kind`` (n,)."""
        at, left = roots, rank
        steps: list[tuple[Tensor, Tensor, Tensor]] = []
        while True:
            own = self.language.own[self.symbol[at], kind]
            below = left >= own  # where it is not this node itself
            if not below.any():
                return Path(at, steps)
            child = self.children[at]  # (n, A)
            ends = self.counts[child, kind[:, None]].cumsum(1)
            turn = (ends <= (left - own)[:, None]).sum(1).clamp(max=child.shape[1] - 1)
            steps.append((at, turn, below))
            each = torch.arange(len(at))
            before = torch.where(turn > 0, ends[each, turn - 1], 0)
            left = torch.where(below, left - own - before, left)
            at = torch.where(below, child[each, turn], at)

    def put(self, path: Path, new: Tensor) -> tuple[Forest, Tensor]:
        """The trees with other nodes, new (n,), where the paths end; their roots (n,)."""
        forest, at = self, new
        for node, turn, below in reversed(path.steps):
            rows = below.nonzero()[:, 0]
            children = self.children[node[rows]]
            children[torch.arange(len(rows)), turn[rows]] = at[rows]
            forest, made = forest.add(self.symbol[node[rows]], self.value[node[rows]], children)
            at = at.clone()
            at[rows] = made
        return forest, at

    def gather(self, roots: Tensor) -> tuple[Forest, Tensor]:
        """Only what hangs below these roots, any shape, equal subtrees once, sorted by height and symbol; the roots."""
        needed, levels = torch.zeros(len(self), dtype=torch.bool), []
        needed[roots.flatten()] = True
        for height in range(int(self.height.max()), -1, -1):
            rows = (needed & (self.height == height)).nonzero()[:, 0]
            needed[self.children[rows].flatten()] = True
            levels += [rows] if len(rows) else []
        forest, place = Forest.empty(self.language), torch.zeros(len(self), dtype=torch.int64)
        for rows in reversed(levels):
            columns = [self.value[rows].view(torch.int64).unique(return_inverse=True)[1], *place[self.children[rows]].T]
            kinds, which = alike([self.symbol[rows], *columns], len(self))
            first = rows.new_empty(kinds).scatter_(0, which, rows)  # any of those that are alike
            forest, made = forest.add(self.symbol[first], self.value[first], place[self.children[first]])
            place[rows] = made[which]
        return forest, place[roots]


@dataclass(frozen=True)
class Path:
    """n ways from a root to a node."""

    end: Tensor  # (n,), the nodes
    steps: list[tuple[Tensor, Tensor, Tensor]]  # from the root: node, which child is next, whether the way goes on (n,)


def alike(columns: list[Tensor], span: int) -> tuple[int, Tensor]:
    """Rows of whole numbers, columns (n,) each, below ``span`` but for the first: how many there are that differ, and
    which of these each row is (n,), in order of the columns."""
    key, most = columns[0], int(columns[0].max()) + 1
    for column in columns[1:]:
        if most > 2**62 // span:
            found, key = key.unique(return_inverse=True)
            most = len(found)
        key, most = key * span + column, most * span
    found, which = key.unique(return_inverse=True)
    return len(found), which
