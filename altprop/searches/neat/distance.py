"""Compatibility distance of genomes, E of whose genes are excess, D disjoint, and the rest match with difference |dw|:

canonical     delta = c1 E / N + c2 D / N + c3 mean |dw|,  N the genes of the longer, 1 where both are below 20
neat_python   delta = (c1 E + c2 D + c3 sum (|dw| + [one of them disabled])) / N, of connections and of nodes, whose
              weights are their biases, each by itself"""

from __future__ import annotations

from itertools import compress
from typing import NamedTuple

import numpy as np

from altprop.searches.neat.genes import PAD, Genes, Genome
from altprop.searches.neat.settings import Settings


class Counts(NamedTuple):
    """(P,) each, over some of the genes."""

    excess: np.ndarray
    disjoint: np.ndarray
    matching: np.ndarray
    weights: np.ndarray  # sum of |dw|
    flags: np.ndarray  # genes of which one is disabled
    longer: np.ndarray  # N


def distance(genes: Genes, other: Genome, settings: Settings) -> np.ndarray:
    """(P,), of every genome from one."""
    return DISTANCES[settings.way](genes, other, settings)


def count(genes: Genes, kept: np.ndarray, other: Genome, of_other: list[bool]) -> Counts:
    """Compare the genes kept (P, E), and those kept of the other."""
    number, weight, enabled = (
        np.array([*compress(column, of_other), fill])  # (F + 1,), the last one matches nothing
        for column, fill in ((other.innovation, PAD), (other.weight, 0.0), (other.enabled, False))
    )
    F = len(number) - 1
    at = np.searchsorted(number, genes.innovation)  # (P, E)
    matching = kept & (number[at] == genes.innovation)
    last = np.where(kept, genes.innovation, -1).max(1)  # (P,)
    last_of_other = number[F - 1] if F else -1
    excess = (kept & (genes.innovation > last_of_other)).sum(1) + F - np.searchsorted(number[:F], last, "right")
    M, n = matching.sum(1), kept.sum(1)
    weights = np.where(matching, np.abs(genes.weight - weight[at]), 0).sum(1)
    flags = (matching & (genes.enabled != enabled[at])).sum(1)
    return Counts(excess, n + F - 2 * M - excess, M, weights, flags, np.maximum(n, F))


def _canonical(genes: Genes, other: Genome, s: Settings) -> np.ndarray:
    E, D, matching, weights, _, longer = count(genes, genes.there, other, [True] * len(other.weight))
    N = np.where(longer < s.small, 1, longer)
    return s.excess * E / N + s.disjoint * D / N + s.difference * weights / np.maximum(matching, 1)


def _neat_python(genes: Genes, other: Genome, s: Settings) -> np.ndarray:
    total = np.zeros(len(genes))
    for nodes in (True, False):
        kept = genes.there & (genes.biases == nodes)
        E, D, _, weights, flags, N = count(
            genes, kept, other, [(source == genes.frame.inputs) == nodes for source in other.source]
        )
        total += (s.excess * E + s.disjoint * D + s.difference * (weights + flags)) / np.maximum(N, 1)
    return total


DISTANCES = {"canonical": _canonical, "neat_python": _neat_python}
