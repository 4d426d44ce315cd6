"""What a paper's table may tell of a run, read from its result file, and how far off counts as the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from altprop.measure import plateau


def _last(run: dict[str, Any]) -> float:
    return 100 * run["test_accuracy"][-1]


def _slowness(run: dict[str, Any]) -> float:
    return plateau(run["test_accuracy"], chance=1 / run["classes"]).slowness


def _angle(run: dict[str, Any]) -> float:
    return max(curve[-1] for curve in run["feedback_angle"].values())


def _loss(run: dict[str, Any]) -> float:
    return run["test_loss"][-1]


def _evaluations(run: dict[str, Any]) -> float:
    """Until the task was solved; of a run that has not, all that it was given."""
    return run["evaluations"]


def _solved(run: dict[str, Any]) -> float:
    return 100.0 * run["solved"]


def _fitness(run: dict[str, Any]) -> float:
    """Of the champion, asked anew."""
    return run["fitness"]


QUANTITIES: dict[str, Callable[[dict[str, Any]], float]] = {
    "accuracy": _last, "slowness": _slowness, "angle": _angle, "loss": _loss,
    "evaluations": _evaluations, "solved": _solved, "fitness": _fitness,
}  # fmt: skip
# How far off counts as the same where the published deviation is smaller or missing: points, or a share of the value.
TOLERANCES: dict[str, Callable[[float], float]] = {
    "accuracy": lambda value: 0.25, "slowness": lambda value: value / 4, "angle": lambda value: 5.0,
    "loss": lambda value: value / 4, "evaluations": lambda value: value / 4, "solved": lambda value: 5.0,
    "fitness": lambda value: abs(value) / 20,
}  # fmt: skip
