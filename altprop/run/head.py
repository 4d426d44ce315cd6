"""The readout after the layers below it: the last layer learns by labels from what they say of every sample, computed
once, without a graph, and kept in memory or in a file."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer
from altprop.data import Dataset, as_input, batches
from altprop.measure import FITS
from altprop.nets import BitDropout
from altprop.rules import HEADS
from altprop.run.build import prepare
from altprop.run.directory.store import RunDirectory
from altprop.run.learner import Learner
from altprop.run.readout import Readout
from altprop.run.recipe import RunError

BATCH = 250  # of the samples whose features are computed at once


def take(learner: Learner, index: int) -> Learner:
    """What learns in the turn of that number: the learner itself, standing there, or a head on top of it."""
    turn = learner.turns[index]
    if not turn.head:
        learner.stand(index)
        return learner
    learner.let_all_learn()
    head, told = _head(learner), learner.recipe.readout
    head.before, head.planned, head.team = learner.planned - turn.epochs, learner.planned, learner.team
    head.solve = (lambda: _solve(head, told)) if told.by in FITS else None
    return head


def _solve(head: Learner, told: Readout) -> None:
    """The weights in closed form."""
    data, last = head.data, head.rule.layers[-1].synapse
    W, b = FITS[told.by](data.x_train, data.y_train, data.outputs, told.strength)
    last.get_parameter("weight").data.copy_(W)
    last.get_parameter("bias").data.copy_(b)


def _head(learner: Learner) -> Learner:
    """The readout as something that learns by itself, from features or, with augmentation, on top of the frozen net."""
    told, last = learner.recipe.readout, learner.rule.layers[-1]
    top = [BitDropout(told.dropout), last.synapse, last.activation]
    stepped = {key: getattr(told, key) for key in ("optimizer", "lr", "momentum", "weight_decay")}
    rule, arguments = HEADS[told.by]
    recipe = learner.recipe.with_(
        rule=rule, data="custom", net="custom", arguments=arguments, readout=stepped if arguments else {}, **stepped,
        epochs=told.epochs or 1, batch=told.batch, augment=told.augment, schedule=told.schedule, phase=[],
        nesterov=False, freeze=0, stream=False, measure=False, probe=False, class_weight=None,
    )  # fmt: skip
    if told.augment is None:
        return prepare(recipe, _features(learner), nn.Sequential(*top), resident=False)
    learner.rule.eval()
    return prepare(recipe, learner.data, nn.Sequential(_Below(learner.rule.layers[:-1]), last.inlet, *top))


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


def _features(learner: Learner) -> Dataset:
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
                room = _room((len(x), h.shape[1]), dtype, _file(learner, part) if in_file else None)
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
        for layer in learner.rule.layers[:-1]:
            h = layer(h)
        return learner.rule.layers[-1].inlet(h).flatten(1)


def _room(shape: tuple[int, int], dtype: torch.dtype, path: Path | None) -> Tensor:
    if path is None:
        return torch.empty(shape, dtype=dtype)
    return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)


def _file(learner: Learner, part: str) -> Path:
    assert learner.scratch is not None
    return learner.scratch / f"{part}.features"


@contextmanager
def scratch_of(learner: Learner, run: RunDirectory | None) -> Iterator[None]:
    """A place for features that do not fit into memory, gone afterwards: beside the run, where there is room."""
    path = None if run is None else run.path / "features"
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)  # of a run that was killed
        path.mkdir()
    try:
        with TemporaryDirectory() as name:
            learner.scratch = path or Path(name)
            yield
    finally:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
