"""The tuning of a whole comparison: one job a rule, and the plan with what each has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from altprop.core import Refused
from altprop.data import DataError, Dataset, TableEncoding
from altprop.pool.pool import Ended, Job
from altprop.pool.workers import ALONE, Workers, run_jobs
from altprop.run.learner import Learner
from altprop.run.recipe import Recipe, RunError
from altprop.study.keys import changes
from altprop.study.outcomes import TRIES, Progress, Sets
from altprop.study.plan import Plan
from altprop.study.sampler import NAME, optuna
from altprop.study.space import edges
from altprop.study.trials import without_test
from altprop.study.tuning import Task, Tuning, best_of, make_task, tune, tuning_seed
from altprop.study.unseen import tuning_data


def untuned(plan: Plan) -> Plan:
    """The plan of the runs after the tuning, which learn from the whole training part."""
    return replace(plan, base=plan.base.with_(val=0.0))


def tuned(
    plan: Plan, tuning: Tuning, learners: Mapping[str, Learner], sets: Sets, val: float, out: Path | None,
    workers: Workers, tell: Progress,
) -> tuple[Plan, dict[str, Any]]:  # fmt: skip
    """(The plan with the best values of each rule that can be built, what ``Tuned`` takes).

    Raises ``RunError`` where a rule cannot be tuned so, before the first is, and ``Interrupted``."""
    optuna()  # which says at once that it is not there
    rules = [rule for rule in plan.rules if rule in learners]
    tasks = [make_task(plan, tuning, rule, learners[rule], val, out) for rule in rules]
    base = plan.base.with_(seed=tuning_seed(plan.seeds), val=val)
    data = _samples(base, plan.seeds, sets.given, sets.table)
    found = _all(tasks, data, workers, tell, (base, plan.seeds, None if sets.given is None else data, sets.table))
    told = {task.rule: _told(task, found[task.rule]["trials"]) for task in tasks}
    return _with(plan, tasks, told), {
        "trials": tuning.trials, "epochs": tasks[0].recipe.epochs if tasks else None, "samples": len(data.x_train),
        "val_samples": len(data.x_test), "seed": base.seed, "sampler": NAME, "rules": told,
    }  # fmt: skip


def _samples(base: Recipe, seeds: Sequence[int], given: Any, table: TableEncoding | None) -> Dataset:
    return without_test(tuning_data(base, seeds, given, table))


def work(
    task: Task, base: Recipe, seeds: Sequence[int], data: Dataset | None, table: TableEncoding | None
) -> dict[str, Any] | RunError:  # fmt: skip
    """``tune`` in a process of its own; data that have a name are loaded there."""
    try:
        return tune(task, _samples(base, seeds, None, table) if data is None else data)
    except (RunError, Refused, DataError, OSError) as error:
        return RunError(str(error))


def _all(
    tasks: Sequence[Task], data: Dataset, workers: Workers, tell: Progress, given: tuple[Any, ...]
) -> dict[str, dict[str, Any]]:
    """The trials of every rule, here or wherever others work."""
    found: dict[str, dict[str, Any]] = {}

    def ended(run: Ended) -> None:
        rule, value = run.job.arguments[0].rule, run.value
        if run.death:
            value = RunError(f"{run.job.name}: {run.death}; go on with the same command, with fewer --jobs")
        if isinstance(value, RunError):
            raise value
        found[rule] = value
        tell(next((task.rule for task in tasks if task.rule not in found), rule), len(found), len(tasks))

    queue = [
        Job(f"{task.rule}, tuning", tune, (task, data)) if workers.follow
        else Job(f"{task.rule}, tuning", work, (task, *given), TRIES) for task in tasks
    ]  # fmt: skip
    run_jobs(queue, ALONE if workers.follow else workers, ended)
    return found


def _told(task: Task, trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    best = best_of(trials)
    return {
        "space": {key: one.text for key, one in task.space.items()}, "trials": list(trials), "best": best,
        "edge": [] if best is None else [*edges(task.space, trials[best]["values"], (t["values"] for t in trials))],
        "start": None if task.start is None else dict(task.start),
    }  # fmt: skip


def _with(plan: Plan, tasks: Sequence[Task], told: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan with the best values as each rule's own; a rule no trial of which has ended keeps what it had."""
    own = dict(plan.own)
    for task in tasks:
        trials, best = told[task.rule]["trials"], told[task.rule]["best"]
        if best is not None:
            found = changes(task.recipe, trials[best]["values"])
            own[task.rule] = {**own.get(task.rule, {}), **found}
    return replace(plan, own=own)


def beside(row: Mapping[str, Any], tuning: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row with what its rule was tuned to, what that reached on the validation part, and what lies at an edge."""
    told = (tuning or {"rules": {}})["rules"].get(row["rule"])
    if told is None:
        return dict(row)
    best = None if told["best"] is None else told["trials"][told["best"]]
    return {
        **row, "tuned": best and best["values"], "tuned_val": best and best["value"], "tuned_edge": told["edge"],
        "tuned_trials": len(told["trials"]),
    }  # fmt: skip
