"""The seeds of every rule of a comparison side by side in this process, one rule after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from altprop.data import Dataset
from altprop.pool.workers import Workers
from altprop.run.experiment import begin
from altprop.run.machine import within_memory
from altprop.run.recipe import RunError
from altprop.study.outcomes import Outcome, Progress, Sets, check_same_run, failed, finished, folder
from altprop.study.plan import Plan
from altprop.together.seats import together

OF_SEEDS = ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val", "x_unlabelled")  # what a split may make differ


def check_together(plan: Plan, workers: Workers) -> None:
    """Raises ``RunError`` where the seeds of a plan cannot be trained in one process on this processor."""
    if not workers.follow:
        raise RunError(f"together came beside {workers}: it trains all seeds in one process, leave one of them out")
    if plan.base.precision != "float32":
        raise RunError(f"together came beside precision = '{plan.base.precision}': it is for float32, leave one out")
    if plan.base.compile:
        raise RunError("together came beside compile: one graph for all seeds is not compiled, leave one out")
    if plan.base.device != "cpu":
        raise RunError(f"together came beside device = '{plan.base.device}': it is for the cpu, leave it out there")


def train_together(
    plan: Plan, rules: Sequence[str], sets: Sets, out: Path | None, progress: Progress | None
) -> dict[str, list[Outcome]]:
    """Every rule with all of its seeds at once: {rule: one outcome a seed}, as ``train_all`` gives them."""
    ends: dict[str, list[Outcome]] = {}
    data = _shared([sets.of(seed) for seed in plan.seeds])
    for rule in rules:
        if progress is not None:
            progress(
                f"{rule}, seeds {plan.seeds[0]} to {plan.seeds[-1]}", len(ends) * len(data), len(rules) * len(data)
            )
        ends[rule] = _trained(plan, rule, data, out)
    return ends


@within_memory()
def _trained(plan: Plan, rule: str, data: Sequence[Dataset], out: Path | None) -> list[Outcome]:
    starts = []
    for seed, own in zip(plan.seeds, data, strict=True):
        recipe, path = plan.recipe(rule, seed), folder(out, rule, seed)
        starts.append(partial(begin, recipe, own, path, check_same_run(recipe, own, path)))
    told = together(starts)
    return [
        failed(each, seed) if isinstance(each, Exception) else finished(each, own)
        for each, seed, own in zip(told, plan.seeds, data, strict=True)
    ]


def _shared(data: list[Dataset]) -> list[Dataset]:
    """The same set once, where the seeds do not split it, so that memory holds no copies."""
    first = data[0]
    return [first if _alike(first, each) else each for each in data]


def _alike(one: Dataset, other: Dataset) -> bool:
    for name in OF_SEEDS:
        left, right = getattr(one, name), getattr(other, name)
        if (left is None) != (right is None):
            return False
        if isinstance(left, Tensor) and not (left.shape == right.shape and torch.equal(left, right)):
            return False
    return True
