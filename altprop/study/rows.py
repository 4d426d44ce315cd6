"""The rows of a comparison: of each rule what it reaches, how far that is from the reference, what it costs and needs.

The keys ``difference_to_bp`` and ``step_ratio_to_bp`` are of the format; the reference itself stands in ``reference``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from statistics import median
from typing import Any

from altprop.rules import RULES
from altprop.run.learner import Learner
from altprop.run.readout import SOLVED
from altprop.statistics import UNKNOWN, Interval, mean_and_std, paired_difference
from altprop.study.outcomes import Failed, Finished, Outcome
from altprop.study.plan import Plan

# What is told of every run by its last epoch's metrics, and of a regression by its scores, as mean and deviation.
LAST = ("test_accuracy", "val_accuracy", "test_balanced_accuracy", "test_loss", "val_loss")
SCORES = ("test_r2", "test_mae", "test_rmse", "val_r2")


def rule_row(
    rule: str,
    runs: Sequence[Outcome],
    reference: Sequence[Outcome] | None,
    frozen: Sequence[Outcome] | None,
    learner: Learner | None,
) -> dict[str, Any]:
    """Without its costs.  reference: the runs that its own are held against, None for the reference itself; frozen:
    those of the same net with its hidden layers as they were drawn, where there are any."""
    ended = [run for run in runs if isinstance(run, Finished)]
    failed = [run for run in runs if isinstance(run, Failed)]
    recipe = ended[0].recipe if ended else learner.recipe if learner else None
    trained = learner.rule if learner else RULES[rule]
    return {
        "rule": rule,
        "role": RULES[rule].role,
        "family": RULES[rule].family,
        "activation": recipe and recipe.act,
        "lr": recipe and recipe.rate_used,
        **_spread({name: [run.metrics[-1].get(name) for run in ended] for name in LAST}),
        **_spread({name: [run.scores.get(name) for run in ended] for name in SCORES}),
        "one_class": bool(ended) and all(run.one_class for run in ended),
        "n": len(ended),
        "failed": [{"seed": run.seed, "reason": run.reason} for run in failed],
        **_differences(_scores(runs), _scores(reference)),
        **_intervals("margin", "over_frozen", _scores(runs), _scores(frozen)),
        "seconds_per_epoch": median(epoch_seconds(ended)) if ended else None,
        "claims": asdict(trained.claims),
        "net": recipe and recipe.net,
        "readout": readout_of(learner) if ended and learner else None,
    }


def baseline_row(runs: Mapping[str, Sequence[Outcome]], reference: Sequence[Outcome], plan: Plan) -> dict[str, Any]:
    """``majority``, the largest class of the training part for every sample, or ``mean``, that of the targets: what a
    rule reaches that has learned nothing."""
    by_seed = [_trivial(each[place] for each in runs.values()) for place in range(len(plan.seeds))]
    known = [scores for scores in by_seed if scores]
    regression = any("test_r2" in scores for scores in known)
    return {
        "rule": "mean" if regression else "majority",
        "role": "baseline",
        "family": "baseline",
        **_spread({name: [scores.get(name) for scores in known] for name in (*LAST, *SCORES)}),
        "n": len(known),
        "failed": [],
        **_differences(by_seed, _scores(reference)),
    }


def _trivial(runs: Iterable[Outcome]) -> dict[str, float | None]:
    """That of one seed, which every run of it has seen."""
    return next((run.trivial for run in runs if isinstance(run, Finished)), {})


def _scores(runs: Sequence[Outcome] | None) -> list[dict[str, float | None]]:
    """What is compared, by run: nothing of one that has not ended."""
    return [
        {}
        if isinstance(run, Failed)
        else {"test_accuracy": run.metrics[-1]["test_accuracy"], "test_r2": run.scores.get("test_r2")}
        for run in runs or ()
    ]


def _differences(
    own: list[dict[str, float | None]], other: list[dict[str, float | None]]
) -> dict[str, float | bool | None]:
    """To the reference, and whether that is the same in every seed."""
    told = _intervals("difference", "to_bp", own, other)
    kind = "" if told["r2_difference_to_bp"] is None else "r2_"
    low, high = told[f"{kind}difference_low"], told[f"{kind}difference_high"]
    return {**told, "coincide": low is not None and low == high}


def _intervals(
    name: str, to: str, own: list[dict[str, float | None]], other: list[dict[str, float | None]]
) -> dict[str, float | None]:
    """Paired, seed by seed, of accuracies, and for a regression of R2; each with its 95 % Student-t interval."""
    told: dict[str, float | None] = {}
    for kind, key in (("", "test_accuracy"), ("r2_", "test_r2")):
        found = _paired(own, other, key)
        told |= {f"{kind}{name}_{end}": value for end, value in zip((to, "low", "high"), found, strict=True)}
    return told


def _paired(own: list[dict[str, float | None]], other: list[dict[str, float | None]], key: str) -> Interval:
    mine, theirs = _whole(own, key), _whole(other, key)
    return paired_difference(mine, theirs) if mine and theirs else UNKNOWN


def _whole(runs: Iterable[Mapping[str, float | None]], key: str) -> list[float]:
    """Of all runs; none where one has not ended, since the rest of them would flatter the rule in a difference."""
    values = [run.get(key) for run in runs]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _spread(values: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    """``<name>_mean`` and ``<name>_std`` of each."""
    spread: dict[str, float | None] = {}
    for name, each in values.items():
        spread[f"{name}_mean"], spread[f"{name}_std"] = mean_and_std(each)
    return spread


def readout_of(learner: Learner) -> str | None:
    """What the last layer saw of the labels where the layers below saw none of them."""
    if learner.rule.claims.labels or not any(phase.labels for phase in learner.rule.phases()):
        return None
    told = learner.recipe.readout
    steps = f"by {told.by}" if told.by in SOLVED else f"for {told.epochs} epochs"
    when = f"{steps}, after the layers below" if told.after else "of every batch, beside the layers below"
    return f"all training labels, {when}"


def epoch_seconds(runs: Sequence[Finished]) -> list[float]:
    """Of the layers below, where the readout comes after them."""
    below = [[row for row in run.metrics if row["test_loss"] is None] or run.metrics for run in runs]
    passed = [[0.0, *(row["seconds"] for row in rows)] for rows in below]
    return [b - a for each in passed for a, b in pairwise(each)]


def by_score(row: Mapping[str, Any]) -> float:
    """Where a row of a regression stands: the best R2 first, what has none last."""
    r2 = row["test_r2_mean"]
    return float("inf") if r2 is None else -r2
