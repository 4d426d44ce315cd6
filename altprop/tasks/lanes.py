"""Environments side by side, each of which plays one episode.

Gymnasium's own vectors begin another episode in a lane that is over, and step it while others last.  Where an
environment has a native vector, a step of all lanes is one of arrays, and what is over is left out of the count; else
lanes are plain environments, of which those still running are stepped.  Both give the same returns, to the bit of a
float64, by the same seeds."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from altprop.core import Refused
from altprop.limits import nearest, shorten, shown

NATIVE = ("CartPole-v0", "CartPole-v1")  # have a native vector, whose starts can be set to those of single ones


class Lanes(ABC):
    """The family.  ``len`` is how many there are."""

    count: int

    def __len__(self) -> int:
        return self.count

    @abstractmethod
    def reset(self, seeds: list[int]) -> np.ndarray:
        """A new episode in each, by its seed -> observations (lanes, *shape)."""

    @abstractmethod
    def step(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One action a lane -> observations (lanes, *shape), rewards (lanes,) and which are over (lanes,); what is
        told of a lane that is not ``running`` is of no meaning."""


class PlainLanes(Lanes):
    """One environment a lane; those that are over rest."""

    def __init__(self, environment: str, count: int, settings: dict[str, Any]) -> None:
        self.count = count
        self.lanes = [made(environment, settings) for _ in range(count)]

    def reset(self, seeds: list[int]) -> np.ndarray:
        first = [lane.reset(seed=seed)[0] for lane, seed in zip(self.lanes, seeds, strict=True)]
        self.shown = np.stack(first)
        return self.shown

    def step(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rewards, over = np.zeros(self.count), np.zeros(self.count, bool)
        for at in np.flatnonzero(running):
            self.shown[at], rewards[at], terminated, truncated, _ = self.lanes[at].step(actions[at])
            over[at] = terminated or truncated
        return self.shown, rewards, over


class NativeLanes(Lanes):
    """One environment of arrays; its starts are those of single environments, so that a seed decides."""

    def __init__(self, environment: str, count: int, settings: dict[str, Any]) -> None:
        self.count, self.single = count, made(environment, settings)
        self.vector = gymnasium().make_vec(environment, count, vectorization_mode="vector_entry_point", **settings)

    def reset(self, seeds: list[int]) -> np.ndarray:
        starts = {}
        for seed in dict.fromkeys(seeds):
            self.single.reset(seed=seed)
            starts[seed] = np.array(self.single.unwrapped.state)
        self.vector.reset(seed=0)
        state = self.vector.unwrapped.state = np.stack([starts[seed] for seed in seeds], 1)  # (4, lanes)
        return state.T.astype(np.float32)

    def step(self, actions: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shown, rewards, terminated, truncated, _ = self.vector.step(actions)
        return shown, rewards, terminated | truncated


def lanes_of(environment: str, count: int, settings: dict[str, Any]) -> Lanes:
    """As fast as they come."""
    return (NativeLanes if environment in NATIVE else PlainLanes)(environment, count, settings)


def gymnasium() -> Any:
    """The package.  Raises ``Refused`` where it is missing."""
    try:
        return importlib.import_module("gymnasium")
    except ImportError as error:
        raise Refused("control tasks need Gymnasium: pip install 'altprop[control]'") from error


def made(environment: str, settings: dict[str, Any]) -> Any:
    """One environment.  Raises ``Refused`` for an unknown one, and for one that cannot be made."""
    gym = gymnasium()
    try:
        return gym.make(environment, disable_env_checker=True, **settings)
    except gym.error.DependencyNotInstalled as error:
        what = f"{environment} needs more than Gymnasium ({shorten(error, 120)})"
        raise Refused(f"{what}: for Box2D pip install 'gymnasium[box2d]'") from error
    except gym.error.Error as error:  # no name, no version, or not one that is still kept
        known = [name for name in gym.registry if "/" not in name]
        raise Refused(f"environment={shown(environment)} came{nearest(str(environment), known)}") from error
    except (TypeError, ModuleNotFoundError) as error:
        raise Refused(f"{environment} cannot be made ({shorten(error, 120)}): look at its settings") from error
