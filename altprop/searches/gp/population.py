"""A generation as one callable: all subtrees of a height that begin with the same primitive are one operation.

    V[a:b] = f(V[i], V[j], ...)        V (M, N): a row a subtree, of all programs together; i, j (b - a,) their children

Equal subtrees are one row, whoever has them."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from altprop.limits import Refused
from altprop.searches.gp.forest import Forest
from altprop.searches.gp.language import CONSTANT, FIRST
from altprop.searches.gp.primitives import TRUTH

ROOM = 2**25  # bytes of V at a time: more samples go in pieces


class Group(NamedTuple):
    """Rows [a, b) of V, which begin with one symbol."""

    symbol: int
    a: int
    b: int
    children: list[Tensor]  # (b - a,) each


class Programs:
    """P programs of C trees each, roots (P, C): x (N, I) for all, or (P, N, I) for each its own -> (P, N, C).

    Raises ``Refused`` for another shape of x."""

    def __init__(
        self, forest: Forest, roots: Tensor, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        self.forest, self.roots, self.dtype, self.device = forest, roots, dtype, device
        self.inputs = len(forest.language.inputs)

    def __len__(self) -> int:
        return len(self.roots)

    def reset(self) -> None:
        """Programs have no states."""

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        P, I = len(self), self.inputs  # noqa: E741
        if x.ndim not in (2, 3) or x.shape[-1] != I or (x.ndim == 3 and len(x) != P):
            raise Refused(f"x of shape {tuple(x.shape)} came to {P} programs: give (N, {I}), or ({P}, N, {I})")
        x = x.to(self.device, self.dtype)
        if x.ndim == 2:
            return Table(self.forest, self.roots, torch.zeros(0, dtype=torch.int64), x[None]).answers()
        return Table(*apart(self.forest, self.roots), x).answers()


class Table:
    """V, of what hangs below roots (P, C), for x (O, N, I) of owners (M,); owners may be left out where O is 1."""

    def __init__(self, forest: Forest, roots: Tensor, owners: Tensor, x: Tensor) -> None:
        self.language, self.groups = forest.language, groups(forest, x.device)
        self.roots, self.owners, self.x = roots.to(x.device), owners.to(x.device), x
        self.value, self.rows = forest.value.to(x), len(forest)

    def answers(self) -> Tensor:
        """(P, N, C), as many samples at a time as fit."""
        n = max(1, ROOM // (self.rows * self.x.element_size()))
        pieces = [self.compute(part)[self.roots] for part in self.x.split(n, 1)] or [
            self.x.new_empty(*self.roots.shape, 0)
        ]
        return torch.cat(pieces, 2).transpose(1, 2)

    def compute(self, x: Tensor) -> Tensor:
        """x (O, n, I) -> V (M, n); a truth is 0 or 1."""
        V = x.new_zeros(self.rows, x.shape[1])
        for symbol, a, b, children in self.groups:
            if symbol == CONSTANT:
                V[a:b] = self.value[a:b, None]
            elif symbol < self.language.first:
                column = x[self.owners[a:b] if len(self.owners) else 0, :, symbol - FIRST]
                V[a:b] = column > 0.5 if self.language.inputs[symbol - FIRST] == TRUTH else column
            else:
                one = self.language.primitives[symbol - self.language.first]
                arguments = [V.index_select(0, rows) for rows in children]
                V[a:b] = one.function(
                    *(v != 0 if kind == TRUTH else v for v, kind in zip(arguments, one.arguments, strict=True))
                )
        return V


def groups(forest: Forest, device: torch.device) -> list[Group]:
    """The rows of a sorted forest by height and symbol, without row 0."""
    kind = forest.height * len(forest.language.names) + forest.symbol
    counts = kind.unique_consecutive(return_counts=True)[1]
    ends = counts.cumsum(0).tolist()
    children = forest.children.T.contiguous().to(device)
    return [
        Group(symbol, a, b, [children[j, a:b] for j in range(arity)])
        for a, b in pairwise(ends)
        for symbol in [int(forest.symbol[a])]
        for arity in [int(forest.language.arity[symbol])]
    ]


def apart(forest: Forest, roots: Tensor) -> tuple[Forest, Tensor, Tensor]:
    """The same trees with no node of two programs, sorted by height and symbol; the roots, and whose each row is."""
    M = len(forest)
    keys = (torch.arange(len(roots))[:, None] * M + roots).flatten()  # owner * M + row
    wanted, levels = keys, []
    for height in range(int(forest.height.max()), -1, -1):
        now = forest.height[wanted % M] == height
        here = wanted[now].unique()
        here = here[forest.symbol[here % M].argsort(stable=True)]
        levels.append(here)
        below = forest.children[here % M]  # (h, A)
        wanted = torch.cat([wanted[~now], ((here - here % M)[:, None] + below)[below > 0]])
    found = torch.cat([torch.zeros(1, dtype=torch.int64), *reversed(levels)])
    order = found[1:].argsort() + 1
    row, owner = found % M, found // M
    children = (found - row)[:, None] + forest.children[row]
    place = order[torch.searchsorted(found[order], children).clamp(max=len(order) - 1)]
    place = torch.where(forest.children[row] > 0, place, 0)
    columns = (forest.symbol[row], forest.value[row], place, forest.height[row], forest.counts[row])
    return Forest(forest.language, *columns), order[torch.searchsorted(found[order], keys)].view_as(roots), owner
