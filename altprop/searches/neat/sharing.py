"""Sharing: a species has as many offspring as its members' shared fitness is worth.

canonical     f'_i = f_i / |species|, so that a species has the mean of its members to offer
neat_python   (mean - min f) / max(1, max f - min f), and the size goes halfway to what that is worth"""

from __future__ import annotations

import numpy as np

from altprop.searches.neat.settings import Settings
from altprop.searches.neat.species import Species


def judge(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fitness (P,), less than the lowest in place of what is no finite number; which were finite (P,)."""
    finite = np.isfinite(f)
    worst = np.nextafter(f[finite].min(), -np.inf) if finite.any() else 0.0
    return np.where(finite, f, worst), finite


def share(
    species: list[Species], fitness: np.ndarray, s: Settings, refocus: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What each species has to offer, its shared fitness in all, and which go on (species,): not those that stagnate,
    which have nothing to offer, unless all do; the two best alone where the search is refocused."""
    offers = SHARING[s.way](species, fitness)
    ranked = sorted(species, key=lambda one: one.best, reverse=True)
    stagnant = {one.number for one in ranked[s.kept :] if one.stale >= s.stagnation}
    alive = np.array([one.number not in stagnant for one in species])
    alive |= not alive.any()
    if refocus:
        alive = np.array([one in ranked[:2] for one in species])
    return np.where(alive, offers, 0), alive


def _canonical(species: list[Species], fitness: np.ndarray) -> np.ndarray:
    positive = fitness - min(fitness.min(), 0.0)
    return np.array([(positive[one.members] / len(one.members)).sum() for one in species])


def _neat_python(species: list[Species], fitness: np.ndarray) -> np.ndarray:
    lowest, width = fitness.min(), max(1.0, np.ptp(fitness))
    return np.array([(fitness[one.members].mean() - lowest) / width for one in species])


SHARING = {"canonical": _canonical, "neat_python": _neat_python}


def spawn(offers: np.ndarray, sizes: np.ndarray, alive: np.ndarray, size: int, s: Settings) -> np.ndarray:
    """(species,), how many offspring each has, ``size`` in all; none where not ``alive``."""
    total = offers.sum()
    shares = offers / total if total > 0 else alive / alive.sum()
    wanted = shares * size
    if s.way == "neat_python":
        wanted = np.where(alive, np.maximum(wanted, s.smallest), 0)
        step = (wanted - sizes) / 2  # halfway from where they are, by at least one
        step = np.where(np.round(step) == 0, np.sign(step), np.round(step))
        wanted = np.where(alive, np.maximum(sizes + step, s.smallest), 0)
        wanted = wanted * size / wanted.sum()
    return whole(wanted, size)


def whole(wanted: np.ndarray, size: int) -> np.ndarray:
    """Numbers near to those wanted whose sum is ``size``: those with the largest rest are rounded up."""
    numbers = np.floor(wanted).astype(np.int64)
    order = np.argsort(numbers - wanted, kind="stable")
    numbers[order[: size - numbers.sum()]] += 1
    return numbers
