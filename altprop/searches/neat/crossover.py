"""Alignment and crossover: genes of the same innovation number are the same structure, whatever the nets look like.

matching           of either parent, with probability 1/2
disjoint, excess   of the fitter parent
disabled           a matching gene that is disabled in either parent, with probability .75"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from altprop.searches.neat.genes import PAD, Genes


class Aligned(NamedTuple):
    """Each gene of ``a`` against the genome in the same row of ``b``."""

    matching: np.ndarray  # (P, E)
    disjoint: np.ndarray  # (P, E), below the last number of the other
    excess: np.ndarray  # (P, E), above it
    place: np.ndarray  # (P, E), of the match in b's flat table; any number where there is none


def align(a: Genes, b: Genes) -> Aligned:
    """The genes of P genomes against those of P others, row by row."""
    keys, flat = a.keys(), b.keys().ravel()
    place = np.searchsorted(flat, keys).clip(max=len(flat) - 1)
    matching = (flat[place] == keys) & a.there
    last = np.where(b.there, b.innovation, -1).max(1)  # (P,)
    excess = (a.innovation > last[:, None]) & (a.innovation != PAD)
    return Aligned(matching, a.there & ~matching & ~excess, excess, place)


def cross(fitter: Genes, other: Genes, disabled: float, generator: np.random.Generator) -> Genes:
    """P children; each has the structure of its fitter parent."""
    matching, _, _, place = align(fitter, other)
    drawn = generator.random((2, *matching.shape))
    weight = np.where(matching & (drawn[0] < 0.5), other.weight.ravel()[place], fitter.weight)
    both = fitter.enabled & other.enabled.ravel()[place]
    enabled = np.where(matching, both | (drawn[1] >= disabled), fitter.enabled)
    return Genes(fitter.frame, fitter.innovation.copy(), fitter.source.copy(), fitter.target.copy(), weight, enabled)
