"""Where each node of each genome stands in one padded batch.

Feed-forward nodes are sorted by depth, the longest way from an input, and the block of a depth is as wide as that of
the genome with the most nodes there.  A block then needs one batched product with all that stands before it:

    v[:, :, a:b] = f(v[:, :, :a] @ W[:, :a, a:b])        v (P, N, S), columns: inputs, bias, depth 1, depth 2, ...

Nets with memory have one block, which reads the last values of its own nodes, too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from altprop.limits import Refused
from altprop.searches.neat.genes import SPAN, Genes


class Plan(NamedTuple):
    """A population as matrices."""

    weight: np.ndarray  # (P, S, S - I - 1), from every column to every column of a node
    blocks: list[tuple[int, int]]  # columns [a, b) of each depth
    outputs: np.ndarray  # (P, C), the columns of the outputs
    kinds: np.ndarray  # (P, S - I - 1), which of the frame's functions each column of a node has


class Nodes(NamedTuple):
    """All nodes of all genomes, in one table that holds the hidden ones behind the fixed."""

    source: np.ndarray  # (P, E), the column of this table from which a gene comes
    target: np.ndarray  # (P, E)
    there: np.ndarray  # (P, M)
    number: np.ndarray  # (P, M), which each node bears; any where there is none


def plan(genes: Genes) -> Plan:
    """Depths, columns and the matrices of all genomes."""
    first = genes.frame.inputs + 1
    nodes = find(genes)
    rows, columns = np.nonzero(genes.enabled)
    source, target = nodes.source[rows, columns], nodes.target[rows, columns]
    depth = np.ones(nodes.there.shape, np.int64)  # (P, M)
    depth[:, :first] = 0
    if not genes.frame.memory:
        deepen(depth, rows, source, target)
    depth[~nodes.there] = 0  # stands nowhere
    place, blocks = arrange(depth, first)  # (P, M)
    S = blocks[-1][1]
    weight = np.zeros((len(genes), S, S - first))
    at = (rows * S + place[rows, source]) * (S - first) + place[rows, target] - first
    np.add.at(weight.reshape(-1), at, genes.weight[rows, columns])
    kinds = np.zeros((len(genes), S - first), np.int64)
    if genes.frame.functions:
        rows, columns = np.nonzero(nodes.there[:, genes.frame.fixed :])
        columns += genes.frame.fixed
        kinds[rows, place[rows, columns] - first] = 1 + nodes.number[rows, columns] % len(genes.frame.functions)
    return Plan(weight, blocks, place[:, first : genes.frame.fixed], kinds)


def find(genes: Genes) -> Nodes:
    """Hidden nodes bear any numbers; give those of each genome the columns from ``fixed`` on."""
    fixed, rows = genes.frame.fixed, np.arange(len(genes))[:, None] * SPAN
    ends = np.stack([genes.source, genes.target])  # (2, P, E)
    at = ends >= fixed
    keys = (ends + rows)[at]
    hidden = np.unique(keys)
    row = hidden // SPAN
    first = np.searchsorted(row, np.arange(len(genes) + 1))  # where the nodes of a genome begin
    counts = np.diff(first)
    ends[at] = fixed + np.searchsorted(hidden, keys) - first[keys // SPAN]
    there = np.arange(fixed + counts.max(initial=0)) < fixed + counts[:, None]
    number = np.tile(np.arange(there.shape[1]), (len(genes), 1))
    number[row, fixed + np.arange(len(hidden)) - first[row]] = hidden % SPAN
    return Nodes(ends[0], ends[1], there, number)


def deepen(depth: np.ndarray, rows: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
    """The longest way, by as many rounds as it is long.  Raises ``Refused`` for a cycle, whose way has no end."""
    flat, start = depth.reshape(-1), rows * depth.shape[1]
    source, target = start + source, start + target
    for _ in range(depth.shape[1] + 1):
        before = flat.copy()
        np.maximum.at(flat, target, flat[source] + 1)
        if np.array_equal(before, flat):
            return
    raise Refused("a genome with a cycle came, and its frame says memory=False: give memory=True, or take a gene out")


def arrange(depth: np.ndarray, first: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The column of each node, and the columns of each depth: within a depth, nodes keep their order."""
    place = np.zeros_like(depth)
    place[:, :first] = np.arange(first)
    blocks, start = [], first
    for level in range(1, depth.max() + 1):
        at = depth == level  # (P, M)
        rank = at.cumsum(1) - 1
        place[at] = start + rank[at]
        blocks.append((start, start + int(rank[:, -1].max()) + 1))
        start = blocks[-1][1]
    return place, blocks
