"""Mutation of structure, of single genomes.

add_node          a gene of weight w is disabled: a gene of weight 1 into a new node, one of weight w out of it
add_connection    a gene between two nodes that none joins; without memory none that closes a cycle
delete_node       with all its genes
delete_connection"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np

from altprop.searches.neat.genes import Frame, Genes, Genome
from altprop.searches.neat.history import History
from altprop.searches.neat.mutation import fresh
from altprop.searches.neat.settings import Settings


def mutate_structure(
    genes: Genes, moving: np.ndarray, s: Settings, history: History, generator: np.random.Generator
) -> Genes:
    """New nodes and genes of those that move (P,), numbered alike where they are alike."""
    rates = np.array([s.add_node, s.delete_node, s.add_connection, s.delete_connection])
    drawn = (generator.random((len(genes), len(rates))) < rates) & moving[:, None]
    mutator = Mutator(s, history, generator)
    ways = (mutator.add_node, mutator.delete_node, mutator.add_connection, mutator.delete_connection)
    rows = np.flatnonzero(drawn.any(1))
    changed = dict(zip(rows.tolist(), genes.rows(rows).genomes(), strict=True))
    for genome, row in zip(changed.values(), drawn[rows].tolist(), strict=True):
        for way in compress(ways, row):
            way(genome)
    return genes.put(changed)


@dataclass
class Mutator:
    """Changes the structure of one genome in place; what is not possible leaves it as it is."""

    s: Settings
    history: History
    generator: np.random.Generator

    def pick(self, size: int) -> int:
        """Any of 0..size-1; faster than ``integers`` for single numbers."""
        return int(self.generator.random() * size)

    def genes(self, genome: Genome) -> list[int]:
        """The places of genes that may be split or lost: the biases of nodes may not."""
        bias = genome.frame.inputs if self.s.bias == "node" else -1
        return [at for at, source in enumerate(genome.source) if source != bias]

    def add_node(self, genome: Genome) -> None:
        places = [at for at in self.genes(genome) if genome.enabled[at]]
        if not places:
            return
        at = places[self.pick(len(places))]
        gene, source, target, weight = (getattr(genome, c)[at] for c in ("innovation", "source", "target", "weight"))
        node = self.history.node(gene, set(genome.nodes()))
        genome.enabled[at] = False
        genome.append(self.history.gene(source, node), source, node, 1.0)
        genome.append(self.history.gene(node, target), node, target, weight)
        if self.s.bias == "node":
            genome.append(self.history.gene(genome.frame.inputs, node), genome.frame.inputs, node, 0.0)

    def add_connection(self, genome: Genome) -> None:
        frame, hidden = genome.frame, genome.nodes()
        targets = [*range(frame.inputs + 1, frame.fixed), *hidden]
        sources = [*range(frame.inputs + (self.s.bias == "input")), *targets]
        joined = set(zip(genome.source, genome.target, strict=True))
        for _ in range(self.s.tries):
            pair = sources[self.pick(len(sources))], targets[self.pick(len(targets))]
            if pair not in joined and (frame.memory or not closes(genome, *pair)):
                weight = float(fresh((), self.s, self.generator))
                genome.append(self.history.gene(*pair), *pair, weight)
                return

    def delete_node(self, genome: Genome) -> None:
        hidden = genome.nodes()
        if hidden:
            node = hidden[self.pick(len(hidden))]
            pairs = enumerate(zip(genome.source, genome.target, strict=True))
            genome.remove({at for at, pair in pairs if node in pair})

    def delete_connection(self, genome: Genome) -> None:
        places = self.genes(genome)
        if places:
            genome.remove({places[self.pick(len(places))]})


def closes(genome: Genome, source: int, target: int) -> bool:
    """Whether a gene from source to target closes a cycle, with disabled genes, which may be enabled again, as well."""
    after: dict[int, list[int]] = {}
    for one, other in zip(genome.source, genome.target, strict=True):
        after.setdefault(one, []).append(other)
    reached, waiting = {target}, [target]
    while waiting:
        for node in after.get(waiting.pop(), ()):
            if node not in reached:
                reached.add(node)
                waiting.append(node)
    return source in reached


def minimal(frame: Frame, size: int, s: Settings, history: History, generator: np.random.Generator) -> Genes:
    """P genomes without hidden nodes: every input, and the bias, joined to every output."""
    pairs = [(source, target) for target in range(frame.inputs + 1, frame.fixed) for source in range(frame.inputs + 1)]
    numbers = [history.gene(*pair) for pair in pairs]
    weights = fresh((size, len(pairs)), s, generator).clip(-s.limit, s.limit)
    sources, targets = (np.tile(ends, (size, 1)) for ends in zip(*pairs, strict=True))
    return Genes(frame, np.tile(numbers, (size, 1)), sources, targets, weights, np.ones((size, len(pairs)), bool))
