"""The readout after the layers below it: the last layer learns by labels from what they say of every sample, computed
once, without a graph, and kept in memory or in a file.  What descends is a run of its own in the run, in ``readout/``;
what is solved in closed form is one row of metrics."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer
from altprop.data import Dataset, as_input, batches
from altprop.measure import FITS
from altprop.nets import BitDropout
from altprop.run.directory.store import RunDirectory
from altprop.run.learner import Learner, prepare
from altprop.run.metrics import evaluate, measured_row
from altprop.run.readout import Readout
from altprop.run.recipe import RunError
from altprop.run.train import Position, Progress, resume, train

FOLDER = "readout"  # in the run directory
BATCH = 250  # of the samples whose features are computed at once


def read_out(
    learner: Learner,
    position: Position,
    run: RunDirectory | None,
    progress: Progress | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> float | None:
    """Train the last layer as ``recipe.readout`` says; its epochs are added to ``position.rows`` behind those before.

    Returns the accuracy on the training part.  Raises ``Interrupted``, after which ``resume_run`` goes on."""
    learner.let_learn(learner.rule.layers[-1:])
    before = (len(position.rows), position.step, position.seconds)
    with _folder(run) as scratch:
        head = _head(learner, scratch)
        if learner.recipe.readout.by in FITS:
            taught = _solve(head, learner.recipe.readout)
        else:
            taught = _descend(head, run, progress, None if report is None else lambda row: report(_behind(row, before)))
        position.rows += [_behind(row, before) for row in taught.rows]
        accuracy = evaluate(head.rule, head.data.x_train, head.data.y_train)[1]
    learner.let_learn(learner.rule.layers)
    if run is not None:
        run.log(position.rows)
    return accuracy


def _descend(head: Learner, run: RunDirectory | None, progress: Any, report: Any) -> Position:
    own, start = None, Position()
    if run is not None and (run.path / FOLDER / "checkpoint" / "state.json").exists():
        own = RunDirectory.open(run.path / FOLDER)
        start = resume(head, own)
    elif run is not None:
        RunDirectory(run.path / FOLDER).remove()  # it was killed before its first checkpoint
        own = RunDirectory.create(run.path / FOLDER, head.recipe, head.data)
    train(head, start, own, progress, report)
    return start


def _solve(head: Learner, told: Readout) -> Position:
    """The weights in closed form, told as one epoch without a step."""
    data, last = head.data, head.rule.layers[-1].synapse
    start = perf_counter()
    W, b = FITS[told.by](data.x_train, data.y_train, data.outputs, told.strength)
    last.get_parameter("weight").data.copy_(W)
    last.get_parameter("bias").data.copy_(b)
    position = Position(epoch=1, seconds=perf_counter() - start)
    position.rows = [{**measured_row(head, position), "loss": None, "lr": None}]
    return position


def _behind(row: dict[str, Any], before: tuple[int, int, float]) -> dict[str, Any]:
    epochs, steps, seconds = before
    shifted = {"epoch": row["epoch"] + epochs, "step": row["step"] + steps, "seconds": row["seconds"] + seconds}
    return {**row, **shifted}


def _head(learner: Learner, scratch: Path) -> Learner:
    """The readout as something that learns by itself, from features or, with augmentation, on top of the frozen net."""
    told = learner.recipe.readout
    last = learner.rule.layers[-1]
    top = [BitDropout(told.dropout), last.synapse, last.activation]
    stepped = {key: getattr(told, key) for key in ("optimizer", "lr", "momentum", "weight_decay")}
    hebbian = told.by == "hebbian"
    recipe = learner.recipe.with_(
        rule="softhebb" if hebbian else "bp", data="custom", net="custom",
        arguments={"supervised": True} if hebbian else {}, readout=stepped if hebbian else {}, **stepped,
        epochs=told.epochs or 1, batch=told.batch, augment=told.augment, schedule=told.schedule, rates=[],
        layerwise=False, nesterov=False, freeze=0, stream=False, measure=False, probe=False, class_weight=None,
    )  # fmt: skip
    if told.augment is None:
        return prepare(recipe, _features(learner, scratch), nn.Sequential(*top), resident=False)
    learner.rule.eval()
    return prepare(recipe, learner.data, nn.Sequential(_Below(learner.hidden), last.inlet, *top))


class _Below(nn.Module):
    """The layers below the readout as one module without parameters, which nothing moves any more."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = tuple(layers)  # where torch does not look

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _features(learner: Learner, scratch: Path) -> Dataset:
    """The data set of what reaches the last layer: x (N, features) of every part."""
    data, told, rule = learner.data, learner.recipe.readout, learner.rule
    rule.eval()
    dtype = getattr(torch, told.dtype)
    size = math.prod(_reach(learner, data.x_train[:2]).shape[1:]) * dtype.itemsize
    in_file = size * sum(len(x) for _, x, _ in data.parts()) > told.memory * 1e9
    parts: dict[str, Any] = {}
    for part, x, y in data.parts():
        room: Tensor | None = None
        for index, (inputs, _) in enumerate(batches(x, y, BATCH, dtype=rule.like.dtype)):
            h = _reach(learner, inputs)
            if room is None:
                room = _room((len(x), h.shape[1]), dtype, scratch / f"{part}.features" if in_file else None)
                room = room if in_file else room.to(h.device)
            kept = room[index * BATCH : index * BATCH + len(h)].copy_(h)
            if not bool(kept.isfinite().all()):
                what = f"features of samples from {index * BATCH} of {part} on are too large for {told.dtype}"
                raise RunError(f"{what}: give the readout dtype = 'float32', or a bounded activation below")
        assert room is not None
        parts |= {f"x_{part}": room, f"y_{part}": y.to(room.device)}
    plain: dict[str, Any] = {"scaling": None, "scale": "none", "raw": None, "whitening": None, "features": ()}
    return replace(data, x_unlabelled=None, **plain, **parts)


def _reach(learner: Learner, x: Tensor) -> Tensor:
    """(N, features): what the layers below hand to the last synapse."""
    with torch.no_grad():
        h = as_input(x, learner.rule.like.dtype)
        for layer in learner.hidden:
            h = layer(h)
        return learner.rule.layers[-1].inlet(h).flatten(1)


def _room(shape: tuple[int, int], dtype: torch.dtype, path: Path | None) -> Tensor:
    if path is None:
        return torch.empty(shape, dtype=dtype)
    return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)


@contextmanager
def _folder(run: RunDirectory | None) -> Iterator[Path]:
    """A place for features that do not fit into memory, gone afterwards: beside the run, where there is room."""
    if run is None:
        with TemporaryDirectory() as name:
            yield Path(name)
        return
    path = run.path / "features"
    shutil.rmtree(path, ignore_errors=True)  # of a run that was killed
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
