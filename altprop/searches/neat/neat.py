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
    3. The paper leaves open by how much weights move and how large they get: uniform in +-2.5, and at most 8; and how
       many of a species may be parents: the fittest fifth.
    4. A genome that was split twice at one gene has two nodes there, wherever numbers are remembered for the whole run.
    5. The two best species have offspring however long they stagnate (``kept``); in the paper none of them has.
    6. ``refocus=20`` is the paper's way out where no species gets better: the two best alone have offspring, once.  By
       default there is none: XOR was solved by 10 seeds of 10 in at most 65 generations, and with it by 9.
    7. Parents are drawn with replacement, so that some children of two are copies of one, who then mutates; the mate of
       another species is drawn among all species, its own too.
    8. Only enabled genes are split, and 20 pairs of nodes are drawn for a new connection before it is given up.
    9. Feed-forward nets answer at once, a depth after the other; the paper's need as many steps as they are deep.
    10. settings="neat_python" mutates weights before structure, keeps the size of the population, and draws new
        connections, once, among all pairs of nodes; neat-python draws also pairs of outputs that it then refuses.
Easily confused with: a genetic algorithm over the weights of one net, whose genomes need no alignment.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from altprop.searches.ground import Ground
from altprop.searches.neat.family import GraphSearch
from altprop.searches.neat.genes import Frame, Genes, Genome
from altprop.searches.neat.population import Nets
from altprop.searches.neat.settings import Settings, chosen


class NEAT(GraphSearch):
    """Neuroevolution of augmenting topologies (Stanley and Miikkulainen 2002).

    inputs, outputs: of the nets.  size: P.  settings: "canonical", "neat_python" or ``Settings``; activation, in place
    of theirs; changes: of their numbers, by name (add_node=.1).  memory: nets may have cycles, and a call is a step of
    time.

    Raises ``Refused`` for what no search can be made of."""

    reference: ClassVar[str] = "stanley2002"

    def __init__(
        self, inputs: int, outputs: int, *, size: int = 150, settings: str | Settings = "canonical",
        memory: bool = False, activation: str | None = None, seed: int = 0, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu", **changes: Any,
    ) -> None:  # fmt: skip
        s = chosen(settings, activation, changes)
        super().__init__(Frame(inputs, outputs, memory, s.activation, s.functions), s, size, seed)
        self.dtype, self.device = dtype, device

    @classmethod
    def on(cls, ground: Ground, **arguments: Any) -> NEAT:
        """One for a task, of its inputs and outputs."""
        return cls(ground.inputs, ground.outputs, seed=ground.seed, **arguments)

    def express(self, genes: Genes) -> Nets:
        return Nets(genes, self.dtype, self.device)

    def individual(self, genome: Genome) -> Genome:
        """Its genes: ``net()`` makes a module of them, ``to_json()`` text."""
        return genome
