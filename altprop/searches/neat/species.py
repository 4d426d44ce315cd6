"""Species: genomes near to a representative compete with each other.

canonical     the representative is a random member of the last generation, and the first species that is near
              enough takes a genome
neat_python   the representative is who is nearest to the last one, and the nearest species takes a genome"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

import numpy as np

from altprop.searches.neat.distance import Ruler
from altprop.searches.neat.genes import Frame, Genes, Genome
from altprop.searches.neat.settings import Settings


@dataclass
class Species:
    """Rows of the population, and how the species fared."""

    number: int
    representative: Genome
    members: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # rows, rising
    best: float = -inf
    stale: int = 0  # generations since it last bettered its best

    def note(self, fitness: np.ndarray) -> None:
        """fitness (P,) of all."""
        reached = float(fitness[self.members].max())
        self.best, self.stale = (reached, 0) if reached > self.best else (self.best, self.stale + 1)

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "representative": self.representative.columns(), "members": self.members.tolist()}

    @classmethod
    def of(cls, state: dict[str, Any], frame: Frame) -> Species:
        """Back from ``state``."""
        columns = (list(column) for column in state["representative"])
        members = np.array(state["members"], np.int64)
        return cls(**{**state, "representative": Genome(frame, *columns), "members": members})


def speciate(genes: Genes, species: list[Species], s: Settings, number: int) -> list[Species]:
    """The species of a new generation, those of the last first; ``number`` is the first one that no species bears."""
    ruler, away = Ruler(genes, s), np.empty((len(genes), 0))  # (P, species)
    if species:
        away = np.stack([ruler.to(one.representative) for one in species], 1)
    if s.way == "neat_python":
        species, away = follow(genes, species, away, ruler)
    near = away < s.threshold
    choice = np.where(near, away, inf) if s.way == "neat_python" else ~near
    home = np.where(near.any(1), choice.argmin(1) if len(species) else -1, -1)  # (P,), the place of its species
    species = list(species)
    while (home < 0).any():
        left = np.flatnonzero(home < 0)
        founder = genes.genome(int(left[0]))
        takes = ruler.to(founder)[left] < s.threshold
        takes[0] = True  # of itself, whatever the threshold
        home[left[takes]] = len(species)
        species.append(Species(number, founder))
        number += 1
    for place, one in enumerate(species):
        one.members = np.flatnonzero(home == place)
    return [one for one in species if len(one.members)]


def follow(genes: Genes, species: list[Species], away: np.ndarray, ruler: Ruler) -> tuple[list[Species], np.ndarray]:
    """Each species is represented by the genome nearest to its last representative, no genome by two."""
    free = np.zeros(len(genes))
    followed = species[: len(genes)]
    for place, one in enumerate(followed):
        row = int((away[:, place] + free).argmin())
        free[row] = inf
        one.representative = genes.genome(row)
        away[:, place] = ruler.to(one.representative)
    return followed, away[:, : len(followed)]
