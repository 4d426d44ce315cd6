"""Every rule under one protocol: one net, data, epochs and seeds, the same initial weights and order of samples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NamedTuple

from scipy.stats import t as student_t
from torch import Tensor

from altprop.core import Refused
from altprop.data import Dataset, as_float
from altprop.measure import peak_activation_bytes
from altprop.measure.missing import reason, tell
from altprop.measure.probe import in_mode
from altprop.report.page import write_report
from altprop.rules import RULES
from altprop.run.directory.files import sweep
from altprop.run.directory.store import RunDirectory, check_free, failed_write, write_atomically
from altprop.run.experiment import Result, resume_recipe, run_recipe
from altprop.run.isolated import isolated
from altprop.run.learner import Learner, load_data, prepare, resolve
from altprop.run.machine import within_memory
from altprop.run.metrics import majority
from altprop.run.readout import SOLVED
from altprop.run.recipe import Recipe, RunError
from altprop.run.train import Diverged

ROUNDING = 1e-9  # of differences between accuracies
ROUNDS, STEP_SECONDS = 15, 0.01  # of the timing: rounds over all rules, and at least so long for each in a round


class Failed(NamedTuple):
    """A run of a comparison that did not end: {"seed": 0, "reason": "diverged at epoch 3, step 120, in layer ..."}."""

    seed: int | None  # None: the rule cannot work with this net and these data at all
    reason: str
    error: Exception


@within_memory()
@isolated()
def compare(
    rules: Sequence[str],
    seeds: Sequence[int],
    recipes: Callable[[str, int], Recipe],
    out: Path,
    data: Dataset | None = None,
    progress: Callable[[str, int], None] | None = None,
    lenient: bool = False,
) -> dict[str, Any]:
    """Train every rule with every seed, and write runs, comparison.json and report.html below ``out``.

    recipes: (rule, seed) -> its recipe.  Runs of a comparison that was stopped, in ``out`` already, are gone on with.
    A run that fails does not end the others: the row of its rule says where and why.  lenient: so does that of a rule
    that refuses net or data, which else is told before anything is trained.
    Returns what ``altprop compare --json`` prints; raises the first error where no run ends."""
    children = [out / f"{rule}-seed{seed}" for seed in seeds for rule in rules]
    if not any((child / "recipe.toml").exists() for child in children):
        check_free(out)
    sweep(out)
    first = recipes(rules[0], seeds[0])
    begun = next((child for child in children if (child / "recipe.toml").exists()), None)
    table = None if begun is None else RunDirectory.open(begun).table()
    sets = {seed: data or load_data(recipes(rules[0], seed), table) for seed in seeds}
    data = sets[seeds[0]]
    timed = {"bp": first.by_rule("bp"), **{rule: recipes(rule, seeds[0]) for rule in rules}}
    learners, refused = _prepared(timed, data, lenient)
    runs: dict[str, list[Result | Failed]] = {rule: [*refused.get(rule, [])] for rule in rules}
    for seed in seeds:
        for rule in (rule for rule in rules if rule in learners):
            if progress is not None:
                progress(rule, seed)
            runs[rule].append(_run(recipes(rule, seed), sets[seed], out / f"{rule}-seed{seed}"))
    _check_any(runs)
    ratios = step_ratios({rule: recipe for rule, recipe in timed.items() if rule in learners}, data)
    last = next(learners[rule].recipe for rule in rules if rule in learners)
    comparison = {
        "data": first.data, "net": last.net, "epochs": last.epochs, "seeds": list(seeds), "scale": last.scale,
        "report": str(out / "report.html"), "majority": majority(data.y_test),
        "rows": [_row(rule, runs[rule], runs.get("bp"), timed[rule], learners.get(rule), ratios) for rule in rules],
    }  # fmt: skip
    write_atomically(out / "comparison.json", json.dumps(comparison, indent=1))
    try:
        write_report(out)
    except OSError as error:
        raise failed_write(out / "report.html", error) from error
    return comparison


def _prepared(
    recipes: dict[str, Recipe], data: Dataset, lenient: bool
) -> tuple[dict[str, Learner], dict[str, list[Failed]]]:
    """What can be built, and what refuses; what cannot be built is told before anything is trained."""
    learners, refused = {}, {}
    for rule, recipe in recipes.items():
        try:
            learners[rule] = prepare(recipe, data)
        except (Refused, RunError) as error:
            if not lenient or rule == "bp":
                raise
            refused[rule] = [Failed(None, f"refused: {reason(error)}", error)]
    return learners, refused


def _run(recipe: Recipe, data: Dataset, path: Path) -> Result | Failed:
    known = (path / "recipe.toml").exists()
    if known and RunDirectory.open(path).recipe() != resolve(recipe, data):
        raise RunError(f"{path} holds a run of another recipe: choose another --out")
    try:
        return resume_recipe(path, data) if known else run_recipe(recipe, data, out=path)
    except Diverged as error:
        return Failed(recipe.seed, f"diverged {error.where}: {error.what}", error)
    except (Refused, RunError, RuntimeError) as error:
        if isinstance(error.__cause__, OSError):  # a full disk is full for the others as well
            raise
        return Failed(recipe.seed, f"failed: {reason(error)}", error)


def _check_any(runs: dict[str, list[Result | Failed]]) -> None:
    every = [run for each in runs.values() for run in each]
    failed = [run for run in every if isinstance(run, Failed)]
    if len(failed) == len(every):
        raise failed[0].error


def _row(
    rule: str, runs: list[Result | Failed], bp: list[Result | Failed] | None, recipe: Recipe, learner: Learner | None,
    ratios: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    ended, failed = _split(runs)
    own, others = _accuracies(runs), [] if rule == "bp" else _accuracies(bp or [])
    difference, low, high = paired_difference(own, others)
    accuracies = _accuracies(ended)
    recipe = ended[0].recipe if ended else learner.recipe if learner else recipe
    trained = ended[0].rule if ended else learner.rule if learner else RULES[rule]
    balanced: list[Any] = [run.metrics[-1].get("test_balanced_accuracy") for run in ended]
    return {
        "rule": rule,
        "family": trained.family,
        "activation": recipe.act,
        "lr": recipe.rate_used,
        "test_accuracy_mean": mean(accuracies) if accuracies else None,
        "test_accuracy_std": stdev(accuracies) if len(accuracies) > 1 else None,
        "test_balanced_accuracy_mean": mean(balanced) if balanced and None not in balanced else None,
        "one_class": bool(ended) and all(run.standard.one_class for run in ended),
        "test_loss_mean": mean(run.metrics[-1]["test_loss"] for run in ended) if ended else None,
        "test_r2_mean": _mean_of(ended, "r2"),
        "n": len(ended),
        "failed": [{"seed": run.seed, "reason": run.reason} for run in failed],
        "difference_to_bp": difference,
        "difference_low": low,
        "difference_high": high,
        "coincide": difference is not None and low is not None and low == high,
        "seconds_per_epoch": median(_epoch_seconds(ended)) if ended else None,
        "step_ratio_to_bp": ratios.get(rule),
        "peak_activation_bytes": _peak(ended[0] if ended else learner, learner),
        "claims": asdict(trained.claims),
        "net": recipe.net,
        "readout": readout_of(ended[0]) if ended else None,
    }


def _split(runs: Sequence[Result | Failed]) -> tuple[list[Result], list[Failed]]:
    return [run for run in runs if isinstance(run, Result)], [run for run in runs if isinstance(run, Failed)]


def _accuracies(runs: Sequence[Result | Failed]) -> list[float]:
    """Of all runs; none where one has not ended, since the rest of them would flatter the rule in a difference."""
    accuracies = [run.test_accuracy for run in runs if isinstance(run, Result)]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return known if len(known) == len(runs) else []


def _peak(one: Result | Learner | None, learner: Learner | None) -> int | None:
    if one is None or learner is None:
        return None
    try:
        with in_mode(one.rule, training=True):
            return peak_activation_bytes(one.rule, *_batch(learner.recipe, learner.data))
    except Exception as error:  # as in measured_row: hours of training stand behind a measure
        tell(f"peak_activation_bytes of {learner.recipe.rule}", reason(error))
        return None


def _mean_of(runs: list[Result], score: str) -> float | None:
    """Of a regression's score over the seeds; None for classes, and where one run has none."""
    values = [value for run in runs if (value := run.scores.get(score)) is not None]
    return mean(values) if values and len(values) == len(runs) else None


def readout_of(run: Result) -> str | None:
    """What the last layer saw of the labels where the layers below saw none of them."""
    if run.rule.claims.labels or not getattr(run.rule, "readout", False):
        return None
    told = run.recipe.readout
    steps = f"by {told.by}" if told.by in SOLVED else f"for {told.epochs} epochs"
    when = f"{steps}, after the layers below" if told.after else "of every batch, beside the layers below"
    return f"all training labels, {when}"


def _epoch_seconds(runs: list[Result]) -> list[float]:
    """Of the layers below, where the readout comes after them."""
    below = [[row for row in run.metrics if row["test_loss"] is None] or run.metrics for run in runs]
    passed = [[0.0, *(row["seconds"] for row in rows)] for rows in below]
    return [b - a for each in passed for a, b in pairwise(each)]


def paired_difference(own: Sequence[float], bp: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """(mean, low, high): difference to bp over the same seeds, with its 95 % Student-t interval where n > 1.

    Its width is 0 where all differences are equal, which says that the runs coincide, not that they are certain."""
    if not bp or len(own) != len(bp):
        return None, None, None
    differences = [a - b for a, b in zip(own, bp, strict=True)]
    centre, n = mean(differences), len(differences)
    if n == 1:
        return centre, None, None
    if max(differences) - min(differences) < ROUNDING:
        return centre, centre, centre
    half = float(student_t.ppf(0.975, n - 1)) * stdev(differences) / n**0.5
    return centre, centre - half, centre + half


def step_ratios(recipes: dict[str, Recipe], data: Dataset) -> dict[str, float]:
    """Time of one step of each rule over one of bp: the median over rounds in which every rule has its turn; without
    those that cannot take one, and nothing where bp is among them."""
    steps, slowest = {}, 0.0
    for rule, recipe in recipes.items():
        try:
            learner = prepare(recipe.with_(stream=False), data)
            x, y = _batch(learner.recipe, data)
            steps[rule] = lambda learner=learner, x=x, y=y: learner.step(x, y)
            slowest = max(slowest, _seconds(steps[rule], 2))
        except Exception as error:  # as above
            tell(f"step_ratio_to_bp of {rule}", reason(error))
            steps.pop(rule, None)
    if "bp" not in steps:
        return {}
    repeats = max(1, round(STEP_SECONDS / slowest))
    rounds = [{rule: _seconds(step, repeats) for rule, step in steps.items()} for _ in range(ROUNDS)]
    return {rule: median(times[rule] / times["bp"] for times in rounds) for rule in steps}


def _seconds(step: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def _batch(recipe: Recipe, data: Dataset) -> tuple[Tensor, Tensor]:
    device = recipe.device
    return as_float(data.x_train[: recipe.batch]).to(device), data.y_train[: recipe.batch].to(device)
