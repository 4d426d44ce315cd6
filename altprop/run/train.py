"""The training loop: epochs of credit and step, evaluation, checkpoints, and a clean way to stop and go on."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from altprop.core import Rule
from altprop.data import Dataset, as_float, batches
from altprop.measure import angles_to_bp, feedback_angles, norms, regression_scores, unit_norms
from altprop.run.learner import Learner
from altprop.run.optimizers import BATCHWISE
from altprop.run.recipe import RunError
from altprop.run.store import RunDirectory

PROBE = 256  # samples on which the angles to backpropagation are taken
EVALUATION_BATCH = 1024
CHECKPOINT_SECONDS = 5.0  # at least so long between two checkpoints, since each waits for the disk


class Interrupted(Exception):
    """The run was stopped from outside, at a step from which it can be resumed."""


class Progress(Protocol):
    def __call__(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None: ...


@dataclass
class Position:
    """Where a run stands: everything of its state that is not a tensor."""

    epoch: int = 0  # finished
    batch: int = 0  # done of the epoch that is under way
    step: int = 0
    loss_sum: float = 0.0  # over the samples of this epoch
    seconds: float = 0.0  # spent in training, without evaluation
    rows: list[dict[str, Any]] = field(default_factory=list)  # of metrics.jsonl


def train(
    learner: Learner,
    position: Position,
    run: RunDirectory | None,
    progress: Progress | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Train from ``position`` to the recipe's last epoch; ``run`` gets metrics and checkpoints, ``progress`` hears of
    every batch and ``report`` of every epoch's row of metrics.

    Raises ``RunError`` at the first loss or weight that is not finite, and ``Interrupted`` after a Ctrl-C, when the
    step under way has ended and the checkpoint is written."""
    epochs = learner.epochs
    written = time.perf_counter()
    with _interruptible() as stop:
        while position.epoch < epochs:
            start = learner.order.get_state()  # from here the epoch can be drawn again
            learner.enter(position.epoch)
            _epoch(learner, position, stop, progress)
            if stop.is_set():
                _checkpoint(learner, position, run, start)
                raise Interrupted
            _check_weights(learner.rule, position)
            position.epoch, position.batch = position.epoch + 1, 0
            position.rows.append(measured_row(learner, position))
            position.loss_sum = 0.0
            if report is not None:
                report(position.rows[-1])
            if position.epoch == epochs or time.perf_counter() - written > CHECKPOINT_SECONDS:
                _checkpoint(learner, position, run, learner.order.get_state())
                written = time.perf_counter()
        if stop.is_set():  # during the last epoch's measures
            raise Interrupted


def _epoch(learner: Learner, position: Position, stop: threading.Event, progress: Progress | None) -> None:
    (x_all, y_all), recipe = learner.samples, learner.recipe
    dtype = learner.rule.like.dtype
    start = time.perf_counter() - position.seconds
    # A BatchNorm cannot take a batch of one sample, so that such a rest is left out.
    alone = len(x_all) % recipe.batch == 1 and any(isinstance(m, _BatchNorm) for m in learner.rule.modules())
    device = learner.rule.like.device
    stream = batches(x_all, y_all, recipe.batch, generator=learner.order, dtype=dtype, drop_last=alone, device=device)
    count = -(-len(x_all) // recipe.batch)
    for index, (x, y) in enumerate(stream):
        x = learner.augment(x, learner.order)
        if index < position.batch:
            continue
        if recipe.schedule in BATCHWISE:
            learner.anneal(position.epoch + index / count)
        loss = learner.step(x, y)
        position.batch, position.step = index + 1, position.step + 1
        if not math.isfinite(loss):
            raise _diverged(learner.rule, position, x, f"the loss is {loss}")
        position.loss_sum += loss * len(x)
        if progress is not None:
            progress(position.epoch, learner.epochs, index, count, loss)
        if stop.is_set():
            break
    position.seconds = time.perf_counter() - start


def evaluate(rule: Rule, x: Tensor, y: Tensor, units: Tensor | None = None) -> tuple[float, float | None]:
    """(mean loss, accuracy or, for targets instead of labels, None) in eval mode.

    units (K,) of scaled targets: what 1 of each is in its own unit; the loss, half the sum of squares, is told in the
    square of that."""
    training, loss, correct = rule.training, 0.0, 0
    rule.eval()
    with torch.no_grad():
        for inputs, labels in batches(x, y, EVALUATION_BATCH, dtype=rule.like.dtype, device=rule.like.device):
            output = rule(inputs)
            if units is None:
                loss += float(rule.output_error(output, rule.targets(labels, len(inputs)))[0]) * len(inputs)
            else:
                loss += float(((output - labels).double() * units.to(output.device)).square().sum() / 2)
            correct += int((output.argmax(1) == labels).sum()) if labels.dim() == 1 else 0
    rule.train(training)
    return loss / len(x), correct / len(x) if y.dim() == 1 else None


def units_of(data: Dataset) -> Tensor | None:
    """Of each target (K,), what 1 is in its own unit, where a regression's targets are scaled."""
    return None if data.target_scaling is None else data.target_scaling[1].flatten().double()


def test_scores(rule: Rule, data: Dataset) -> dict[str, float | None]:
    """r2, mae and rmse of a regression on its test part, the errors in the targets' own units; nothing for classes."""
    if data.classes:
        return {}
    units, training = units_of(data), rule.training
    parts = batches(data.x_test, data.y_test, EVALUATION_BATCH, dtype=rule.like.dtype, device=rule.like.device)
    rule.eval()
    with torch.no_grad():
        y_hat = torch.cat([rule(x).double().cpu() for x, _ in parts])
    rule.train(training)
    units = y_hat.new_ones(()) if units is None else units.cpu()
    return regression_scores(y_hat * units, data.y_test.double().cpu() * units)


def measured_row(learner: Learner, position: Position) -> dict[str, Any]:
    """One row of metrics; the training part is seen as far as the test part is large, to cost as little."""
    data, rule = learner.data, learner.rule
    row: dict[str, Any] = {"epoch": position.epoch, "step": position.step, **_accuracies(learner, position)}
    row |= {"seconds": round(position.seconds, 4), "lr": learner.optimizers[learner.turn].param_groups[0]["lr"]}
    if learner.recipe.measure and not rule.claims.labels:
        row["unit_norm"] = unit_norms(rule)
    if learner.recipe.measure and learner.hidden:
        row["weight_norm"] = norms(rule)
    elif learner.recipe.measure:
        row["angle_to_bp"] = angles_to_bp(rule, as_float(data.x_train[:PROBE], rule.like.dtype), data.y_train[:PROBE])
        row["feedback_angle"] = feedback_angles(rule)
        row["weight_norm"] = norms(rule)
    return row


def _accuracies(learner: Learner, position: Position) -> dict[str, Any]:
    data, rule = learner.data, learner.rule
    if learner.hidden:  # the readout has not learned yet
        return dict.fromkeys(("loss", "train_accuracy", "test_loss", "test_accuracy"))
    few, units = len(data.x_test), units_of(data)
    test_loss, test_accuracy = evaluate(rule, data.x_test, data.y_test, units)
    train_loss, train_accuracy = evaluate(rule, data.x_train[:few], data.y_train[:few], units)
    row = {
        "loss": position.loss_sum / len(data.x_train) if units is None else train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
    }
    if data.x_val is not None and data.y_val is not None:
        row["val_loss"], row["val_accuracy"] = evaluate(rule, data.x_val, data.y_val, units)
    return row


def _check_weights(rule: Rule, position: Position) -> None:
    if not all(bool(p.isfinite().all()) for p in rule.net.parameters()):
        raise _diverged(rule, position, None, "a weight is not finite")


def _diverged(rule: Rule, position: Position, x: Tensor | None, what: str) -> RunError:
    """The error of a run that has left the numbers, with the first layer in which they are gone."""
    with torch.no_grad():
        for layer in rule.layers:
            broken = not all(bool(p.isfinite().all()) for p in layer.parameters())
            x = x if x is None or broken else layer(x)
            if broken or (x is not None and not bool(x.isfinite().all())):
                break
    advice = "lower --lr, scale the inputs (--scale standard), or add --weight-decay"
    if layer is rule.layers[-1] and getattr(rule, "readout", False):
        advice = "lower lr in the recipe's table [readout], or give it optimizer = 'adam'"
    where = f"at epoch {position.epoch + 1}, step {position.step}, in {layer}"
    return RunError(f"training stopped {where}: {what}; {advice}")


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C (and a polite kill) asks to stop after the step under way; a second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _checkpoint(learner: Learner, position: Position, run: RunDirectory | None, order: Tensor) -> None:
    if run is None:
        return
    run.log(position.rows)
    tensors = {f"rule.{key}": tensor for key, tensor in learner.rule.state_dict().items()}
    states: list[Any] = []
    for number, optimizer in enumerate(learner.optimizers):
        state = optimizer.state_dict()
        plain: dict[str, dict[str, Any]] = {}
        for index, entries in state["state"].items():
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{index}.{key}"] = value
                else:
                    plain.setdefault(str(index), {})[key] = value
        states.append({"plain": plain, "param_groups": state["param_groups"]})
    tensors["random.order"], tensors["random.torch"] = order, torch.get_rng_state()
    if learner.rule.like.is_cuda:
        tensors["random.cuda"] = torch.cuda.get_rng_state(learner.rule.like.device)
    run.save(tensors, {**asdict(position), "optimizers": states})


def resume(learner: Learner, run: RunDirectory) -> Position:
    """Bring a fresh learner to where the run's checkpoint stands, to the bit; raises ``RunError``."""
    tensors, state = run.restore()
    try:
        rule = {key.removeprefix("rule."): value for key, value in tensors.items() if key.startswith("rule.")}
        learner.rule.load_state_dict(rule)
        for number, (optimizer, saved) in enumerate(zip(learner.optimizers, state["optimizers"], strict=True)):
            entries: dict[int, dict[str, Any]] = {int(i): dict(plain) for i, plain in saved["plain"].items()}
            for key, value in tensors.items():
                kind, _, rest = key.partition(f"optimizer.{number}.")
                if not kind and rest:
                    index, _, name = rest.partition(".")
                    entries.setdefault(int(index), {})[name] = value
            optimizer.load_state_dict({"state": entries, "param_groups": saved["param_groups"]})
        learner.order.set_state(tensors["random.order"])
        torch.set_rng_state(tensors["random.torch"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], learner.rule.like.device)
        return _position(state)
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        what = " ".join(str(error).split())[:120]
        raise RunError(f"the checkpoint in {run.path} does not fit its recipe ({what}): train the run anew") from error


def _position(state: dict[str, Any]) -> Position:
    position = Position(**{name: state[name] for name in Position.__dataclass_fields__})
    for name, default in asdict(Position()).items():
        value = getattr(position, name)
        if not isinstance(value, (int, float) if isinstance(default, float) else type(default)):
            raise TypeError(f"{name} is {value!r}")
    if not all(isinstance(row, dict) for row in position.rows):
        raise TypeError("a row of metrics is no object")
    return position
