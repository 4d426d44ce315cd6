"""What a run gives: while it is at hand, and read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from altprop.core import Rule
from altprop.run.metrics import UNKNOWN, Standard
from altprop.run.model import Model
from altprop.run.recipe import Recipe


@dataclass(frozen=True)
class Result:
    """A finished run."""

    recipe: Recipe
    net: nn.Module
    rule: Rule
    metrics: list[dict[str, Any]]  # one row an epoch
    path: Path | None
    model: Model  # from raw samples to outputs
    scores: dict[str, float | None]  # of a regression: r2, mae and rmse on the test part, in the targets' units
    standard: Standard = UNKNOWN  # what the test accuracy is held against

    @property
    def train_accuracy(self) -> float | None:
        """On as many samples of the training part as the test part has."""
        return self.metrics[-1]["train_accuracy"]

    @property
    def test_accuracy(self) -> float | None:
        return self.metrics[-1]["test_accuracy"]

    def summary(self) -> dict[str, Any]:
        """What ``altprop train --json`` prints; accuracies are fractions, the loss is the last epoch's mean."""
        last = self.metrics[-1]
        return {
            "rule": self.recipe.rule, "data": self.recipe.data, "net": self.recipe.net, "activation": self.recipe.act,
            "lr": self.recipe.rate_used, "epochs": self.recipe.epochs, "seed": self.recipe.seed,
            "loss": last["loss"], "train_accuracy": last["train_accuracy"], "test_accuracy": last["test_accuracy"],
            "test_loss": last["test_loss"], **{f"test_{key}": value for key, value in self.scores.items()},
            "val_accuracy": last.get("val_accuracy"), "seconds": last["seconds"], "scale": self.recipe.scale,
            "test_balanced_accuracy": last.get("test_balanced_accuracy"), **self.standard._asdict(),
            "never_win": next((row["never_win"] for row in reversed(self.metrics) if "never_win" in row), None),
            "vanished_gradient": last.get("vanished_gradient") or None,
            "run": None if self.path is None else str(self.path),
        }  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """A run given back: net and rule, which take inputs as they were scaled in training, and the model, which takes raw
    samples.  ``net, rule = load(run)`` unpacks the first two."""

    net: nn.Module
    rule: Rule
    model: Model

    def __iter__(self) -> Iterator[Any]:
        return iter((self.net, self.rule))
