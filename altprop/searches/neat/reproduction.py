"""Reproduction: who has how many children, and with whom."""

from __future__ import annotations

import numpy as np

from altprop.searches.neat.crossover import cross
from altprop.searches.neat.genes import Genes
from altprop.searches.neat.settings import Settings
from altprop.searches.neat.sharing import share, spawn
from altprop.searches.neat.species import Species


def reproduce(
    genes: Genes, species: list[Species], fitness: np.ndarray, s: Settings, generator: np.random.Generator,
    refocus: bool = False,
) -> tuple[Genes, np.ndarray]:  # fmt: skip
    """P children before mutation, and which of them (P,) are copies of champions.  fitness (P,), finite; refocus:
    whether only the two best species have any."""
    offers, alive = share(species, fitness, s, refocus)
    sizes = np.array([len(one.members) for one in species])
    numbers = spawn(offers, sizes, alive, len(genes), s)
    pools, pairs, copied = [], [], []
    for one in species:  # who may be a parent: the fittest, at least one
        ranked = one.members[np.argsort(-fitness[one.members], kind="stable")]
        pools.append(ranked[: max(1, int(np.ceil(s.survival * len(ranked))))])
        one.members = ranked
    for place, (one, number) in enumerate(zip(species, numbers, strict=True)):
        kept = min(s.elitism, int(number), len(one.members)) if len(one.members) >= s.elite_size else 0
        mothers = np.concatenate([one.members[:kept], generator.choice(pools[place], number - kept)])
        fathers = np.concatenate([one.members[:kept], mates(pools, place, number - kept, s, generator)])
        single = generator.random(number) >= s.crossover
        pairs.append(np.stack([mothers, np.where(single, mothers, fathers)]))
        copied.append(np.arange(number) < kept)
    mothers, fathers = np.concatenate(pairs, 1)
    return breed(genes, mothers, fathers, fitness, s, generator), np.concatenate(copied)


def mates(pools: list[np.ndarray], place: int, number: int, s: Settings, generator: np.random.Generator) -> np.ndarray:
    """(number,), parents of the same species, seldom of another."""
    fathers = generator.choice(pools[place], number)
    for at in np.flatnonzero(generator.random(number) < s.interspecies):
        pool = pools[generator.integers(len(pools))]
        fathers[at] = pool[generator.integers(len(pool))]
    return fathers


def breed(
    genes: Genes, mothers: np.ndarray, fathers: np.ndarray, fitness: np.ndarray, s: Settings,
    generator: np.random.Generator,
) -> Genes:  # fmt: skip
    """The structure is that of the fitter parent.  A genome and itself give itself."""
    equal = fitness[fathers] == fitness[mothers]
    lot = generator.random(len(mothers)) < 0.5 if s.tie == "random" else True
    swap = (fitness[fathers] > fitness[mothers]) | (equal & lot)
    fitter, other = np.where(swap, fathers, mothers), np.where(swap, mothers, fathers)
    children, alone = genes.rows(fitter), fitter == other
    both = np.flatnonzero(~alone)
    crossed = cross(children.rows(both), genes.rows(other[both]), s.disabled, generator)
    children.weight[both], children.enabled[both] = crossed.weight, crossed.enabled
    return children
