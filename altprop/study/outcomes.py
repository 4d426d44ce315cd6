"""The runs of a comparison: one after the other here, or by other processes of one thread each, to the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from altprop.core import Refused
from altprop.data import Dataset, TableEncoding
from altprop.measure.missing import reason
from altprop.pool.pool import Ended, Here, Job, Pool
from altprop.run.build import resolve
from altprop.run.directory.store import RunDirectory
from altprop.run.experiment import Result, dataset_of, resume_recipe, run_recipe
from altprop.run.inputs import load_data, suited_data
from altprop.run.metrics import test_scores
from altprop.run.recipe import BESIDE, Recipe, RunError
from altprop.run.train import Diverged
from altprop.study.baseline import trivial
from altprop.study.plan import Plan

TRIES = 3  # of a run whose process dies: it goes on from its checkpoint in another
Progress = Callable[[str, int, int], None]  # (what is under way, how many runs have ended, of how many)


def silence(what: str, done: int, total: int) -> None:
    """The progress of who wants to hear none."""


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
        self.known: dict[int, Dataset] = {}

    def of(self, seed: int) -> Dataset:
        if seed not in self.known:
            recipe = self.plan.base.with_(seed=seed)
            named = self.given is None
            self.known = {seed: load_data(recipe, self.table) if named else dataset_of(self.given, recipe)}
        return self.known[seed]

    def sent(self) -> Sets:
        """As other processes get it: data that have a name are loaded there, what came from Python is handed over."""
        sets = Sets(self.plan, None, self.table)
        if self.given is not None:
            sets.known = {seed: self.of(seed) for seed in self.plan.seeds}
        return sets


def train_all(
    plan: Plan, rules: Sequence[str], pool: Pool, out: Path | None, progress: Progress | None
) -> dict[str, list[Outcome]]:
    """Every rule with every seed, by a pool that shares the ``Sets``: {rule: one outcome a seed}."""
    pairs = {f"{rule}, seed {seed}": (rule, seed) for seed in plan.seeds for rule in rules}
    work = run_here if isinstance(pool, Here) else run_there
    queue = [Job(name, work, (plan.recipe(*pair), folder(out, *pair)), TRIES) for name, pair in pairs.items()]
    outcomes: dict[tuple[str, int], Outcome] = {}
    tell = progress or silence

    def ended(run: Ended) -> None:
        pair = pairs[run.job.name]
        outcomes[pair] = _told(run, pair[1])
        under_way = (name for name, pair in pairs.items() if pair not in outcomes)
        tell(next(under_way, run.job.name), len(outcomes), len(pairs))

    if queue:
        tell(queue[0].name, 0, len(pairs))
    pool.run(queue, ended)
    return {rule: [outcomes[rule, seed] for seed in plan.seeds] for rule in rules}


def folder(out: Path | None, rule: str, seed: int) -> Path | None:
    return None if out is None else out / f"{rule}-seed{seed}"


def begun(path: Path) -> bool:
    """Whether a run has left there what it can go on from."""
    return any((path / name).exists() for name in ("checkpoint/state.json", "model.safetensors"))


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
    """Whether a run lies there that can be gone on with; raises ``RunError`` where it is that of another recipe."""
    if path is None:
        return False
    if not begun(path) and (path / "recipe.toml").exists():
        RunDirectory(path).remove()  # it was killed before its first checkpoint
    if begun(path) and not _alike(RunDirectory.open(path).recipe(), resolve(recipe, data)):
        raise RunError(f"{path} holds a run of another recipe: choose another --out")
    return begun(path)


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
    """What a run has to say."""

    outcome: Outcome | RunError  # an error that ends the comparison
    warnings: list[warnings.WarningMessage | Warning]


def run_here(sets: Sets, recipe: Recipe, path: Path | None) -> Told:
    """``run`` in this process, which raises and warns by itself."""
    return Told(run(recipe, sets.of(recipe.seed), path), [])


def run_there(sets: Sets, recipe: Recipe, path: Path | None) -> Told:
    """``run`` in another process, which says nothing by itself."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        outcome: Outcome | RunError
        try:
            outcome = run(recipe, sets.of(recipe.seed), path)
        except (RunError, Refused, OSError) as error:
            outcome = RunError(str(error))
    own = [each.message for each in told if type(each.message).__module__.startswith("altprop.")]
    return Told(outcome, [message for message in own if isinstance(message, Warning)])


def _told(ended: Ended, seed: int) -> Outcome:
    """What a run has said, or how its process died."""
    if ended.death:
        what = f"{ended.job.name}: {ended.death}"
        return Failed(seed, f"failed: {ended.death}", f"{what}; run it again with fewer --jobs")
    for warning in ended.value.warnings:
        warnings.warn(warning, stacklevel=2)
    if isinstance(ended.value.outcome, RunError):
        raise ended.value.outcome
    outcome: Outcome = ended.value.outcome
    return outcome
