"""The course of a run: epochs of batches, evaluation, checkpoints, and a clean way to stop and go on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from altprop.core import Layer
from altprop.limits import Interrupted, shorten
from altprop.run.batching import batches_of, seen
from altprop.run.checks import check_units
from altprop.run.course import Batch, Course, Position, Stopping
from altprop.run.directory.files import sweep
from altprop.run.directory.store import RunDirectory
from altprop.run.directory.tensors import fill
from altprop.run.head import take
from altprop.run.learner import Learner
from altprop.run.metrics import measured_row
from altprop.run.optimizers import BATCHWISE, restore
from altprop.run.readout import READOUT
from altprop.run.recipe import RunError

CHECKPOINT_SECONDS = 5.0  # at least so long between two checkpoints behind the first, since each waits for the disk
FACTOR = 1e6  # a loss so many times that of the first batch, or of outputs of zero, is divergence
SOME, TINY = 4096, 1e-6  # samples that show it, and what it is at least
LARGEST = 1e18  # of a weight; from 2e19 on the squares of float32 numbers are infinite


class Diverged(RunError):
    """Training that has left the numbers, or is about to; ``where`` says when and in which layer, ``what`` how."""

    def __init__(self, where: str, what: str, advice: str) -> None:
        super().__init__(f"training stopped {where}: it diverged, {what}; {advice}")
        self.where, self.what = where, what


class Progress(Protocol):
    def __call__(self, epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None: ...


def course(
    learner: Learner,
    position: Position,
    run: RunDirectory | None,
    stopping: Stopping,
    progress: Progress | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Course[None]:
    """From ``position`` to the last epoch of the last turn; each batch is handed out, and its loss is to be sent.

    ``run`` gets metrics and checkpoints, ``progress`` hears of every batch and ``report`` of every epoch's row.

    A checkpoint is written before the epoch is measured, which may take longer than a kill leaves time.
    Raises ``Diverged`` at the first loss or weight that is not finite or beyond all measure, and ``Interrupted`` after
    a Ctrl-C, when the step under way has ended and the checkpoint is written."""
    unlabelled = [any(not phase.labels for phase in turn.phases) for turn in learner.turns]
    settled = max((index for index, found in enumerate(unlabelled) if found), default=len(learner.turns) - 1)
    with stopping() as stop:
        while True:
            at = learner.at or take(learner, position.phase)
            yield from _turn(learner, at, position, run, stop, progress, report)
            if position.phase == settled:
                position.rows[-1] |= check_units(learner.rule, learner.data.x_train)
                if run is not None:
                    run.log(position.rows)
            if position.phase + 1 == len(learner.turns):
                return
            position.phase, learner.at = position.phase + 1, None


def _turn(
    learner: Learner, at: Learner, position: Position, run: RunDirectory | None, stop: threading.Event,
    progress: Progress | None, report: Any,
) -> Course[None]:  # fmt: skip
    """The epochs of one turn, of which ``at`` learns."""
    start, end = at.before, at.before + at.turn.epochs
    written, saved = (-math.inf if position.epoch == start else time.perf_counter()), True
    while True:
        if len(position.rows) < position.epoch:
            _measure(at, position, run if saved else None, report)
        if position.epoch >= end:
            break
        order = at.order.get_state()  # from here the epoch can be drawn again
        at.enter(position.epoch - start)
        yield from _epoch(at, position, stop, progress)
        at.team.settle(at, position)
        if stop.is_set():
            _checkpoint(learner, at, position, run, order)
            raise Interrupted
        _check_weights(at, position)
        position.epoch, position.batch = position.epoch + 1, 0
        saved = position.epoch == end or time.perf_counter() - written > CHECKPOINT_SECONDS
        if saved:
            _checkpoint(learner, at, position, run, at.order.get_state())
            written = time.perf_counter()
    if stop.is_set():  # during the last epoch's measures
        raise Interrupted


def _measure(learner: Learner, position: Position, run: RunDirectory | None, report: Any) -> None:
    row = measured_row(learner, position)
    if not math.isfinite(row["test_loss"] or 0):
        raise _diverged(learner, position, None, f"the test loss is {row['test_loss']}")
    position.rows.append(row)
    position.loss_sum = 0.0
    if report is not None:
        report(position.rows[-1])
    if run is not None:
        run.log(position.rows)


def _loss_of_zeros(learner: Learner) -> float:
    """What outputs of zero cost on the training part, or the first few thousand samples of it."""
    y = learner.data.y_train[:SOME].to(learner.rule.like.device)
    z = learner.rule.like.new_zeros(len(y), learner.rule.classes)
    return max(float(learner.rule.output_error(z, learner.rule.targets(y, len(y)))[0]), TINY)


def _epoch(learner: Learner, position: Position, stop: threading.Event, progress: Progress | None) -> Course[None]:
    x_all, recipe, at = learner.samples[0], learner.turn.recipe, position.epoch - learner.before
    start = time.perf_counter()
    if learner.solve is not None:
        learner.solve()
        position.seconds += time.perf_counter() - start
        return
    # A BatchNorm cannot take a batch of one sample, so that such a rest is left out.
    alone = len(x_all) % recipe.batch == 1 and any(isinstance(m, _BatchNorm) for m in learner.rule.modules())
    count, chance = -(-len(x_all) // recipe.batch), _loss_of_zeros(learner)
    for index, (x, y) in enumerate(batches_of(learner, alone)):
        samples = len(x)
        x, y = seen(learner, x, y)
        if index < position.batch:
            continue
        if recipe.schedule in BATCHWISE:
            learner.anneal(at + index / count)
        position.seconds += time.perf_counter() - start
        loss = yield Batch(learner, position, x, y, last=index + 1 == count - alone)
        start = time.perf_counter()
        position.batch, position.step = index + 1, position.step + 1
        position.first = loss if (at, index) == (0, 0) else position.first
        if not loss < FACTOR * max(chance, position.first):
            raise _diverged(learner, position, x, f"the loss is {loss:.3g}")
        position.loss_sum += loss * samples
        if progress is not None:
            progress(position.epoch, learner.planned, index, count, loss)
        if stop.is_set():
            break
    position.seconds += time.perf_counter() - start


def _check_weights(learner: Learner, position: Position) -> None:
    if not all(_bounded(p) for p in learner.rule.net.parameters()):
        raise _diverged(learner, position, None, f"a weight is not finite, or larger than {LARGEST:g}")


def _bounded(weight: Tensor) -> bool:
    return bool((weight.abs() < LARGEST).all())


def _largest(weight: Tensor) -> float:
    return float(weight.abs().max()) if weight.numel() else 0.0


@torch.no_grad()
def _diverged(learner: Learner, position: Position, x: Tensor | None, what: str) -> Diverged:
    """The error of a run that has left the numbers, with the first layer in which they are gone or, where they are only
    large, that of the largest weight."""
    rule = learner.rule
    layer: Layer = max(rule.layers, key=lambda layer: max(map(_largest, layer.parameters())))
    for each in rule.layers:
        broken = not all(_bounded(p) for p in each.parameters())
        x = x if x is None or broken else each(x)
        if broken or (x is not None and not bool(x.isfinite().all())):
            layer = each
            break
    advice = "lower --lr, scale the inputs (--scale standard), or add --weight-decay"
    by = [phase.name for phase in learner.turn.phases if layer.synapse in phase.moves]
    if by[-1:] == [READOUT]:
        advice = "lower lr in the recipe's table [readout], or give it optimizer = 'adam'"
    where = f"at epoch {position.epoch + (position.batch > 0)}, step {position.step}, in {layer}"
    return Diverged(where, what, advice)


def _checkpoint(learner: Learner, at: Learner, position: Position, run: RunDirectory | None, order: Tensor) -> None:
    """All of the run's rule, and of what is at work its optimizers and what it draws by."""
    if run is None:
        return
    run.log(position.rows)
    tensors = {f"rule.{key}": tensor for key, tensor in learner.rule.state_dict().items()}
    states: list[Any] = []
    for number, optimizer in enumerate(at.optimizers):
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
    """Bring a fresh learner to where the run's checkpoint stands, to the bit; raises ``RunError``.

    What a kill in the middle of a write has left beside the files is removed."""
    tensors, state = run.restore()
    try:
        fill(learner.rule, _below(tensors, "rule."), run.checkpoint)
        later = {"first": 0.0, "refused": {}, "phase": 0}  # which checkpoints of former versions lack
        position = Position(**{name: {**later, **state}[name] for name in Position.__dataclass_fields__})
        _check_phase(learner, position, run, state)
        learner.at = at = take(learner, position.phase)
        for number, (optimizer, saved) in enumerate(zip(at.optimizers, state["optimizers"], strict=True)):
            restore(optimizer, saved, _below(tensors, f"optimizer.{number}."))
        at.order.set_state(tensors["random.order"])
        torch.set_rng_state(tensors["random.torch"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], learner.rule.like.device)
        _check_position(at, position)
    except RunError:
        raise
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        where, what = shorten(run.path, 80), shorten(error, 120)
        raise RunError(f"the checkpoint in {where} does not fit its recipe ({what}): train the run anew") from error
    if not learner.team.leads:
        return position
    for folder in (run.path, run.checkpoint):
        sweep(folder)
    for stray in run.checkpoint.glob("*.safetensors"):
        if stray.name != state["tensors"]:
            stray.unlink()  # a checkpoint that its state never named
    return position


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, under the rest of their names."""
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _check_phase(learner: Learner, position: Position, run: RunDirectory, state: dict[str, Any]) -> None:
    if "phase" not in state and len(learner.turns) > 1:
        what = f"the checkpoint in {shorten(run.path, 80)} is of a former version, which counted no phases"
        raise RunError(f"{what}: train the run anew")
    if position.phase >= len(learner.turns):
        raise ValueError(f"phase {position.phase} of {len(learner.turns)}")


def _check_position(at: Learner, position: Position) -> None:
    """Raises ``ValueError`` for one that the turn does not have."""
    batches, end = -(-len(at.samples[0]) // at.turn.recipe.batch), at.before + at.turn.epochs
    within = at.before <= position.epoch <= end
    if not within or position.batch > batches or (position.epoch and not position.step and not at.solve):
        where = f"epoch {position.epoch}, batch {position.batch}, step {position.step}"
        raise ValueError(f"{where} of epochs {at.before} to {end} of {batches} batches")
