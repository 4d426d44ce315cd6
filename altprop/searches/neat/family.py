"""What all searches share whose genomes are graphs that grow: who is kept, who breeds, and how it is resumed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from altprop.core import Population, Refused, Search, SearchClaims
from altprop.searches.family import failures, fitness_told
from altprop.searches.neat.genes import Frame, Genes, Genome
from altprop.searches.neat.history import History
from altprop.searches.neat.mutation import mutate_weights
from altprop.searches.neat.plan import find
from altprop.searches.neat.reproduction import reproduce
from altprop.searches.neat.settings import Settings
from altprop.searches.neat.sharing import judge
from altprop.searches.neat.species import speciate
from altprop.searches.neat.state import check, pack, unpack
from altprop.searches.neat.structure import minimal, mutate_structure


class GraphSearch(Search[Any]):
    """The family.  frame: of all genomes; size: P; ``given``: whatever else a resumed search must have been given.

    ``generation``, ``evaluations``, ``failed`` and ``reached``, the best fitness so far, as of every search.  A fitness
    that is NaN or infinite counts as the lowest, and ends nothing; one ``RuleWarning`` tells of the first."""

    claims = SearchClaims("graph")
    reference: ClassVar[str]  # BibTeX key
    read = staticmethod(Genome.from_json)

    def __init__(self, frame: Frame, s: Settings, size: int, seed: int, **given: Any) -> None:
        if min(frame.inputs, frame.outputs, size) < 1:
            came = f"{frame.inputs} inputs, {frame.outputs} outputs and a size of {size} came"
            raise Refused(f"{came}; {type(self).__name__} takes 1 or more of each")
        self.settings, self.size, self.generator = s, size, np.random.default_rng(seed)
        self.claims = SearchClaims("graph", frame.memory)
        self.given = {"search": type(self).__name__, "size": size, **frame._asdict(), **given, **asdict(s)}
        self.history = History(frame.fixed)
        self.genes = minimal(frame, size, s, self.history, self.generator)
        self.species = speciate(self.genes, [], s, 0)
        self.born = len(self.species)
        self.champion: Genome | None = None
        self.generation = self.evaluations = self.failed = self.stale = 0
        self.reached = -inf

    @abstractmethod
    def express(self, genes: Genes) -> Population:
        """P genomes as P individuals."""

    @abstractmethod
    def individual(self, genome: Genome) -> Any:
        """One genome as the user gets it."""

    def ask(self) -> Any:
        return self.express(self.genes)

    @torch.no_grad()
    def tell(self, fitness: Tensor | Sequence[float]) -> None:
        heights = fitness_told(fitness, self.size)
        self.failed += failures(heights, self.failed, self.generation + 1)
        told = heights.numpy()
        f, finite = judge(told)
        self._keep(np.where(finite, told, -inf))
        for one in self.species:
            one.note(f)
        self._breed(f)
        self.generation, self.evaluations = self.generation + 1, self.evaluations + self.size

    def best(self) -> Any:
        if self.champion is None:
            raise Refused("best() came before any fitness: tell one generation first")
        return self.individual(self.champion)

    def watch(self) -> dict[str, float]:
        """Numbers of this generation: its number, species, genes and hidden nodes a genome; so far: best, failed."""
        hidden = float(find(self.genes).there[:, self.genes.frame.fixed :].sum(1).mean())
        genes = float(self.genes.there.sum(1).mean())
        counts = {"best": self.reached, "generation": self.generation, "failed": self.failed}
        return {"species": len(self.species), "genes": genes, "hidden": hidden, **counts}

    def candidate(self, row: int) -> Genome:
        """The genome of one of those that were asked for last and not told of yet."""
        return self.genes.genome(row)

    def state_dict(self) -> dict[str, Any]:
        counts = {key: getattr(self, key) for key in COUNTS}
        return pack(self.genes, self.species, self.champion, self.history, self.generator, counts, self.given)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, to the bit.  Raises ``Refused`` for the state of another search, or of other settings."""
        check(state, self.given)
        told = unpack(state, self.genes.frame, self.history, self.generator)
        self.genes, self.species, self.champion, counts = told
        for key in COUNTS:
            setattr(self, key, counts[key])

    def _keep(self, fitness: np.ndarray) -> None:
        row, self.stale = int(fitness.argmax()), self.stale + 1
        if fitness[row] > self.reached:
            self.champion, self.reached, self.stale = self.genes.genome(row), float(fitness[row]), 0

    def _breed(self, f: np.ndarray) -> None:
        refocus = self.settings.refocus is not None and self.stale > self.settings.refocus
        self.stale = 0 if refocus else self.stale  # once, and then again as long later
        children, copied = reproduce(self.genes, self.species, f, self.settings, self.generator, refocus)
        for one in self.species if self.settings.way == "canonical" else ():
            one.representative = self.genes.genome(int(self.generator.choice(one.members)))
        if self.settings.remember == "generation":
            self.history.forget()
        mutated = mutate_weights(children, self.settings, self.generator)
        for column in ("weight", "enabled"):
            getattr(mutated, column)[copied] = getattr(children, column)[copied]
        self.genes = mutate_structure(mutated, ~copied, self.settings, self.history, self.generator)
        self.species = speciate(self.genes, self.species, self.settings, self.born)
        self.born = max(self.born, *(one.number + 1 for one in self.species))


COUNTS = ("generation", "evaluations", "failed", "reached", "stale", "born")  # what a state has of numbers
