"""NEAT: nets begin without hidden units and grow by rare mutations, while crossover and mutation search their weights.
Genes bear the number of the mutation that first made them: by it genomes of unlike nets are aligned, and their distance
tells species, in which a new structure has time to become better.

    delta = c1 E / N + c2 D / N + c3 mean |dw|         E excess, D disjoint genes, of N; the rest match
    f'_i  = f_i / |species of i|                       shared fitness
    n_s   = P sum_{i in s} f'_i / sum_i f'_i           offspring of species s, of its fittest fifth
    child : matching genes of either parent, the others of the fitter; then w += noise, add_connection, add_node
    y     = f(W v)                                     v: inputs, 1, and all nodes of less depth       (P, N, C)

Reference: Stanley and Miikkulainen, Evolutionary Computation 10(2), 2002.
Deviations from the paper:
    1. A child has the structure of the fitter parent, of either by lot where both are equally fit; the paper then draws
       each disjoint gene by itself, which could close a cycle.
    2. Offspring numbers are rounded so that their sum is P; fitness below 0 is first raised by the lowest of all.
    3. The paper leaves open by how much weights move and how large they get: uniform in +-2.5, and at most 8.
    4. A genome that was split twice at one gene has two nodes there, wherever numbers are remembered for the whole run.
    5. settings="neat_python" mutates weights before structure, keeps the size of the population, and draws new
       connections, once, among all pairs of nodes; neat-python draws also pairs of outputs that it then refuses.
Easily confused with: a genetic algorithm over the weights of one net, whose genomes need no alignment.
"""

from __future__ import annotations

from math import inf
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from altprop.core import Refused, Search, SearchClaims
from altprop.searches.ground import Ground
from altprop.searches.neat.genes import Frame, Genome
from altprop.searches.neat.history import History
from altprop.searches.neat.mutation import mutate_weights
from altprop.searches.neat.plan import find
from altprop.searches.neat.population import Nets
from altprop.searches.neat.reproduction import reproduce
from altprop.searches.neat.settings import Settings, chosen
from altprop.searches.neat.sharing import judge
from altprop.searches.neat.species import speciate
from altprop.searches.neat.state import pack, unpack
from altprop.searches.neat.structure import minimal, mutate_structure


class NEAT(Search[Genome]):
    """Neuroevolution of augmenting topologies (Stanley and Miikkulainen 2002).

    inputs, outputs: of the nets.  size: P.  settings: "canonical", "neat_python" or ``Settings``; activation, in place
    of theirs; changes: of their numbers, by name (add_node=.1).  memory: nets may have cycles, and a call is a step of
    time.  Fitness that is no finite number counts as the lowest, and in ``failed``.

    Raises ``Refused`` for what no search can be made of."""

    claims = SearchClaims("graph")
    reference: ClassVar[str] = "stanley2002"

    def __init__(
        self, inputs: int, outputs: int, *, size: int = 150, settings: str | Settings = "canonical",
        memory: bool = False, activation: str | None = None, seed: int = 0, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu", **changes: Any,
    ) -> None:  # fmt: skip
        self.settings = s = chosen(settings, activation, changes)
        if min(inputs, outputs, size) < 1:
            raise Refused(f"{inputs} inputs, {outputs} outputs and a size of {size} came; NEAT takes 1 or more of each")
        self.claims = SearchClaims("graph", memory)
        self.dtype, self.device, self.generator = dtype, device, np.random.default_rng(seed)
        frame = Frame(inputs, outputs, memory, s.activation)
        self.history = History(frame.fixed)
        self.genes = minimal(frame, size, s, self.history, self.generator)
        self.species = speciate(self.genes, [], s, 0)
        self.champion: Genome | None = None
        self.counts: dict[str, Any] = {"generation": 0, "failed": 0, "born": len(self.species), "reached": -inf}

    @property
    def generation(self) -> int:
        return int(self.counts["generation"])

    @property
    def evaluations(self) -> int:
        return self.generation * len(self.genes)

    @property
    def failed(self) -> int:
        return int(self.counts["failed"])

    @property
    def reached(self) -> float:
        return float(self.counts["reached"])

    @classmethod
    def on(cls, ground: Ground, **arguments: Any) -> NEAT:
        """One for a task, of its inputs and outputs."""
        return cls(ground.inputs, ground.outputs, seed=ground.seed, **arguments)

    read = staticmethod(Genome.from_json)

    def ask(self) -> Nets:
        return Nets(self.genes, self.dtype, self.device)

    def tell(self, fitness: Tensor) -> None:
        f, finite = judge(fitness, len(self.genes))
        self.counts["failed"] += int((~finite).sum())
        self._keep(np.where(finite, f, -inf))
        for one in self.species:
            one.note(f)
        children, copied = reproduce(self.genes, self.species, f, self.settings, self.generator)
        for one in self.species if self.settings.way == "canonical" else ():
            one.representative = self.genes.genome(int(self.generator.choice(one.members)))
        if self.settings.remember == "generation":
            self.history.forget()
        mutated = mutate_weights(children, self.settings, self.generator)
        for column in ("weight", "enabled"):
            getattr(mutated, column)[copied] = getattr(children, column)[copied]
        self.genes = mutate_structure(mutated, ~copied, self.settings, self.history, self.generator)
        self.species = speciate(self.genes, self.species, self.settings, self.counts["born"])
        self.counts["born"] = max(self.counts["born"], *(one.number + 1 for one in self.species))
        self.counts["generation"] += 1

    def best(self) -> Genome:
        if self.champion is None:
            raise Refused("best() came before any fitness: tell one generation first")
        return self.champion

    def watch(self) -> dict[str, float]:
        """Numbers of this generation: its number, species, genes and hidden nodes a genome; so far: best, failed."""
        hidden = float(find(self.genes).there[:, self.genes.frame.fixed :].sum(1).mean())
        genes = float(self.genes.there.sum(1).mean())
        counts = {"best": self.counts["reached"], **{key: self.counts[key] for key in ("generation", "failed")}}
        return {"species": len(self.species), "genes": genes, "hidden": hidden, **counts}

    def state_dict(self) -> dict[str, Any]:
        return pack(self.genes, self.species, self.champion, self.history, self.generator, self.counts)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        told = unpack(state, self.genes.frame, self.history, self.generator)
        self.genes, self.species, self.champion, self.counts = told

    def _keep(self, fitness: np.ndarray) -> None:
        row = int(fitness.argmax())
        if fitness[row] > self.counts["reached"]:
            self.champion, self.counts["reached"] = self.genes.genome(row), float(fitness[row])
