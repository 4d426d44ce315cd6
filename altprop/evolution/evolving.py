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
from altprop.evolution.champion import net_of
from altprop.evolution.evaluation import Evaluator
from altprop.evolution.recipe import SearchRecipe
from altprop.tasks import Task

COUNTED = ("generation", "evaluations", "failed", "best")  # in every row already
LEVELS = {"lower": 0.25, "median": 0.5, "upper": 0.75}  # of the fitness of a generation


@dataclass
class Evolving:
    """A ``Trainee``: a search, its task, and what evaluates the one by the other."""

    recipe: SearchRecipe
    search: Any  # a Search that counts: generation, evaluations, failed, and by reached the best fitness so far
    task: Task
    unseen: Task | None = None  # like the task, but of samples that none is chosen by
    data: Dataset | None = None
    seconds: float = 0.0  # of evaluation and search
    fitness: Tensor = field(default_factory=lambda: torch.zeros(0))  # (P,) of the last generation

    def step(self, evaluator: Evaluator) -> float:
        """One generation: ask, evaluate, tell.  Returns less the best fitness so far."""
        start = time.perf_counter()
        population = self.search.ask()
        self.fitness = evaluator(population, self.search.generation)
        self.search.tell(self.fitness)
        self.seconds += time.perf_counter() - start
        return -self.search.reached

    @property
    def done(self) -> bool:
        """Whether the task is solved, or all generations have been."""
        return self.search.generation >= self.recipe.generations or self.search.reached >= self.task.solved

    def row(self) -> dict[str, Any]:
        """What metrics.jsonl keeps of a generation: the fitness with its spread, what the search tells of itself, and
        what its champion does."""
        search, f = self.search, self.fitness[self.fitness.isfinite()]
        spread = dict(zip(LEVELS, f.quantile(f.new_tensor([*LEVELS.values()])).tolist(), strict=True)) if len(f) else {}
        spread |= {"mean": float(f.mean()), "std": float(f.std(correction=0))} if len(f) else {}
        told = search.watch() if hasattr(search, "watch") else {}
        row: dict[str, Any] = {
            "generation": search.generation, "evaluations": search.evaluations, "failed": search.failed,
            "best": search.reached if math.isfinite(search.reached) else None,
            "fitness": {name: value for name, value in spread.items() if math.isfinite(value)},
            "watch": {name: value for name, value in told.items() if name not in COUNTED},
            "seconds": round(self.seconds, 4),
        }  # fmt: skip
        if math.isfinite(search.reached):
            alone = Alone(self.champion(), len(self.task.inputs))
            row["told"] = self.task.told(alone)
            unseen = {} if self.unseen is None else self.unseen.told(alone)
            row |= {f"test_{name}": value for name, value in unseen.items()}
        return row

    def champion(self) -> nn.Module:
        """The fittest individual so far, as an ordinary module."""
        return net_of(self.search.best())

    def state(self) -> dict[str, Tensor]:
        """All that the next generation depends on, no two tensors of one memory."""
        return {key: tensor.clone() for key, tensor in self.search.state_dict().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.search.load_state_dict(dict(state))

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, *in) -> (N, C), by the champion."""
        return self.champion()(x)


class Alone:
    """One net as a population of one.  dimensions: of one input, (*in)."""

    def __init__(self, net: nn.Module, dimensions: int) -> None:
        self.net, self.dimensions = net.eval(), dimensions

    def __len__(self) -> int:
        return 1

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """x (N, *in) or (1, N, *in) -> (1, N, C)."""
        return self.net(x[0] if x.dim() > self.dimensions + 1 else x)[None]

    def reset(self) -> None:
        """Forget what it remembers."""
        forget = getattr(self.net, "reset", None)
        if forget is not None:
            forget()
