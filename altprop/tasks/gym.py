"""Control: an environment of Gymnasium is asked by every individual, all of them in lockstep.

One environment an individual and episode, P E of them.  In each step one call of the population answers all
observations (P, E, *in); an episode that is over is neither stepped again nor counted on, so that no second one leaks
into its return.  All individuals have the same E episodes, by seeds from the generator of the evaluation, and

    fitness_p = 1/E sum_e sum_t reward(p, e, t)
    action    = argmax_c y_c                                            of a discrete space
    action    = low + (squash(y) + 1) / 2 (high - low)                  of a box

Reference: Towers et al., arXiv 2407.17032 (Gymnasium); Barto, Sutton and Anderson, 1983 (CartPole); Sutton, 1996
(Acrobot); Moore, 1990 (MountainCar).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from altprop.core import Population, Refused
from altprop.limits import nearest, shown
from altprop.tasks.lanes import Lanes, lanes_of, made
from altprop.tasks.task import Task

SQUASH: dict[str, Callable[[Tensor], Tensor]] = {  # answers to [-1, 1]
    "tanh": torch.tanh,
    "clip": lambda y: y.clamp(-1, 1),
    "unit": lambda y: (2 * y - 1).clamp(-1, 1),
}


class Gym(Task):
    """An environment by its id, as in ``Gym("CartPole-v1")``; any that Gymnasium knows whose observations are a box or
    discrete (then one-hot), and whose actions are discrete, one output each, or a bounded box, one output a number.

    episodes: of an evaluation.  steps: of an episode at most, in place of the environment's own limit.  scaled:
    observations whose bounds are finite go to [-1, 1]; else they come as they are.  squash: of answers to a box,
    "tanh", "clip" for nets that answer in [-1, 1], "unit" for [0, 1], as NEAT's sigmoids do.  settings: its own.

    ``solved`` is the mean return over 100 episodes at which the environment counts as solved; infinite where it says
    none.  Raises ``Refused`` for what is unknown or cannot be played, and where Gymnasium is not installed."""

    def __init__(
        self, environment: str = "CartPole-v1", *, episodes: int = 3, steps: int | None = None, scaled: bool = False,
        squash: str = "tanh", **settings: Any,
    ) -> None:  # fmt: skip
        if min(episodes, 1 if steps is None else steps) < 1:
            raise Refused(f"episodes={episodes}, steps={steps} came: give 1 or more of each")
        if squash not in SQUASH:
            raise Refused(f"squash={shown(squash)} came{nearest(str(squash), SQUASH)}")
        self.environment, self.episodes, self.squash, self.settings = environment, episodes, squash, settings
        first = made(environment, settings if steps is None else {**settings, "max_episode_steps": steps})
        limit = first.spec.max_episode_steps if steps is None else steps
        if limit is None:
            raise Refused(f"{environment} has episodes without end: give steps=1000, or as many as one may last")
        self.steps: int = limit
        self.solved: float = inf if first.spec.reward_threshold is None else first.spec.reward_threshold
        self._observes(first.observation_space, scaled)
        self._acts(first.action_space)
        self._lanes: Lanes | None = None

    @torch.no_grad()
    def fitness(self, population: Population, generator: torch.Generator) -> Tensor:
        """(P,), the mean return of each; nan for one that answered what is no finite number."""
        return self._play(population, self.episodes, generator)

    @torch.no_grad()
    def score(self, net: nn.Module, episodes: int = 100, seed: int = 0) -> float:
        """The mean return of one net, as it is, over fresh episodes: what ``solved`` speaks of."""
        return float(self._play(One(net), episodes, torch.Generator().manual_seed(seed)))

    def actions(self, answers: Tensor) -> np.ndarray:
        """answers (N, C) -> N actions, as the environment takes them."""
        if self.bounds is None:
            return self.first_action + answers.argmax(-1).cpu().numpy()
        low, high = self.bounds
        y = SQUASH[self.squash](answers).double().cpu().numpy().reshape(-1, *low.shape)
        return (low + (y + 1) / 2 * (high - low)).clip(low, high).astype(low.dtype)

    def _play(self, population: Population, E: int, generator: torch.Generator) -> Tensor:
        P = len(population)
        seeds = torch.randint(2**31 - 1, (E,), generator=generator, device=generator.device).tolist()
        lanes = self._ready(P * E)
        x = lanes.reset(seeds * P)  # (P E, *seen), lane p E + e
        returns, running = np.zeros(P * E), np.ones(P * E, bool)
        population.reset()
        for _ in range(self.steps):
            asked = torch.from_numpy(self._shown(x)).reshape(P, E, *self.inputs)
            answers = population(asked).reshape(P * E, -1)
            self._check(answers)
            failed = running & ~answers.isfinite().all(1).cpu().numpy()
            returns[failed], running = np.nan, running & ~failed
            x, reward, over = lanes.step(self.actions(answers.nan_to_num()), running)
            returns[running] += reward[running]
            running &= ~over
            if not running.any():
                break
        return torch.from_numpy(returns).reshape(P, E).mean(1)

    def _check(self, answers: Tensor) -> None:
        if answers.shape[1] != self.outputs:
            what = f"{self.environment} wants {self.outputs} outputs, and nets answered {answers.shape[1]}"
            raise Refused(f"{what}: give nets of {self.inputs} inputs and {self.outputs} outputs")

    def _ready(self, count: int) -> Lanes:
        """Environments side by side; those of the last evaluation again where it took as many."""
        if self._lanes is None or len(self._lanes) != count:
            self._lanes = lanes_of(self.environment, count, {**self.settings, "max_episode_steps": self.steps})
        return self._lanes

    def _observes(self, space: Any, scaled: bool) -> None:
        """What nets are given: inputs, and how an observation becomes them."""
        kind = type(space).__name__
        if kind not in ("Box", "Discrete"):
            raise Refused(f"{self.environment} shows a {kind}: give an environment that shows a Box or a Discrete")
        self.levels = int(space.n) if kind == "Discrete" else 0
        self.first_level = int(space.start) if self.levels else 0
        self.inputs = (self.levels,) if self.levels else (space.shape or (1,))
        self.shift, self.scale = np.zeros(()), np.ones(())  # of an observation
        if scaled and not self.levels:
            finite = np.isfinite(space.low) & np.isfinite(space.high) & (space.high > space.low) & (space.high < 1e30)
            low, high = np.where(finite, space.low, -1), np.where(finite, space.high, 1)
            self.shift, self.scale = (low + high) / 2, 2 / (high - low)

    def _shown(self, x: np.ndarray) -> np.ndarray:
        if self.levels:
            return np.eye(self.levels, dtype=np.float32)[x.astype(np.int64) - self.first_level]
        return ((x - self.shift) * self.scale).astype(np.float32)

    def _acts(self, space: Any) -> None:
        """How answers become actions."""
        kind = type(space).__name__
        self.bounds, self.first_action = None, int(getattr(space, "start", 0))
        if kind == "Discrete":
            self.outputs = int(space.n)
        elif kind == "Box" and np.isfinite(space.low).all() and np.isfinite(space.high).all():
            self.bounds, self.outputs = (space.low, space.high), int(np.prod(space.shape))
        else:
            said = "a Box without bounds" if kind == "Box" else f"a {kind}"
            raise Refused(
                f"{self.environment} takes {said}: give an environment that takes a Discrete or a bounded Box"
            )

    def __getstate__(self) -> dict[str, Any]:
        """To another process goes what is asked; environments are made there."""
        return {**self.__dict__, "_lanes": None}


class One:
    """A net as a population of itself."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __len__(self) -> int:
        return 1

    def __call__(self, x: Tensor) -> Tensor:
        """x (1, N, *in) -> (1, N, C)."""
        return self.net(x[0])[None]

    def reset(self) -> None:
        """Forget, where the net can."""
        getattr(self.net, "reset", lambda: None)()
