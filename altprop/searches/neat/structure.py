"""Mutation of structure, one kind after the other, each of all genomes at once that were drawn for it.

add_node          a gene of weight w is disabled: a gene of weight 1 into a new node, one of weight w out of it
delete_node       with all its genes
add_connection    a gene between two nodes that none joins; without memory none that closes a cycle
delete_connection"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from altprop.searches.neat.genes import COLUMNS, FILL, KINDS, Frame, Genes
from altprop.searches.neat.history import History
from altprop.searches.neat.mutation import fresh
from altprop.searches.neat.plan import find
from altprop.searches.neat.settings import Settings


def mutate_structure(
    genes: Genes, moving: np.ndarray, s: Settings, history: History, generator: np.random.Generator
) -> Genes:
    """New nodes and genes of those that move (P,), numbered alike where they are alike."""
    rates = np.array([s.add_node, s.delete_node, s.add_connection, s.delete_connection])
    drawn = (generator.random((len(genes), len(rates))) < rates) & moving[:, None]
    changing = np.flatnonzero(drawn.any(1))
    mutator = Mutator(genes.rows(changing), s, history, generator)
    ways = (mutator.add_node, mutator.delete_node, mutator.add_connection, mutator.delete_connection)
    for way, those in zip(ways, drawn[changing].T, strict=True):
        way(np.flatnonzero(those))
    return genes.put(changing, mutator.genes)


@dataclass
class Mutator:
    """Changes rows (R,) of a table in place; a genome where it is not possible stays as it is.

    New genes are columns behind the others, and lost ones leave gaps: ``Genes.put`` sorts them."""

    genes: Genes
    s: Settings
    history: History
    generator: np.random.Generator

    def add_node(self, rows: np.ndarray) -> None:
        genes, bias = self.genes, self.genes.frame.inputs
        at, place = self.pick(self.free(rows) & genes.enabled[rows])
        rows = rows[at]
        gene, source, target, weight = (getattr(genes, c)[rows, place] for c in COLUMNS[:4])  # (R,) each
        taken = np.hstack([genes.source[rows], genes.target[rows]]).tolist()
        node = np.array([self.history.node(*each) for each in zip(gene.tolist(), taken, strict=True)], np.int64)
        genes.enabled[rows, place] = False
        self.append(rows, source, node, 1.0)
        self.append(rows, node, target, weight)
        if self.s.bias == "node":
            self.append(rows, np.full_like(node, bias), node, 0.0)

    def delete_node(self, rows: np.ndarray) -> None:
        nodes = find(self.genes.rows(rows))
        hidden = nodes.there & (np.arange(nodes.there.shape[1]) >= self.genes.frame.fixed)  # (R, M)
        at, node = self.pick(hidden)
        gone, places = np.nonzero((nodes.source[at] == node[:, None]) | (nodes.target[at] == node[:, None]))
        self.remove(rows[at[gone]], places)

    def add_connection(self, rows: np.ndarray) -> None:
        nodes, frame = find(self.genes.rows(rows)), self.genes.frame
        row, first, tries = np.arange(len(rows))[:, None], frame.inputs + 1, (len(rows), self.s.tries)
        targets = nodes.there.sum(1)[:, None] - first  # (R, 1), outputs and hidden nodes
        fed = first if self.s.bias == "input" else frame.inputs  # sources that are no targets
        source = (self.generator.random(tries) * (fed + targets)).astype(np.int64)  # (R, tries)
        source += (source >= fed) * (first - fed)
        target = first + (self.generator.random(tries) * targets).astype(np.int64)
        joined = np.zeros((*nodes.there.shape, nodes.there.shape[1]), bool)  # (R, M, M)
        joined[row, nodes.source, nodes.target] = True  # padding joins an input and itself, which is no target
        right = ~joined[row, source, target]
        if not frame.memory:
            right &= ~closes(joined, source, target)
        at = np.flatnonzero(right.any(1))
        place = right[at].argmax(1)  # the first try that is right
        one, other = (nodes.number[at, end[at, place]] for end in (source, target))
        self.append(rows[at], one, other, fresh(at.shape, self.s, self.generator))

    def delete_connection(self, rows: np.ndarray) -> None:
        at, places = self.pick(self.free(rows))
        self.remove(rows[at], places)

    def free(self, rows: np.ndarray) -> np.ndarray:
        """(R, E), which genes may be split or lost: the biases of nodes may not."""
        genes = self.genes.rows(rows)
        return genes.there & ~genes.biases if self.s.bias == "node" else genes.there

    def pick(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the mask that hold any, and one place of each, all alike likely."""
        at = np.flatnonzero(mask.any(1))
        return at, np.where(mask[at], self.generator.random((len(at), mask.shape[1])), -1).argmax(1)

    def append(self, rows: np.ndarray, source: np.ndarray, target: np.ndarray, weight: np.ndarray | float) -> None:
        """One more gene, enabled, of each of these rows."""
        numbers = [self.history.gene(*pair) for pair in zip(source.tolist(), target.tolist(), strict=True)]
        for column, values in zip(COLUMNS, (numbers, source, target, weight, True), strict=True):
            new: np.ndarray = np.full((len(self.genes), 1), FILL[column], KINDS[column])
            new[rows, 0] = values
            setattr(self.genes, column, np.hstack([getattr(self.genes, column), new]))

    def remove(self, rows: np.ndarray, places: np.ndarray) -> None:
        """Genes at these places of these rows."""
        for column in COLUMNS:
            getattr(self.genes, column)[rows, places] = FILL[column]


def closes(joined: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(R, T), whether a gene from source to target (R, T) closes a cycle with those of ``joined`` (R, M, M), disabled
    ones, which may be enabled again, as well."""
    reached = target[:, :, None] == np.arange(joined.shape[1])  # (R, T, M), from the target
    before = ~reached
    while not np.array_equal(reached, before):
        before = reached
        reached = before | (before @ joined)
    return np.take_along_axis(reached, source[:, :, None], 2)[:, :, 0]


def minimal(frame: Frame, size: int, s: Settings, history: History, generator: np.random.Generator) -> Genes:
    """P genomes without hidden nodes: every input, and the bias, joined to every output."""
    pairs = [(source, target) for target in range(frame.inputs + 1, frame.fixed) for source in range(frame.inputs + 1)]
    numbers = [history.gene(*pair) for pair in pairs]
    weights = fresh((size, len(pairs)), s, generator).clip(-s.limit, s.limit)
    sources, targets = (np.tile(ends, (size, 1)) for ends in zip(*pairs, strict=True))
    return Genes(frame, np.tile(numbers, (size, 1)), sources, targets, weights, np.ones((size, len(pairs)), bool))
