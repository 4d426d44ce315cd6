"""A generation as one callable: all subtrees of a height that begin with the same primitive are one operation.

    V[a:b] = f(V[i], V[j], ...)        V (M, N): a row a subtree, of all programs together; i, j (b - a,) their children

Equal subtrees are one row, whoever has them."""

from __future__ import annotations

from functools import cached_property
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
        return self.together.answers(x[None]) if x.ndim == 2 else self.alone.answers(x)

    @cached_property
    def together(self) -> Table:
        """For inputs that all share."""
        return Table(self.forest, self.roots, None, self.dtype, self.device)

    @cached_property
    def alone(self) -> Table:
        """For inputs of each its own: equal subtrees of two programs are not one."""
        return Table(*apart(self.forest, self.roots), self.dtype, self.device)


class Table:
    """V, of what hangs below roots (P, C), each row asked about the samples of its owner (M,), if they are not all
    the same."""

    def __init__(
        self, forest: Forest, roots: Tensor, owners: Tensor | None, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        self.language, self.groups = forest.language, groups(forest, device)
        self.roots, self.value = roots.to(device), forest.value.to(device, dtype)
        self.owners = None if owners is None else owners.to(device)

    def answers(self, x: Tensor) -> Tensor:
        """x (O, N, I) -> (P, N, C), as many samples at a time as fit."""
        n = max(1, ROOM // (len(self.value) * x.element_size()))
        pieces = [self.compute(part)[self.roots] for part in x.split(n, 1)]  # (P, C, n) each
        return torch.cat(pieces, 2).transpose(1, 2)

    def compute(self, x: Tensor) -> Tensor:
        """x (O, n, I) -> V (M, n); a truth is 0 or 1."""
        V = x.new_zeros(len(self.value), x.shape[1])
        for symbol, a, b, children in self.groups:
            if symbol == CONSTANT:
                V[a:b] = self.value[a:b, None]
            elif symbol < self.language.first:
                column = x[0 if self.owners is None else self.owners[a:b], :, symbol - FIRST]
                V[a:b] = column > 0.5 if self.language.inputs[symbol - FIRST] == TRUTH else column
            else:
                one = self.language.primitives[symbol - self.language.first]
                arguments = [V.index_select(0, rows) for rows in children]
                V[a:b] = one.function(
                    *(v != 0 if kind == TRUTH else v for v, kind in zip(arguments, one.arguments, strict=True))
                )
        return V


def groups(forest: Forest, device: torch.device | str) -> list[Group]:
    """The rows of a sorted forest by height and symbol, without row 0."""
    kind = forest.height * len(forest.language.names) + forest.symbol
    ends = kind.unique_consecutive(return_counts=True)[1].cumsum(0)
    children, made = forest.children.T.contiguous().to(device), []
    for symbol, (a, b) in zip(forest.symbol[ends[:-1]].tolist(), pairwise(ends.tolist()), strict=True):
        arity = int(forest.language.arity[symbol])
        made.append(Group(symbol, a, b, list(children[:arity, a:b])))
    return made


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
