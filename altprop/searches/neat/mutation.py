"""Mutation of weights, of all genomes at once: w + noise, or a fresh w; and genes are enabled, or disabled."""

from __future__ import annotations

import numpy as np

from altprop.searches.neat.genes import Genes
from altprop.searches.neat.settings import Settings


def fresh(shape: tuple[int, ...], s: Settings, generator: np.random.Generator, size: float | None = None) -> np.ndarray:
    """Weights of the spread of new ones, or noise of another size."""
    size = s.spread if size is None else size
    return size * (generator.standard_normal(shape) if s.noise == "normal" else generator.uniform(-1, 1, shape))


def mutate_weights(genes: Genes, s: Settings, generator: np.random.Generator) -> Genes:
    """Weights and flags, of every gene by its own luck."""
    shape = genes.weight.shape
    of_node = genes.biases & (s.bias == "node")
    perturb, replaced = np.where(of_node, s.perturb_bias, s.perturb), np.where(of_node, s.fresh_bias, s.fresh)
    moves = genes.there & (generator.random((len(genes), 1)) < s.genomes)
    drawn = generator.random(shape)
    weight = np.where(moves & (drawn < perturb), genes.weight + fresh(shape, s, generator, s.power), genes.weight)
    weight = np.where(moves & (drawn >= perturb) & (drawn < perturb + replaced), fresh(shape, s, generator), weight)
    flips = generator.random(shape) < np.where(genes.enabled, s.disable, s.enable)
    enabled = genes.enabled ^ (flips & genes.there & ~of_node)
    limited = weight.clip(-s.limit, s.limit)
    return Genes(genes.frame, genes.innovation, genes.source, genes.target, limited, enabled)
