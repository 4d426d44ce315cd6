"""A search at work: one generation after another."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from altprop.data import Dataset
from altprop.evolution.champion import Alone, net_of, packed, unpacked
from altprop.evolution.evaluation import Evaluator, asked
from altprop.evolution.recipe import SearchRecipe
from altprop.tasks import Task

LEVELS = {"lower": 0.25, "median": 0.5, "upper": 0.75}  # of the fitness of a generation
COUNTED = ("generation", "evaluations", "failed", "best")  # in every row already
DRAWS = 10  # by which the fittest of a generation is asked again, where luck is in the fitness
AGAIN = int.from_bytes(b"again", "big")  # parts these from what a generation is asked


@dataclass
class Evolving:
    """A ``Trainee``: a search, its task, and what evaluates the one by the other.

    Its champion is the fittest candidate so far.  Where the task draws, who has had luck would win for ever: there the
    fittest of each generation is asked again by the same few draws, and the champion is who does best on those."""

    recipe: SearchRecipe
    search: Any  # a Search that counts its generations, evaluations and failures, and gives its candidates
    task: Task
    evaluator: Evaluator
    unseen: Task | None = None  # like the task, but of samples that none is chosen by
    data: Dataset | None = None
    seconds: float = 0.0  # of evaluation and search
    fitness: Tensor = field(default_factory=lambda: torch.zeros(0))  # (P,) of the last generation
    best: Any = None  # the candidate
    reached: float = -math.inf  # its fitness

    def step(self) -> float:
        """One generation: ask, evaluate, tell.  Returns less the best fitness so far."""
        start = time.perf_counter()
        population = self.search.ask()
        self.fitness = self.evaluator(population, self.search.generation)
        self._keep(self.evaluator.drew)
        self.search.tell(self.fitness)
        self.seconds += time.perf_counter() - start
        return -self.reached

    def _keep(self, drew: bool) -> None:
        heights = torch.where(self.fitness.isfinite(), self.fitness, -math.inf)
        row = int(heights.argmax())
        height = float(heights[row])
        if not math.isfinite(height) or (height <= self.reached and not drew):
            return
        candidate = self.search.candidate(row)
        height = self._asked_again(candidate) if drew else height
        if height > self.reached:
            self.best, self.reached = candidate, height

    def _asked_again(self, candidate: Any) -> float:
        alone = self._alone(candidate)
        told = [f for draw in range(DRAWS) for f in asked(self.task, alone, AGAIN + draw).fitness]
        return sum(told) / DRAWS if all(map(math.isfinite, told)) else -math.inf

    def _alone(self, candidate: Any) -> Alone:
        return Alone(net_of(self.search.individual(candidate)), len(self.task.inputs))

    @property
    def done(self) -> bool:
        """Whether the task is solved, or all generations have been."""
        return self.search.generation >= self.recipe.generations or self.reached >= self.task.solved

    def row(self) -> dict[str, Any]:
        """What metrics.jsonl keeps of a generation: the fitness with its spread, what the search tells of itself, and
        what its champion does."""
        search, f = self.search, self.fitness[self.fitness.isfinite()]
        spread = dict(zip(LEVELS, f.quantile(f.new_tensor([*LEVELS.values()])).tolist(), strict=True)) if len(f) else {}
        spread |= {"mean": float(f.mean()), "std": float(f.std(correction=0))} if len(f) else {}
        told = search.watch() if hasattr(search, "watch") else {}
        row: dict[str, Any] = {
            "generation": search.generation, "evaluations": search.evaluations, "failed": search.failed,
            "best": None if self.best is None else self.reached,
            "fitness": {name: value for name, value in spread.items() if math.isfinite(value)},
            "watch": {name: value for name, value in told.items() if name not in COUNTED},
            "seconds": round(self.seconds, 4),
        }  # fmt: skip
        if self.best is not None:
            alone = self._alone(self.best)
            row["told"] = self.task.told(alone)
            unseen = {} if self.unseen is None else self.unseen.told(alone)
            row |= {f"test_{name}": value for name, value in unseen.items()}
        return row

    def champion(self) -> nn.Module:
        """The fittest candidate so far, as an ordinary module; before any, what the search began from."""
        return net_of(self.search.best() if self.best is None else self.search.individual(self.best))

    def state(self) -> dict[str, Tensor]:
        """All that the next generation depends on, no two tensors of one memory."""
        own = {**packed(self.best), "champion.fitness": torch.tensor(self.reached, dtype=torch.float64)}
        return {**own, **{f"search.{key}": tensor.clone() for key, tensor in self.search.state_dict().items()}}

    def load(self, state: Mapping[str, Tensor]) -> None:
        left = dict(state)
        self.best, self.reached = unpacked(self.search, left), float(left.pop("champion.fitness"))
        self.search.load_state_dict({key.removeprefix("search."): tensor for key, tensor in left.items()})

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, *in) -> (N, C), by the champion."""
        return self.champion()(x)
