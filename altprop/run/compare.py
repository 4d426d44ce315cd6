"""Every rule under one protocol: one net, data, epochs and seeds, the same initial weights and order of samples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from scipy.stats import t as student_t
from torch import Tensor

from altprop.data import Dataset, as_float
from altprop.measure import peak_activation_bytes
from altprop.run.experiment import Result, resume_recipe, run_recipe
from altprop.run.learner import load_data, prepare, resolve
from altprop.run.readout import SOLVED
from altprop.run.recipe import Recipe, RunError
from altprop.run.report import write_report
from altprop.run.store import RunDirectory, check_free, failed_write, write_atomically

ROUNDS, STEP_SECONDS = 15, 0.01  # of the timing: rounds over all rules, and at least so long for each in a round


def compare(
    rules: Sequence[str],
    seeds: Sequence[int],
    recipes: Callable[[str, int], Recipe],
    out: Path,
    data: Dataset | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """Train every rule with every seed, and write runs, comparison.json and report.html below ``out``.

    recipes: (rule, seed) -> its recipe.  Runs of a comparison that was stopped, in ``out`` already, are gone on with.
    Returns what ``altprop compare --json`` prints."""
    children = [out / f"{rule}-seed{seed}" for seed in seeds for rule in rules]
    if not any((child / "recipe.toml").exists() for child in children):
        check_free(out)
    first = recipes(rules[0], seeds[0])
    sets = {seed: data or load_data(recipes(rules[0], seed)) for seed in seeds}
    timed = {rule: recipes(rule, seeds[0]) for rule in rules}
    timed.setdefault("bp", first.by_rule("bp"))
    for recipe in timed.values():
        prepare(recipe, sets[seeds[0]])  # what cannot be built is told before anything is trained
    results: dict[str, list[Result]] = {rule: [] for rule in rules}
    for seed in seeds:
        for rule in rules:
            if progress is not None:
                progress(rule, seed)
            results[rule].append(_run(recipes(rule, seed), sets[seed], out / f"{rule}-seed{seed}"))
    data = sets[seeds[0]]
    ratios = step_ratios(timed, data)
    last = results[rules[0]][0].recipe
    comparison = {
        "data": first.data, "net": last.net, "epochs": last.epochs, "seeds": list(seeds),
        "report": str(out / "report.html"),
        "rows": [_row(rule, results[rule], results.get("bp"), ratios[rule], data) for rule in rules],
    }  # fmt: skip
    write_atomically(out / "comparison.json", json.dumps(comparison, indent=1))
    try:
        write_report(out)
    except OSError as error:
        raise failed_write(out / "report.html", error) from error
    return comparison


def _run(recipe: Recipe, data: Dataset, path: Path) -> Result:
    if not (path / "recipe.toml").exists():
        return run_recipe(recipe, data, out=path)
    if RunDirectory.open(path).recipe() != resolve(recipe, data):
        raise RunError(f"{path} holds a run of another recipe: choose another --out")
    return resume_recipe(path, data)


def _row(rule: str, runs: list[Result], bp: list[Result] | None, ratio: float, data: Dataset) -> dict[str, Any]:
    accuracies = [run.test_accuracy for run in runs if run.test_accuracy is not None]
    recipe = runs[0].recipe
    others = [] if rule == "bp" else [run.test_accuracy for run in bp or [] if run.test_accuracy is not None]
    difference, low, high = paired_difference(accuracies, others)
    return {
        "rule": rule,
        "activation": recipe.act,
        "lr": recipe.rate_used,
        "test_accuracy_mean": mean(accuracies) if accuracies else None,
        "test_accuracy_std": stdev(accuracies) if len(accuracies) > 1 else None,
        "test_loss_mean": mean(run.metrics[-1]["test_loss"] for run in runs),
        "n": len(runs),
        "difference_to_bp": difference,
        "difference_low": low,
        "difference_high": high,
        "seconds_per_epoch": median(_epoch_seconds(runs)),
        "step_ratio_to_bp": ratio,
        "peak_activation_bytes": peak_activation_bytes(runs[0].rule.train(), *_batch(recipe, data)),
        "claims": asdict(runs[0].rule.claims),
        "net": recipe.net,
        "readout": readout_of(runs[0]),
    }


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
    """(mean, low, high): difference to bp over the same seeds, with its 95 % Student-t interval where n > 1."""
    if not bp or len(own) != len(bp):
        return None, None, None
    differences = [a - b for a, b in zip(own, bp, strict=True)]
    centre, n = mean(differences), len(differences)
    if n == 1:
        return centre, None, None
    half = float(student_t.ppf(0.975, n - 1)) * stdev(differences) / n**0.5
    return centre, centre - half, centre + half


def step_ratios(recipes: dict[str, Recipe], data: Dataset) -> dict[str, float]:
    """Time of one step of each rule over one of bp: the median over rounds in which every rule has its turn."""
    steps = {}
    for rule, recipe in recipes.items():
        learner = prepare(recipe.with_(stream=False), data)
        x, y = _batch(learner.recipe, data)
        steps[rule] = lambda learner=learner, x=x, y=y: learner.step(x, y)
    repeats = max(1, round(STEP_SECONDS / max(_seconds(step, 2) for step in steps.values())))
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
