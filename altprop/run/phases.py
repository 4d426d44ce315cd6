"""The readout after the layers below it: the last layer learns by labels from what they say of every sample, computed
once, without a graph, and kept in memory or in a file.  It is a run of its own inside the run, in ``readout/``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from altprop.data import Dataset, batches
from altprop.run.learner import Learner, prepare
from altprop.run.recipe import Readout
from altprop.run.store import RunDirectory
from altprop.run.train import Position, Progress, evaluate, resume, train

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
    learner.let_learn([])
    with _folder(run) as scratch:
        head = _head(learner, scratch)
        own, start = None, Position()
        if run is not None and (run.path / FOLDER / "checkpoint" / "state.json").exists():
            own = RunDirectory.open(run.path / FOLDER)
            start = resume(head, own)
        elif run is not None:
            own = RunDirectory.create(run.path / FOLDER, head.recipe, head.data)
        before = (len(position.rows), position.step, position.seconds)
        train(head, start, own, progress, None if report is None else lambda row: report(_behind(row, before)))
        position.rows += [_behind(row, before) for row in start.rows]
        accuracy = evaluate(head.rule, head.data.x_train, head.data.y_train)[1]
    learner.let_learn(learner.hidden)
    if run is not None:
        run.log(position.rows)
    return accuracy


def _behind(row: dict[str, Any], before: tuple[int, int, float]) -> dict[str, Any]:
    epochs, steps, seconds = before
    shifted = {"epoch": row["epoch"] + epochs, "step": row["step"] + steps, "seconds": row["seconds"] + seconds}
    return {**row, **shifted}


def _head(learner: Learner, scratch: Path) -> Learner:
    """The readout as something that learns by itself, from features or, with augmentation, on top of the frozen net."""
    told = learner.recipe.readout
    last = learner.rule.layers[-1]
    top = [nn.Dropout(told.dropout), last.synapse, last.activation]
    recipe = learner.recipe.with_(
        rule="shallow" if told.augment else "bp", arguments={}, data="custom", net="custom", epochs=told.epochs,
        batch=told.batch, optimizer=told.optimizer, lr=told.lr, momentum=told.momentum, augment=told.augment,
        weight_decay=told.weight_decay, schedule=told.schedule, rates=[], layerwise=False, readout=Readout(),
        nesterov=False, freeze=0, stream=False, measure=False, probe=False,
    )  # fmt: skip
    if told.augment is None:
        return prepare(recipe, _features(learner, scratch), nn.Sequential(*top))
    below = [part for layer in learner.hidden for part in (layer.inlet, layer.synapse, layer.activation)]
    head = prepare(recipe, learner.data, nn.Sequential(*below, last.inlet, *top))
    head.still = [*below, last.inlet]
    return head


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
            room[index * BATCH : index * BATCH + len(h)] = h
        parts[f"x_{part}"] = room
    return replace(data, scaling=None, x_unlabelled=None, **parts)


def _reach(learner: Learner, x: Tensor) -> Tensor:
    """(N, features): what the layers below hand to the last synapse."""
    with torch.no_grad():
        h = x.to(learner.rule.like.dtype)
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
    with TemporaryDirectory(dir=None if run is None else run.path) as name:
        yield Path(name)
