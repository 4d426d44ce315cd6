"""A run's folder, whatever learns in it: made anew or not at all, with checkpoints that are whole or not there.

    checkpoint/state.json + checkpoint/<step>.safetensors       resumable to the bit

Every file appears whole or not at all: it is written beside its place and then moved there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import safetensors.torch
import torch
from pydantic import BaseModel
from torch import Tensor

from altprop.limits import shorten
from altprop.run.directory.files import RunError, check, failed_write, is_folder, read_json, write_atomically
from altprop.run.directory.schemas import Format
from altprop.run.directory.tensors import read_tensors

FORMAT = 1  # of the checkpoint
F = TypeVar("F", bound="Folder")


def check_free(path: Path) -> None:
    """Raises ``RunError`` where something stands at ``path`` already, an empty folder excepted."""
    try:
        os.stat(path)  # which says that a path is too long or holds a zero byte
        taken = not path.is_dir() or any(path.iterdir())
    except FileNotFoundError:
        taken = path.is_symlink()
    except (OSError, ValueError) as error:
        raise failed_write(path, error) from error
    if taken:
        raise RunError(f"{shorten(path, 120)} is there already: choose another --out, or go on with a run by --resume")


class Folder:
    """The family.  ``make`` begins one with its first files, ``open`` takes one that is there."""

    demanded: ClassVar[tuple[str, ...]]  # files without which it is none
    schema: ClassVar[type[BaseModel]]  # of checkpoint/state.json

    def __init__(self, path: Path, made: Sequence[Path] = ()) -> None:
        self.path = path
        self.made = made  # the folders that this run brought about, the innermost first
        self.checkpoint = path / "checkpoint"

    @classmethod
    def make(cls: type[F], path: Path, files: Mapping[str, str | bytes]) -> F:
        """A new folder with these files; raises ``RunError`` where there is something already, or where nothing can be
        written."""
        check_free(path)
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        run = cls(path, made)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            run.remove()
            raise failed_write(path, error) from error
        try:
            for name, content in files.items():
                write_atomically(path / name, content)
        except RunError:
            run.remove()
            raise
        return run

    @classmethod
    def open(cls: type[F], path: Path) -> F:
        """A run that is there; raises ``RunError`` for a path that holds none."""
        advice = "give the folder that altprop train wrote"
        if not is_folder(path):
            raise RunError(f"no run directory {shorten(path, 120)}: {advice}")
        lacking = [name for name in cls.demanded if not (path / name).is_file()]
        if lacking:
            raise RunError(f"{shorten(path, 120)} is no run directory, it has no {lacking[0]}: {advice}")
        return cls(path)

    def remove(self) -> None:
        """Take back what ``make`` and the run have made, folders around it too if they are empty again."""
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in self.made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

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
        state = read_json(self.checkpoint / "state.json", Format)
        if state["format"] != FORMAT:
            raise RunError(f"{self.checkpoint} has format {state['format']}, not {FORMAT}: start the run anew")
        check(self.checkpoint / "state.json", state, self.schema)
        return read_tensors(self.checkpoint / state["tensors"], state["sha256"]), state


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
