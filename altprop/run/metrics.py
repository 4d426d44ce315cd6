"""What is measured after every epoch, and what an accuracy is worth.

A measure never ends a run: one that cannot be taken is null in its row, and why is told once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from altprop.core import LOSSES, Rule
from altprop.data import Dataset, as_input, batches
from altprop.measure import angles_to_bp, feedback_angles, norms, regression_scores, unit_norms, vanished, watched
from altprop.measure.missing import reason, tell
from altprop.measure.probe import in_mode
from altprop.run.learner import Learner

if TYPE_CHECKING:
    from altprop.run.course import Position

PROBE = 256  # samples on which the angles to backpropagation are taken
EVALUATION_BATCH = 1024
UNEVEN = 1.5  # times as many samples in the largest class as in the smallest: from here on balanced accuracy is told


class Verdict(NamedTuple):
    """What a rule reaches on some samples."""

    loss: float
    accuracy: float | None  # of classes; of multi-hot targets the share of samples whose every label is right
    balanced_accuracy: float | None  # the mean of the classes' own, where they are uneven


class Standard(NamedTuple):
    """What an accuracy is held against."""

    majority: float | None  # the share of the largest class; None for a regression
    one_class: bool  # whether the accuracy is one class's share, as of a net that always gives the same answer


UNKNOWN = Standard(None, False)


def judge(rule: Rule, x: Tensor, y: Tensor, units: Tensor | None = None) -> Verdict:
    """Of x (N, *in) and labels (N,) or targets (N, C), in eval mode; modes are left as they were.

    units (C,) of scaled targets: what 1 of each is in its own unit; the loss, half the sum of squares, is told in the
    square of that."""
    loss, right = 0.0, []
    multihot = y.dim() == 2 and rule.loss is LOSSES["binary_cross_entropy"]
    with in_mode(rule, training=False), torch.no_grad():
        for inputs, labels in batches(x, y, EVALUATION_BATCH, dtype=rule.like.dtype, device=rule.like.device):
            output = rule(inputs)
            if units is None:
                loss += float(rule.output_error(output, rule.targets(labels, len(inputs)))[0]) * len(inputs)
            else:
                loss += float(((output - labels).double() * units.to(output.device)).square().sum() / 2)
            if y.dim() == 1:
                right.append(output.argmax(1) == labels)
            elif multihot:
                right.append(((output > 0) == (labels > 0.5)).all(1))
    if y.dim() != 1:
        share = float(torch.cat(right).double().mean()) if multihot else None
        return Verdict(loss / len(x), share, None)
    hits, counts = torch.cat(right).to(y.device), y.bincount()
    there = counts > 0
    own = y[hits].bincount(minlength=len(counts))[there].double() / counts[there]
    balanced = float(own.mean()) if counts[there].max() > UNEVEN * counts[there].min() else None
    return Verdict(loss / len(x), int(hits.sum()) / len(x), balanced)


def evaluate(rule: Rule, x: Tensor, y: Tensor, units: Tensor | None = None) -> tuple[float, float | None]:
    """(mean loss, accuracy or, for targets of a regression, None) in eval mode, every sample counting 1."""
    return judge(rule, x, y, units)[:2]


def units_of(data: Dataset) -> Tensor | None:
    """Of each target (K,), what 1 is in its own unit, where a regression's targets are scaled."""
    return None if data.target_scaling is None else data.target_scaling[1].flatten().double()


def test_scores(rule: Rule, data: Dataset) -> dict[str, float | None]:
    """r2, mae and rmse of a regression on its test part, the errors in the targets' own units; nothing for classes."""
    if data.classes or data.multihot:
        return {}
    units = units_of(data)
    parts = batches(data.x_test, data.y_test, EVALUATION_BATCH, dtype=rule.like.dtype, device=rule.like.device)
    with in_mode(rule, training=False), torch.no_grad():
        y_hat = torch.cat([rule(x).double().cpu() for x, _ in parts])
    units = y_hat.new_ones(()) if units is None else units.cpu()
    return regression_scores(y_hat * units, data.y_test.double().cpu() * units)


def majority(y: Tensor) -> float | None:
    """The largest class's share of labels (N,); None for targets (N, C)."""
    return float(y.bincount().max()) / len(y) if y.dim() == 1 else None


def standard(accuracy: float | None, y: Tensor) -> Standard:
    """What an accuracy on labels y (N,) is held against; for targets (N, C) nothing."""
    if accuracy is None or y.dim() != 1:
        return UNKNOWN
    counts = y.bincount()
    return Standard(majority(y), round(accuracy * len(y)) in counts[counts > 0].tolist())


def measured_row(learner: Learner, position: Position) -> dict[str, Any]:
    """One row of metrics; the training part is seen as far as the test part is large, to cost as little."""
    row: dict[str, Any] = {"epoch": position.epoch, "step": position.step, **_accuracies(learner, position)}
    row |= {"seconds": round(position.seconds, 4), "lr": learner.rate}
    for name in _wanted(learner):
        if name == "vanished_gradient" and row["angle_to_bp"] is None:  # it asks for the same, and would fail alike
            continue
        row[name] = _taken(name, learner, position.refused)
    return row


MEASURES: dict[str, Callable[[Rule, Learner], dict[str, Any]]] = {
    "unit_norm": lambda rule, learner: unit_norms(rule),
    "angle_to_bp": lambda rule, learner: angles_to_bp(rule, *_probe(rule, learner)),
    "vanished_gradient": lambda rule, learner: vanished(rule, *_probe(rule, learner)),
    "feedback_angle": lambda rule, learner: feedback_angles(rule),
    "weight_norm": lambda rule, learner: norms(rule),
    "watch": lambda rule, learner: watched(rule, *_probe(rule, learner)),
}


def _probe(rule: Rule, learner: Learner) -> tuple[Tensor, Tensor]:
    """The samples of the training part on which a credit is looked at."""
    return as_input(learner.data.x_train[:PROBE], rule.like.dtype), learner.data.y_train[:PROBE]


def _wanted(learner: Learner) -> list[str]:
    if not learner.recipe.measure:
        return []
    own = [] if learner.rule.claims.labels else ["unit_norm"]
    told = ["watch"] if type(learner.rule).watch is not Rule.watch else []
    moves = learner.turn.moved & set(learner.net.parameters())  # of a net that stands still there are no angles
    angles = ["angle_to_bp", "vanished_gradient", "feedback_angle"] if learner.reads and moves else []
    return [*own, *angles, "weight_norm", *told]


def _taken(name: str, learner: Learner, refused: dict[str, str]) -> dict[str, Any] | None:
    try:
        return MEASURES[name](learner.rule, learner)
    except Exception as error:  # whatever is wrong with a measure, the run that it looks at is sound
        if name not in refused:
            refused[name] = reason(error)
            tell(name, refused[name])
        return None


def _accuracies(learner: Learner, position: Position) -> dict[str, Any]:
    data, rule = learner.data, learner.rule
    if not learner.reads:  # the last layer has not learned yet
        return dict.fromkeys(("loss", "train_accuracy", "test_loss", "test_accuracy"))
    few, units = len(data.x_test), units_of(data)
    test = judge(rule, data.x_test, data.y_test, units)
    train_loss, train_accuracy = evaluate(rule, data.x_train[:few], data.y_train[:few], units)
    row = {
        "loss": position.loss_sum / len(data.x_train) if units is None else train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
    }
    if learner.solve is not None:  # which knows no batches
        row["loss"] = None
    if test.balanced_accuracy is not None:
        row["test_balanced_accuracy"] = test.balanced_accuracy
    if data.x_val is not None and data.y_val is not None:
        row["val_loss"], row["val_accuracy"] = evaluate(rule, data.x_val, data.y_val, units)
    return row
