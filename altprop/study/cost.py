"""What each rule costs: operations, memory and time, measured once a rule; none of it ends a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

from torch import Tensor

from altprop.data import Dataset, as_float
from altprop.measure import held, multiply_adds, peak_activation_bytes, state_bytes
from altprop.measure.missing import reason, tell
from altprop.measure.probe import in_mode
from altprop.run.build import prepare
from altprop.run.learner import Learner

ROUNDS, STEP_SECONDS = 15, 0.01  # of the timing: rounds over all rules, and at least so long for each in a round

MEASURES: dict[str, Callable[[Learner, Tensor, Tensor], float]] = {
    "multiply_adds": lambda learner, x, y: multiply_adds(learner.rule, x, y),
    "parameter_bytes": lambda learner, x, y: held(learner.rule).parameters,
    "feedback_bytes": lambda learner, x, y: held(learner.rule).feedback,
    "peak_activation_bytes": lambda learner, x, y: peak_activation_bytes(learner.rule, x, y),
    "optimizer_bytes": lambda learner, x, y: _optimizer_bytes(learner, x, y),
}


def costs(rule: str, learner: Learner) -> dict[str, float | None]:
    """Of one ``credit`` in train mode on the first batch, and of one step; None where it cannot be measured."""
    measured: dict[str, float | None] = dict.fromkeys(MEASURES)
    for name, measure in MEASURES.items():
        try:
            with in_mode(learner.rule, training=True):
                measured[name] = measure(learner, *_batch(learner))
        except Exception as error:  # hours of training stand behind a measure
            tell(f"{name} of {rule}", reason(error))
    return measured


def _optimizer_bytes(learner: Learner, x: Tensor, y: Tensor) -> int:
    """After a step, which tells what is kept; it moves the weights, so it comes last."""
    learner.step(x, y)
    return sum(map(state_bytes, learner.optimizers))


def step_ratios(learners: Mapping[str, Learner], data: Dataset, reference: str) -> dict[str, float]:
    """Time of one step of each rule over one of the reference: the median over rounds in which every rule has its turn;
    without those that cannot take one, and nothing where the reference is among them."""
    steps: dict[str, Callable[[], Any]] = {}
    slowest = 0.0
    for rule, learner in learners.items():
        try:
            timed = prepare(learner.recipe.with_(stream=False), data)
            steps[rule] = partial(timed.step, *_batch(timed))
            slowest = max(slowest, _seconds(steps[rule], 2))
        except Exception as error:  # as above
            tell(f"step_ratio_to_{reference} of {rule}", reason(error))
            steps.pop(rule, None)
    if reference not in steps:
        return {}
    repeats = max(1, round(STEP_SECONDS / slowest))
    rounds = [{rule: _seconds(step, repeats) for rule, step in steps.items()} for _ in range(ROUNDS)]
    return {rule: median(times[rule] / times[reference] for times in rounds) for rule in steps}


def _seconds(step: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def _batch(learner: Learner) -> tuple[Tensor, Tensor]:
    recipe, data = learner.recipe, learner.data
    return as_float(data.x_train[: recipe.batch]).to(recipe.device), data.y_train[: recipe.batch].to(recipe.device)
