"""The run directory: what is written while a run goes on, so that it can be resumed, read and loaded.

    recipe.toml  environment.json  data.json  metrics.jsonl     and, where inputs are whitened, whitening.safetensors
    checkpoint/state.json + checkpoint/<step>.safetensors       resumable to the bit
    model.safetensors  rule.safetensors                         at the end: plain state dicts of the net and of the rule

Every file appears whole or not at all: it is written beside its place and then moved there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, model_validator
from torch import Tensor

from altprop.data import Dataset
from altprop.run.recipe import Recipe, RunError, read_recipe

FORMAT = 1  # of the checkpoint
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all; raises ``RunError`` where the disk is full or forbids it."""
    if path.is_dir():
        raise RunError(f"{path} is a folder: give the path of a file")
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(scratch, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise failed_write(path, error) from error


def failed_write(path: Path, error: OSError) -> RunError:
    what = "the disk is full" if error.errno in FULL else error.strerror or str(error)
    return RunError(f"cannot write {path}: {what}; free some space or allow writing there, or choose another --out")


def check_free(path: Path) -> None:
    """Raises ``RunError`` where something stands at ``path`` already, an empty folder excepted."""
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise failed_write(path, error) from error
    if taken:
        raise RunError(f"{path} is there already: choose another --out, or go on with a run by --resume")


class RunDirectory:
    """One run on disk.  ``create`` makes a new one, ``open`` takes one that is there."""

    def __init__(self, path: Path, made: Sequence[Path] = ()) -> None:
        self.path = path
        self.made = made  # the folders that this run brought about, the innermost first
        self.checkpoint = path / "checkpoint"

    @classmethod
    def create(cls, path: Path, recipe: Recipe, data: Dataset) -> RunDirectory:
        """A new directory; raises ``RunError`` where there is something already, or where nothing can be written."""
        check_free(path)
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            cls(path, made).remove()
            raise failed_write(path, error) from error
        run = cls(path, made)
        try:
            write_atomically(path / "recipe.toml", recipe.toml())
            write_atomically(path / "environment.json", json.dumps(environment(recipe.device), indent=1))
            write_atomically(path / "data.json", json.dumps(describe(data), indent=1))
            if data.whitening is not None:
                parts = {"mean": data.whitening[0].contiguous(), "matrix": data.whitening[1].contiguous()}
                write_atomically(path / "whitening.safetensors", safetensors.torch.save(parts))
        except RunError:
            run.remove()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """A run that is there; raises ``RunError`` for a path that holds none."""
        if not path.is_dir():
            raise RunError(f"no run directory {path}: give the folder that altprop train wrote")
        for name in ("recipe.toml", "data.json"):
            if not (path / name).is_file():
                raise RunError(
                    f"{path} is no run directory, it has no {name}: give the folder that altprop train wrote"
                )
        return cls(path)

    def remove(self) -> None:
        """Take back what ``create`` and the run have made, folders around it too if they are empty again."""
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in self.made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def recipe(self) -> Recipe:
        """What it was made of; a recipe that says nothing of scales is from before they were decided by the data."""
        recipe = read_recipe(self.path / "recipe.toml")
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
        try:
            parts = safetensors.torch.load(path.read_bytes())
            return parts["mean"], parts["matrix"]
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise _corrupt(path, error) from error

    def data(self) -> dict[str, Any]:
        """Name, shape, outputs and classes of the data, what its samples were, and what was done to them."""
        path = self.path / "data.json"
        data = _read_json(path)
        try:
            Description(**data)
        except ValueError as error:
            raise _corrupt(path, ValueError("it does not describe data")) from error
        return data

    def metrics(self) -> list[dict[str, Any]]:
        """One row an epoch."""
        path = self.path / "metrics.jsonl"
        try:
            return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        except (OSError, ValueError) as error:
            raise _corrupt(path, error) from error

    def log(self, rows: list[dict[str, Any]]) -> None:
        write_atomically(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """A checkpoint.  state.json names the tensor file and its hash, and is replaced last, so that they agree."""
        try:
            self.checkpoint.mkdir(exist_ok=True)
        except OSError as error:
            raise failed_write(self.checkpoint, error) from error
        content = safetensors.torch.save({key: tensor.detach().contiguous() for key, tensor in tensors.items()})
        name = f"{state['step']:09d}.safetensors"
        write_atomically(self.checkpoint / name, content)
        state = {"format": FORMAT, "tensors": name, "sha256": hashlib.sha256(content).hexdigest(), **state}
        write_atomically(self.checkpoint / "state.json", json.dumps(state))
        for old in self.checkpoint.glob("*.safetensors"):
            if old.name != name:
                old.unlink()

    def restore(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The last checkpoint; raises ``RunError`` for one that is missing, damaged or of another format."""
        if not (self.checkpoint / "state.json").is_file():
            raise RunError(f"{self.path} holds no checkpoint to resume: start the run anew with another --out")
        state = _read_json(self.checkpoint / "state.json")
        if state.get("format") != FORMAT or "tensors" not in state:
            raise RunError(f"{self.checkpoint} has format {state.get('format')}, not {FORMAT}: start the run anew")
        path = self.checkpoint / Path(str(state["tensors"])).name
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != state["sha256"]:
                raise ValueError("its checksum does not match state.json")
            return safetensors.torch.load(content), state
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise _corrupt(path, error) from error

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
        path = self.path / "rule.safetensors"
        if not self.ended:
            tensors, _ = self.restore()
            return {key.removeprefix("rule."): t for key, t in tensors.items() if key.startswith("rule.")}
        try:
            return safetensors.torch.load(path.read_bytes())
        except (OSError, safetensors.SafetensorError) as error:
            raise _corrupt(path, error) from error


class Original(BaseModel):
    """What the samples were before anything was done to them: ``altprop.data.Raw``."""

    shape: list[int]
    dtype: str
    low: float
    high: float


class Description(BaseModel):
    """data.json; what is not demanded is not in that of older runs."""

    name: str
    shape: list[int]
    outputs: int
    classes: list[str]
    samples: dict[str, int]
    scaling: list[Any] | None
    target_scaling: list[list[float]] | None = None
    features: list[str] = []
    raw: Original | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Description:
        pairs = [pair for pair in (self.scaling, self.target_scaling) if pair is not None]
        if len(self.classes) not in (0, self.outputs) or any(len(pair) != 2 for pair in pairs):
            raise ValueError("classes, outputs and scaling do not agree")
        return self


def describe(data: Dataset) -> dict[str, Any]:
    """What must be known of the data to use the net without them."""
    counts = {part: len(x) for part, x, _ in data.parts()}
    return {
        "name": data.name, "shape": list(data.shape), "outputs": data.outputs, "classes": list(data.classes),
        "samples": counts, "scaling": _plain(data.scaling), "target_scaling": _plain(data.target_scaling),
        "features": list(data.features), "raw": data.original._asdict() | {"shape": list(data.original.shape)},
    }  # fmt: skip


def _plain(scaling: tuple[Tensor, Tensor] | None) -> list[Any] | None:
    return scaling and [part.squeeze(0).tolist() for part in scaling]


def environment(device: str) -> dict[str, Any]:
    """What a number travels with."""
    import altprop

    return {
        "altprop": altprop.__version__, "torch": torch.__version__, "python": platform.python_version(),
        "platform": platform.platform(), "cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
    }  # fmt: skip


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}, not an object")
        return content
    except (OSError, ValueError) as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} cannot be read ({str(error).splitlines()[0]}): the run is damaged, train it anew")
