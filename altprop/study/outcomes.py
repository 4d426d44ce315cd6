"""The runs of a comparison: one after the other, or in processes of one thread each, to the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from altprop.core import Refused
from altprop.data import Dataset, TableEncoding
from altprop.measure.missing import reason
from altprop.run.build import resolve
from altprop.run.directory.store import RunDirectory
from altprop.run.experiment import Result, dataset_of, resume_recipe, run_recipe
from altprop.run.inputs import load_data, suited_data
from altprop.run.metrics import test_scores
from altprop.run.recipe import BESIDE, Recipe, RunError
from altprop.run.train import Diverged
from altprop.study.baseline import trivial
from altprop.study.plan import Plan
from altprop.study.pool import Ended, Job, in_processes

Progress = Callable[[str, int, int], None]  # (what runs or has ended, how many have, of how many)


class Failed(NamedTuple):
    """A run that did not end: {"seed": 0, "reason": "diverged at epoch 3, step 120, in layer ..."}."""

    seed: int | None  # None: the rule cannot work with this net and these data at all
    reason: str
    message: str  # what is said where nothing else is left to say


class Finished(NamedTuple):
    """What of a run goes into the table."""

    recipe: Recipe
    metrics: list[dict[str, Any]]
    scores: dict[str, float | None]  # of a regression: test_r2, test_mae, test_rmse, and val_ where there is a part
    one_class: bool
    trivial: dict[str, float | None]  # what an answer that has learned nothing reaches on the same data


Outcome = Finished | Failed


class Sets:
    """The data of each seed, of which the last is kept; split by the seed where the files do not split them."""

    def __init__(self, plan: Plan, given: Any, table: TableEncoding | None) -> None:
        self.plan, self.given, self.table = plan, given, table
        self.last: tuple[int, Dataset] | None = None

    def of(self, seed: int) -> Dataset:
        if self.last is None or self.last[0] != seed:
            self.last = (seed, _load(self.plan.base.with_(seed=seed), self.given, self.table))
        return self.last[1]


def _load(recipe: Recipe, given: Any, table: TableEncoding | None) -> Dataset:
    return load_data(recipe, table) if given is None else dataset_of(given, recipe)


def train_all(
    plan: Plan, rules: Sequence[str], sets: Sets, out: Path | None, jobs: int, progress: Progress | None
) -> dict[str, list[Outcome]]:
    """Every rule with every seed: {rule: one outcome a seed}."""
    pairs = [(rule, seed) for seed in plan.seeds for rule in rules]
    tell = progress or (lambda what, done, total: None)
    if jobs > 1:
        ended = _side_by_side(plan, pairs, sets, out, jobs, tell)
    else:
        ended = {}
        for done, (rule, seed) in enumerate(pairs):
            tell(f"{rule}, seed {seed}", done, len(pairs))
            ended[rule, seed] = run(plan.recipe(rule, seed), sets.of(seed), folder(out, rule, seed))
    return {rule: [ended[rule, seed] for seed in plan.seeds] for rule in rules}


def folder(out: Path | None, rule: str, seed: int) -> Path | None:
    return None if out is None else out / f"{rule}-seed{seed}"


def run(recipe: Recipe, data: Dataset, path: Path | None) -> Outcome:
    """One run, new or gone on with."""
    known = check_same_run(recipe, data, path)
    try:
        if path is not None and known:
            return finished(resume_recipe(path, data), data)
        return finished(run_recipe(recipe, data, out=path), data)
    except (Refused, RunError, RuntimeError) as error:
        return failed(error, recipe.seed)


def check_same_run(recipe: Recipe, data: Dataset, path: Path | None) -> bool:
    """Whether a run lies there; raises ``RunError`` where it is that of another recipe."""
    known = path is not None and (path / "recipe.toml").exists()
    if path is not None and known and not _alike(RunDirectory.open(path).recipe(), resolve(recipe, data)):
        raise RunError(f"{path} holds a run of another recipe: choose another --out")
    return known


def failed(error: Exception, seed: int) -> Failed:
    """What a run's error says of it; raises one that ends the others as well."""
    if isinstance(error, Diverged):
        return Failed(seed, f"diverged {error.where}: {error.what}", str(error))
    if isinstance(error.__cause__, OSError):  # a full disk is full for the others as well
        raise error
    return Failed(seed, f"failed: {reason(error)}", reason(error))


def _alike(one: Recipe, other: Recipe) -> bool:
    """Whether two runs are the same but for where they are made, and with how many threads."""
    return one.seed == other.seed and one.model_dump(exclude=BESIDE) == other.model_dump(exclude=BESIDE)


def finished(result: Result, data: Dataset) -> Finished:
    scores = {f"test_{name}": value for name, value in result.scores.items()}
    if result.scores and data.x_val is not None and data.y_val is not None:
        held_out = replace(suited_data(data, result.net), x_test=data.x_val, y_test=data.y_val)
        scores |= {f"val_{name}": value for name, value in test_scores(result.rule, held_out).items()}
    return Finished(result.recipe, result.metrics, scores, result.standard.one_class, trivial(data))


class Told(NamedTuple):
    """What comes back from a process."""

    outcome: Outcome | RunError  # an error that ends the comparison
    warnings: list[warnings.WarningMessage | Warning]


def work(recipe: Recipe, given: Dataset | None, table: TableEncoding | None, path: Path | None) -> Told:
    """``run`` in a process of its own, which says nothing by itself."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        outcome: Outcome | RunError
        try:
            outcome = run(recipe, _load(recipe, None, table) if given is None else given, path)
        except (RunError, Refused, OSError) as error:
            outcome = RunError(str(error))
    own = [each.message for each in told if type(each.message).__module__.startswith("altprop.")]
    return Told(outcome, [message for message in own if isinstance(message, Warning)])


def _side_by_side(
    plan: Plan, pairs: Sequence[tuple[str, int]], sets: Sets, out: Path | None, jobs: int, tell: Progress
) -> dict[tuple[str, int], Outcome]:
    """In so many processes.  Data that have a name are loaded there; what came from Python is handed over."""
    outcomes: dict[tuple[str, int], Outcome] = {}
    queue = [
        Job(
            f"{rule}, seed {seed}",
            work,
            (
                plan.recipe(rule, seed),
                None if sets.given is None else sets.of(seed),
                sets.table,
                folder(out, rule, seed),
            ),
        )
        for rule, seed in pairs
    ]
    by_name = dict(zip((job.name for job in queue), pairs, strict=True))

    def ended(process: Ended) -> None:
        pair = by_name[process.job.name]
        outcomes[pair] = _told(process, pair[1])
        tell(process.job.name, len(outcomes), len(pairs))

    in_processes(queue, jobs, ended)
    return outcomes


def _told(process: Ended, seed: int) -> Outcome:
    """What a process has said, or how it died."""
    if process.value is None:
        death = process.death or f"its process ended with status {process.status}"
        return Failed(seed, f"failed: {death}", f"{process.job.name}: {death}; run it again with fewer --jobs")
    for warning in process.value.warnings:
        warnings.warn(warning, stacklevel=2)
    if isinstance(process.value.outcome, RunError):
        raise process.value.outcome
    return process.value.outcome
