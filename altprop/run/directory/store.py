"""The run directory: what is written while a run goes on, so that it can be resumed, read and loaded.

    recipe.toml  environment.json  data.json  metrics.jsonl     and, where inputs are whitened, whitening.safetensors
    checkpoint/state.json + checkpoint/<step>.safetensors       resumable to the bit
    model.safetensors  rule.safetensors                         at the end: plain state dicts of the net and of the rule

Every file appears whole or not at all: it is written beside its place and then moved there.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import Field, model_validator
from torch import Tensor

from altprop.data import Dataset, TableEncoding
from altprop.limits import memory, shown
from altprop.run.directory.files import RunError, read_json, read_rows, unreadable, write_atomically
from altprop.run.directory.folder import Folder, environment
from altprop.run.directory.schemas import Finite, FullRow, Loose, State, Whole
from altprop.run.directory.tensors import read_tensors
from altprop.run.recipe import Recipe
from altprop.run.values import read_recipe

DECIDED = ("loss", "net", "optimizer", "act", "lr", "epochs")  # of a recipe, when its run begins


class RunDirectory(Folder):
    """One run of a rule on disk.  ``create`` makes a new one, ``open`` takes one that is there."""

    demanded, schema = ("recipe.toml", "data.json"), State

    @classmethod
    def create(cls, path: Path, recipe: Recipe, data: Dataset) -> RunDirectory:
        """A new directory; raises ``RunError`` where there is something already, or where nothing can be written."""
        files: dict[str, str | bytes] = {
            "recipe.toml": recipe.toml(),
            "environment.json": json.dumps(environment(recipe.device), indent=1),
            "data.json": json.dumps(describe(data), indent=1),
        }
        if data.whitening is not None:
            parts = {"mean": data.whitening[0].contiguous(), "matrix": data.whitening[1].contiguous()}
            files["whitening.safetensors"] = safetensors.torch.save(parts)
        return cls.make(path, files)

    def recipe(self) -> Recipe:
        """Its recipe, with everything decided; raises ``RunError``.

        One that says nothing of scales is from before they were decided by the data."""
        recipe = read_recipe(self.path / "recipe.toml")
        missing = [key for key in DECIDED if getattr(recipe, key) is None]
        if missing:
            raise unreadable(self.path / "recipe.toml", f"{missing[0]} is missing", "the recipe that the run has left")
        if recipe.scale is not None:
            return recipe
        return recipe.with_(scale="none", target_scale=None if self.data()["classes"] else "none")

    def whitening(self) -> tuple[Tensor, Tensor] | None:
        """(mean, matrix) that its inputs were whitened by; raises ``RunError`` where they were and it is not there."""
        path = self.path / "whitening.safetensors"
        if self.recipe().whiten is None:
            return None
        if not path.is_file():
            raise RunError(f"{self.path} was trained on whitened inputs, but has no {path.name}: train it anew")
        parts = read_tensors(path)
        if parts.keys() != {"mean", "matrix"}:
            raise unreadable(path, f"it holds {shown(sorted(parts))}", "mean and matrix")
        return parts["mean"], parts["matrix"]

    def data(self) -> dict[str, Any]:
        """Name, shape, outputs and classes of the data, the names of its columns, what its samples were, and what was
        done to them."""
        return read_json(self.path / "data.json", Description)

    def table(self) -> TableEncoding | None:
        """How columns became features; None for data without names, and for runs that did not keep them."""
        data = self.data()
        if data.get("table") is not None:
            return TableEncoding.from_state(data["table"])
        return TableEncoding(tuple(data["features"]), {}, self.recipe().label) if data.get("features") else None

    def metrics(self) -> list[dict[str, Any]]:
        """One row an epoch of a run that has ended; raises ``RunError`` where there is none."""
        path = self.path / "metrics.jsonl"
        rows = read_rows(path, FullRow)
        if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)) or not rows:
            raise unreadable(path, "its rows do not count the epochs", "one row an epoch")
        return rows

    def log(self, rows: list[dict[str, Any]]) -> None:
        write_atomically(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def finish(self, net: dict[str, Tensor], rule: dict[str, Tensor]) -> None:
        """The plain state dicts of a finished run."""
        for name, tensors in (("model", net), ("rule", rule)):
            content = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            write_atomically(self.path / f"{name}.safetensors", safetensors.torch.save(content))

    @property
    def ended(self) -> bool:
        """Whether nothing of its training is left to do."""
        return (self.path / "rule.safetensors").is_file()

    def finished(self) -> dict[str, Tensor]:
        """The rule's state dict at the end, or at the last checkpoint of a run that has not ended."""
        if self.ended:
            return read_tensors(self.path / "rule.safetensors")
        tensors, _ = self.restore()
        return {key.removeprefix("rule."): t for key, t in tensors.items() if key.startswith("rule.")}


class Original(Loose):
    """What the samples were before anything was done to them: ``altprop.data.Raw``."""

    shape: list[Whole] = Field(min_length=1, max_length=8)
    dtype: str
    low: Finite
    high: Finite


class Description(Loose):
    """data.json; what is not demanded is not in that of older runs."""

    name: str
    shape: list[Whole] = Field(min_length=1, max_length=8)
    outputs: int = Field(ge=1, lt=2**31)
    classes: list[str]
    samples: dict[str, Whole]
    scaling: list[Any] | None
    features: list[str] = Field(default_factory=list)
    table: dict[str, Any] | None = None
    target_scaling: list[Any] | None = None
    raw: Original | None = None
    weighted: bool = False  # whether the training samples counted differently

    @model_validator(mode="after")
    def _agrees(self) -> Description:
        if len(self.classes) not in (0, self.outputs) or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"{len(self.classes)} classes do not name {self.outputs} outputs, each once")
        if not 0 < 4 * prod(self.shape) <= memory():
            raise ValueError(f"samples of shape {shown(self.shape)} are empty, or fit into no memory")
        if self.scaling is not None and not _scales(self.scaling, self.raw.shape if self.raw else self.shape):
            raise ValueError("its scaling is no pair of an offset and a spread above 0 that fit the shape")
        if self.target_scaling is not None and not _scales(self.target_scaling, [self.outputs]):
            raise ValueError("its target_scaling is no pair of an offset and a spread above 0, one for each output")
        if self.features and [len(self.features)] != self.shape:
            raise ValueError("features and shape do not agree")
        if self.table is not None and list(TableEncoding.from_state(self.table).features) != self.features:
            raise ValueError("table and features do not agree")
        return self


def _scales(scaling: list[Any], shape: list[int]) -> bool:
    """Whether these are an offset and a spread for samples of that shape."""
    try:
        offset, spread = (torch.tensor(part, dtype=torch.float32) for part in scaling)
        fits = all(torch.broadcast_shapes(part.shape, shape) == tuple(shape) for part in (offset, spread))
        return fits and bool(offset.isfinite().all()) and bool((spread.isfinite() & (spread > 0)).all())
    except (TypeError, ValueError, RuntimeError):  # no numbers, no pair, or lists of unequal lengths
        return False


def describe(data: Dataset) -> dict[str, Any]:
    """What must be known of the data to use the net without them."""
    counts = {part: len(x) for part, x, _ in data.parts()}
    return {
        "name": data.name, "shape": list(data.shape), "outputs": data.outputs, "classes": list(data.classes),
        "samples": counts, "scaling": _plain(data.scaling), "target_scaling": _plain(data.target_scaling),
        "features": list(data.features), "weighted": data.weights is not None,
        "table": None if data.table is None else data.table.state(),
        "raw": data.original._asdict() | {"shape": list(data.original.shape)},
    }  # fmt: skip


def _plain(scaling: tuple[Tensor, Tensor] | None) -> list[Any] | None:
    return scaling and [part.squeeze(0).tolist() for part in scaling]
