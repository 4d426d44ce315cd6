"""A rule at work: everything a run needs, and how it learns from one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer, Rule
from altprop.data import Dataset
from altprop.run.compiling import Compiling, Take
from altprop.run.optimizers import find_schedule, make_optimizers, streams
from altprop.run.phases import Turn, parameters_of
from altprop.run.precision import PRECISIONS
from altprop.run.recipe import Recipe
from altprop.run.team import ALONE, Team


@dataclass
class Learner:
    """A rule, its net and its data, standing in one of the turns of its run.

    What stands there as plain attributes is of that turn: turn, samples, weights, streaming, steppers, schedule."""

    recipe: Recipe
    data: Dataset
    net: nn.Module
    rule: Rule
    turns: list[Turn]
    order: torch.Generator  # of the training samples, and of what augmentation does to them
    augment: Callable[[Tensor, torch.Generator], Tensor]
    plastic: frozenset[nn.Parameter]  # what may learn, when it is its turn
    before: int = 0  # epochs of the turns before
    planned: int = 0  # epochs of the whole run
    solve: Callable[[], None] | None = None  # in place of all batches, where what learns is computed
    scratch: Path | None = None  # a folder for what does not fit into memory
    team: Team = ALONE  # who takes the steps
    at: Learner | None = None  # what is at work in the turn under way: itself, or a head on top of it

    def __post_init__(self) -> None:
        self.planned = self.planned or sum(turn.epochs for turn in self.turns)
        self.stand(0)
        self.at = None if self.turn.head else self

    def stand(self, index: int) -> None:
        """Take the turn of that number: its optimizers and schedule, anew."""
        self.turn = self.turns[index]
        self.before = self.before if index == 0 else sum(turn.epochs for turn in self.turns[:index])
        self.let_all_learn()
        x, y, unlabelled = self.data.x_train, self.data.y_train, self.data.x_unlabelled
        self.samples, self.weights = (x, y), self.data.weights  # (N,): what each sample counts
        if unlabelled is not None and not self.turn.labels:
            self.samples, self.weights = (unlabelled, y.new_zeros(len(unlabelled), *y.shape[1:])), None
        phases = zip(self.turn.phases, self.turn.recipes, strict=True)
        parts = [(own, parameters_of(phase.moves)) for phase, own in phases]
        self.streaming = streams(self.turn.recipe, self.rule)
        self.steppers = make_optimizers(self.rule, parts, self.streaming)
        self.schedule = find_schedule(self.turn.recipe.schedule, self.turn.epochs)
        self.credit_of_batch: Take = self._credit
        if self.recipe.compile:
            learning = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
            size = min(self.turn.recipe.batch, len(self.samples[0]))
            self.credit_of_batch = Compiling(self.rule, learning, self._credit, size, self.streaming)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [optimizer for own in self.steppers.values() for optimizer in own]

    @property
    def rate(self) -> float | None:
        """That of the first thing that is stepped."""
        return None if self.solve else self.optimizers[0].param_groups[0]["lr"]

    @property
    def reads(self) -> bool:
        """Whether the output means something: the last layer has learned, or learns in this turn."""
        reached = self.turns[: self.turns.index(self.turn) + 1]
        last = set(self.rule.layers[-1].synapse.parameters())
        return not last or any(last & turn.moved for turn in reached)

    def enter(self, epoch: int) -> None:
        """Set modes, what learns and the learning rates of an epoch of the turn, counted from 0."""
        moved = self.turn.moved
        for parameter in self.plastic:
            parameter.requires_grad_(parameter in moved)
        self.rule.eval()
        self.rule.training = True
        for module in self.turn.moves:
            module.train()
        self.anneal(epoch)

    def let_all_learn(self) -> None:
        for parameter in self.plastic:
            parameter.requires_grad_()

    def hand_back(self) -> None:
        """Rule and net as they are used: in eval mode, no gradients left over, a net that the run built not frozen."""
        self.let_all_learn()
        self.rule.eval()
        self.rule.zero_grad(set_to_none=True)
        if self.recipe.net != "custom":
            self.net.requires_grad_()

    def anneal(self, epoch: float) -> None:
        """Set the learning rate of an epoch of the turn, counted from 0, or of a moment in it."""
        factor = self.schedule(epoch)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def step(self, x: Tensor, y: Any) -> float:
        """One batch: credit, then the optimizer's step unless the loss is not finite; with ``stream`` each layer's step
        as soon as it can.  Returns the loss."""
        return self.team.step(self, x, y if self.turn.labels else None)

    def credit(self, x: Tensor, y: Any, ready: Callable[[Layer], None] | None = None) -> Tensor:
        """What the turn's phases make of a batch, in the recipe's precision; returns the loss, a scalar."""
        return self.credit_of_batch(x, y) if ready is None else self._credit(x, y, ready)

    def _credit(self, x: Tensor, y: Any, ready: Callable[[Layer], None] | None = None) -> Tensor:
        with PRECISIONS[self.recipe.precision]():
            return self.turn.step(x, y, ready)

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def descend(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def update(self, layer: Layer) -> None:
        """Step one layer, where each is stepped by itself."""
        for optimizer in self.steppers.get(layer, []):
            optimizer.step()
            optimizer.zero_grad()
