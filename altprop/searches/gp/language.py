"""What programs are written in: symbols with types, and which of them may stand where.

symbol 0            nothing, where a node has fewer children than others
symbol 1            a constant, whose value its node bears
symbols 2 ... I+1   the inputs x0, x1, ...
the rest            the primitives
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from altprop.limits import Refused, shown
from altprop.searches.draws import uniform
from altprop.searches.gp.primitives import NUMBER, Primitive, chosen

NOTHING, CONSTANT, FIRST = 0, 1, 2  # symbols; the last is that of the first input


class Language:
    """inputs: a type for each; primitives: names or ``Primitive``; constants: whether random trees have some.

    Raises ``Refused`` where a primitive wants a type, or an output has one, of which nothing can be made."""

    def __init__(
        self, inputs: tuple[str, ...], primitives: tuple[str | Primitive, ...], output: str = NUMBER,
        constants: bool = True,
    ) -> None:  # fmt: skip
        self.inputs, self.primitives, self.output = inputs, chosen(primitives), output
        self.first = FIRST + len(inputs)  # symbol of the first primitive
        self.names = ["", "", *(f"x{i}" for i in range(len(inputs))), *(one.name for one in self.primitives)]
        given = [(), (), *((),) * len(inputs), *(one.arguments for one in self.primitives)]
        made = ["", NUMBER, *inputs, *(one.result for one in self.primitives)]
        self.types = list(dict.fromkeys([NUMBER, output, *made[FIRST:], *(kind for kinds in given for kind in kinds)]))
        number = {"": -1, **{kind: i for i, kind in enumerate(self.types)}}
        S, T, self.width = len(made), len(self.types), max([1, *map(len, given)])  # symbols, types, most arguments
        self.any, self.answer = T, number[output]  # stands for whatever type; the type of a root
        self.arity = torch.tensor([len(kinds) for kinds in given])
        self.made = torch.tensor([number[kind] for kind in made])  # (S,), the type of a symbol's value
        self.wanted = torch.full((S, self.width), -1)  # the types of its arguments
        for symbol, kinds in enumerate(given):
            self.wanted[symbol, : len(kinds)] = torch.tensor([number[kind] for kind in kinds])
        self.own = torch.zeros(S, T + 1, dtype=torch.int64)  # 1 for the type of a symbol, and for any
        self.own[range(1, S), self.made[1:]] = 1
        self.own[1:, T] = 1
        self._choose([symbol for symbol in range(1, S) if symbol != CONSTANT or constants])

    def _choose(self, usable: list[int]) -> None:
        """How low a tree of each type can be, and the symbols for each height that is left."""
        least: dict[int, float] = dict.fromkeys(range(len(self.types)), inf)
        made, wanted = self.made.tolist(), [[kind for kind in row if kind >= 0] for row in self.wanted.tolist()]
        needs: dict[int, float] = {}
        for _ in range(len(self.types) + 1):
            needs = {s: 1 + max(least[kind] for kind in wanted[s]) if wanted[s] else 0 for s in usable}
            least = {kind: min([inf, *(needs[s] for s in usable if made[s] == kind)]) for kind in least}
        wants = {self.answer, *(kind for symbol in usable for kind in wanted[symbol])}
        for kind in sorted(wants):
            if least[kind] == inf:
                of = f"the type {shown(self.types[kind])} is wanted, and nothing can make it"
                raise Refused(f"{of}: give an input or primitives that do, or take out what wants it")
        self.highest = int(max(needs.values()))  # with this height left every symbol may stand
        table = {
            (kind, left, inner): self._symbols(usable, kind, max(left, least[kind]), needs, bool(inner))
            for kind in least for left in range(self.highest + 1) for inner in range(2)
        }  # fmt: skip
        shape = len(least), self.highest + 1, 2
        most = max(map(len, table.values()))
        self.counts = torch.tensor([len(found) for found in table.values()]).view(shape)
        self.choices = torch.tensor([found + [0] * (most - len(found)) for found in table.values()]).view(*shape, most)

    def _symbols(self, usable: list[int], kind: int, left: float, needs: dict[int, float], inner: bool) -> list[int]:
        fit = [s for s in usable if int(self.made[s]) == kind and needs[s] <= left]
        return [s for s in fit if inner and s >= self.first] or fit

    def draw(self, kind: Tensor, left: Tensor, inner: Tensor, generator: torch.Generator) -> Tensor:
        """A symbol for each place (n,): of its type, no higher than is left where that can be, and where ``inner`` a
        primitive if there is one; all that may stand there alike."""
        place = kind, left.clamp(max=self.highest), inner.long()
        at = (uniform((len(kind),), generator) * self.counts[place]).long()
        return self.choices[place].gather(1, at[:, None])[:, 0]

    def told(self) -> str:
        """All that the symbols of two searches must share, as text."""
        kinds = [(one.name, one.arguments, one.result) for one in self.primitives]
        return repr((self.inputs, self.output, kinds))
