"""Genetic programming: individuals are expressions, as trees of typed primitives, inputs and constants. The fitter are
parents; children swap subtrees of one type, or get a new one.

    first     ramped half-and-half: of each height from 1 to 2 as many, full and grown by turns
    parents   P tournaments of k
    crossover with probability p_c, of parents 1 and 2, 3 and 4, ...: a subtree of each, of one type, changes places
    mutation  with probability p_m, of each of these: a subtree gives way to a new one, full, of height 0 to 2
    limit     a child higher than 17 gives way to its parent
    constants ephemeral: drawn once, when a leaf is made

All subtrees of a generation stand in one table, equal ones once; those of one height and one primitive are computed by
one operation.

References: Koza, Genetic Programming, MIT Press 1992; Montana, Strongly typed genetic programming, Evolutionary
    Computation 3, 1995. Heights, tournaments and mutation are those of DEAP's example of symbolic regression, the size
    is Koza's. Within his 51 generations of 500 the quartic x^4 + x^3 + x^2 + x must be found by 4 of 5 seeds; 50 of 50
    did. His settings, heights=(2, 6), p_c=.9, p_m=0, elite=0, find it in 4 of 10 within 40.
Deviations from the papers:
    1. The places of crossover are drawn alike; Koza takes an inner node in nine of ten.
    2. A type that the second parent does not have below its root is no crossover; no other place is looked for.
    3. The first generation may hold a program twice.
    4. elite = 1: the best lives on as it is; Koza and DEAP keep it apart.
    5. A program of C outputs is C trees, and a crossover or a mutation moves one of them, drawn alike.
Easily confused with: ``ga``, whose vectors have one length; ``neat``, whose graphs are nets with weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor

from altprop.core import Refused, Search, SearchClaims
from altprop.limits import nearest, shown
from altprop.searches.draws import chance, generator_of, whole
from altprop.searches.family import NOBODY, failures, fitness_told, probable
from altprop.searches.gp.forest import Forest
from altprop.searches.gp.growing import CONSTANTS, Constants, ramped
from altprop.searches.gp.language import Language
from altprop.searches.gp.population import Programs
from altprop.searches.gp.primitives import NUMBER, USUAL, Primitive
from altprop.searches.gp.program import Program
from altprop.searches.gp.state import TREES, as_bytes, pack, unpack
from altprop.searches.gp.variation import crossover, mutation
from altprop.searches.ground import Ground
from altprop.searches.selection import elite, tournament

HIGHEST = 60  # of a limit: Python reads no more brackets in brackets than a hundred or so


class GP(Search[Program]):
    """Genetic programming (Koza 1992).

    inputs: how many numbers, or a type for each; outputs: C, of the type output.  size: P.  primitives: names or
    ``Primitive``; constants: "whole", "uniform", "normal", a function (n, generator) -> (n,), or None for none.
    heights: of the first trees, new_heights: of a mutation's.  A fitness that is NaN or infinite is the worst of its
    generation, is counted in ``failed``, and ends nothing.  Raises ``Refused`` for what no search can be made of."""

    reference: ClassVar[str] = "koza1992"
    claims = SearchClaims("tree")

    def __init__(
        self, inputs: int | Sequence[str] = 1, outputs: int = 1, *, size: int = 500,
        primitives: Sequence[str | Primitive] = USUAL, constants: str | Constants | None = "whole",
        output: str = NUMBER, p_c: float = 0.8, p_m: float = 0.1, k: int = 3, elite: int = 1,
        heights: tuple[int, int] = (1, 2), new_heights: tuple[int, int] = (0, 2), limit: int = 17, seed: int = 0,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        kinds = (NUMBER,) * inputs if isinstance(inputs, int) else tuple(inputs)
        if min(len(kinds), outputs, size - 1, k) < 1 or not 0 <= elite < size:
            what = f"{len(kinds)} inputs, {outputs} outputs, size={size}, k={k} and elite={elite} came"
            raise Refused(f"{what}: give 1 or more of each, a size of 2 or more, and an elite smaller than it")
        probable(p_c=p_c, p_m=p_m)
        if not (0 <= heights[0] <= heights[1] <= limit <= HIGHEST and 0 <= new_heights[0] <= new_heights[1]):
            what = f"heights={heights}, new_heights={new_heights}, limit={limit} came"
            raise Refused(f"{what}: give the lower first, heights up to the limit, and a limit up to {HIGHEST}")
        self.constants = named(constants)
        self.language = Language(kinds, tuple(primitives), output, self.constants is not None)
        self.size, self.p_c, self.p_m, self.k, self.elite = size, p_c, p_m, k, elite
        self.new_heights, self.limit, self.dtype, self.device = new_heights, limit, dtype, device
        self.generator = generator_of(seed)
        self.generation = self.evaluations = self.failed = 0
        self.reached, self.asked = -inf, False
        self.champion: Program | None = None
        trees = ramped(Forest.empty(self.language), size * outputs, *heights, self.constants, self.generator)
        self.forest, self.roots = trees[0].gather(trees[1].view(outputs, size).T)  # (P, C)

    def ask(self) -> Programs:
        """The programs whose fitness is wanted next; the same ones until ``tell`` is called."""
        self.asked = True
        return Programs(self.forest, self.roots, self.dtype, self.device)

    @torch.no_grad()
    def tell(self, fitness: Tensor | Sequence[float]) -> None:
        """fitness (P,) of those that were asked for, in their order; larger is better, nan for one that failed.

        Raises ``Refused`` for another number of them, and before ``ask``."""
        if not self.asked:
            raise Refused(NOBODY)
        told = fitness_told(fitness, self.size)
        heights = torch.where(told.isfinite(), told, -inf)
        self.failed += failures(told, self.failed, self.generation + 1)
        best = int(heights.argmax())
        if heights[best] > self.reached:
            self.reached, self.champion = float(heights[best]), Program(self.forest, self.roots[best])
        self.generation, self.evaluations = self.generation + 1, self.evaluations + self.size
        self.forest, self.roots = self.children(heights)
        self.asked = False

    def children(self, heights: Tensor) -> tuple[Forest, Tensor]:
        """The next generation of parents of these heights (P,)."""
        forest, roots = self.forest, self.roots[tournament(heights, self.size, self.generator, self.k)]
        pairs, C = self.size // 2, roots.shape[1]
        a = 2 * chance(self.p_c, (pairs,), heights, self.generator).nonzero()[:, 0]
        tree = whole(C, (len(a),), self.generator)
        forest, roots[a, tree], roots[a + 1, tree] = crossover(
            forest, roots[a, tree], roots[a + 1, tree], self.limit, self.generator
        )
        a = chance(self.p_m, (self.size,), heights, self.generator).nonzero()[:, 0]
        tree = whole(C, (len(a),), self.generator)
        forest, roots[a, tree] = mutation(
            forest, roots[a, tree], self.new_heights, self.limit, self.constants, self.generator
        )
        roots[: self.elite] = self.roots[elite(heights, self.elite)]
        return forest.gather(roots)

    def programs(self) -> list[Program]:
        """All of this generation, each by itself."""
        return [Program(self.forest, row) for row in self.roots]

    def best(self) -> Program:
        """The fittest program so far.  Raises ``Refused`` before any fitness was told."""
        if self.champion is None:
            raise Refused("best() came before any fitness: tell one generation first")
        return self.champion

    def candidate(self, row: int) -> Program:
        """One of those that were asked for last and not told of yet."""
        return Program(self.forest, self.roots[row])

    def individual(self, candidate: Program) -> Program:
        """It as the user gets it."""
        return candidate

    def read(self, text: str) -> Program:
        """A program in the language of this search, from what ``str``, ``to_python`` or ``to_json`` wrote."""
        return Program.read(json.loads(text)["code"] if text.startswith("{") else text, self.language)

    @classmethod
    def on(cls, ground: Ground, **arguments: Any) -> GP:
        """One for a task, of its inputs and outputs."""
        return cls(ground.inputs, ground.outputs, seed=ground.seed, **arguments)

    def watch(self) -> dict[str, float]:
        """Of this generation: its number, nodes and height of a program, the share of subtrees that are computed; so
        far: best, failed."""
        nodes = float(self.forest.counts[self.roots, -1].sum())
        height = float(self.forest.height[self.roots].amax(1).double().mean())
        shape = {"nodes": nodes / self.size, "height": height, "computed": (len(self.forest) - 1) / nodes}
        return {**shape, "best": self.reached, "generation": self.generation, "failed": self.failed}

    def state_dict(self) -> dict[str, Any]:
        """All that the next ``ask`` depends on, and who was the best; tensors, none of which changes later."""
        best = {} if self.champion is None else pack(self.champion.forest, self.champion.roots, "best.")
        tally = torch.tensor([self.generation, self.evaluations, self.failed, self.asked])
        reached = torch.tensor(self.reached, dtype=torch.float64)
        counts = {"tally": tally, "reached": reached, "random": self.generator.get_state()}
        return {**pack(self.forest, self.roots), **best, **counts, "language": as_bytes(self.language.told())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, to the bit.  Raises ``Refused`` for the state of another search or another language."""
        always, best = {*TREES, "tally", "reached", "random", "language"}, {f"best.{name}" for name in TREES}
        if set(state) not in (always, always | best):
            raise Refused("the state of another search came: give one of GP")
        same = torch.equal(state["language"].cpu(), as_bytes(self.language.told()))
        if not same or state["roots"].shape != self.roots.shape:
            what = f"a state of {len(state['roots'])} programs in other symbols, or of another size, came"
            raise Refused(f"{what}: begin with the same inputs, outputs, primitives and size")
        self.forest, self.roots = unpack(state, self.language)
        self.champion = Program(*unpack(state, self.language, "best.")) if best & set(state) else None
        self.generation, self.evaluations, self.failed, asked = state["tally"].tolist()
        self.reached, self.asked = float(state["reached"]), bool(asked)
        self.generator.set_state(state["random"].cpu())


def named(constants: str | Constants | None) -> Constants | None:
    """Of this name, or as they are."""
    if not isinstance(constants, str):
        return constants
    if constants not in CONSTANTS:
        raise Refused(f"constants={shown(constants)} came{nearest(constants, CONSTANTS)}")
    return CONSTANTS[constants]
