"""Compatibility distance of genomes, E of whose genes are excess, D disjoint, and the rest match with difference |dw|:

canonical     delta = c1 E / N + c2 D / N + c3 mean |dw|,  N the genes of the longer, 1 where both are below 20
neat_python   delta = (c1 E + c2 D + c3 sum (|dw| + [one of them disabled])) / N, of connections and of nodes, whose
              weights are their biases, each by itself"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from altprop.searches.neat.genes import Genes, Genome
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
    return Ruler(genes, settings).to(other)


class Ruler:
    """P genomes that are compared with one after the other: tables (E, P), whose sums over genes are quick, and what
    does not depend on the other."""

    def __init__(self, genes: Genes, settings: Settings) -> None:
        self.settings = settings
        self.known, place = np.unique(genes.innovation, return_inverse=True)  # (K,), all numbers
        tables = place.reshape(genes.weight.shape), genes.innovation, genes.weight, genes.enabled
        self.place, self.number, self.weight, self.enabled = (np.ascontiguousarray(table.T) for table in tables)
        self.parts = [
            (np.ascontiguousarray(kept.T), np.where(kept, genes.innovation, -1).max(1), kept.sum(1))
            for kept in parts(genes, settings)
        ]  # of each the genes (E, P), their last number and how many there are (P,)

    def to(self, other: Genome) -> np.ndarray:
        """(P,), of every genome from one."""
        one = Genes.of([other])
        counts = [
            self.count(*part, one.innovation[kept], one.weight[kept], one.enabled[kept])
            for part, kept in zip(self.parts, parts(one, self.settings), strict=True)
        ]
        return DISTANCES[self.settings.way](counts, self.settings)

    def count(
        self, kept: np.ndarray, last: np.ndarray, n: np.ndarray, number: np.ndarray, weight: np.ndarray,
        enabled: np.ndarray,
    ) -> Counts:  # fmt: skip
        """Compare the genes of one part with those (F,) of the other."""
        F, K = len(number), len(self.known)
        at = np.searchsorted(self.known, number).clip(max=K - 1)
        both = self.known[at] == number  # (F,), what any of the P has as well
        has, w, on = np.zeros(K, bool), np.zeros(K), np.zeros(K, bool)  # the other's, by number
        has[at[both]], w[at[both]], on[at[both]] = True, weight[both], enabled[both]
        matching = kept & has.take(self.place)  # (E, P)
        last_of_other = number[-1] if F else -1
        beyond = kept & (self.number > last_of_other)
        excess = beyond.sum(0) + F - np.searchsorted(number, last, "right")
        M = matching.sum(0)
        weights = (np.abs(self.weight - w.take(self.place)) * matching).sum(0)
        flags = (matching & (self.enabled != on.take(self.place))).sum(0)
        return Counts(excess, n + F - 2 * M - excess, M, weights, flags, np.maximum(n, F))


def parts(genes: Genes, s: Settings) -> list[np.ndarray]:
    """(P, E) each: which genes are compared with each other."""
    if s.way == "canonical":
        return [genes.there]
    return [genes.there & genes.biases, genes.there & ~genes.biases]


def _canonical(counts: list[Counts], s: Settings) -> np.ndarray:
    ((E, D, matching, weights, _, longer),) = counts
    N = np.where(longer < s.small, 1, longer)
    return s.excess * E / N + s.disjoint * D / N + s.difference * weights / np.maximum(matching, 1)


def _neat_python(counts: list[Counts], s: Settings) -> np.ndarray:
    nodes, connections = (
        (s.excess * E + s.disjoint * D + s.difference * (weights + flags)) / np.maximum(N, 1)
        for E, D, _, weights, flags, N in counts
    )
    return nodes + connections


DISTANCES = {"canonical": _canonical, "neat_python": _neat_python}
