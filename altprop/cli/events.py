"""TensorBoard's events of a run: what its rows of metrics hold, and at the end its settings and first layer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from altprop.run.directory.records import depths_of, read_run
from altprop.run.recipe import RunError


class Events:
    """``row`` takes one epoch's metrics.  As a context it closes the file, after what is known only at the end.

    Numbers of layers have one tag a layer, such as angle_to_bp/hidden 1.  Raises ``RunError`` without TensorBoard."""

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            missing = "--tensorboard needs a package that is missing: pip install 'altprop[tensorboard]'"
            raise RunError(missing) from error
        self.make_writer, self.run = SummaryWriter, run
        self.writer: Any = None
        self.last: dict[str, Any] = {}

    def row(self, row: dict[str, Any]) -> None:
        if self.writer is None:  # only now the run directory is there
            self.writer = self.make_writer(str(self.run / "tensorboard"))
        depths = depths_of([*(row.get("weight_norm") or row.get("angle_to_bp") or {})])
        for key, value in row.items():
            for tag, number in _tagged(key, value, depths):
                if isinstance(number, int | float) and key not in ("epoch", "step"):
                    self.writer.add_scalar(tag, number, row["step"])
        self.last = row

    def __enter__(self) -> Events:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self.writer is None:
            return
        if kind is None:
            self._end()
        self.writer.close()

    def _end(self) -> None:
        """The first layer's pictures, if they were measured, and the settings with what they reached."""
        run, step = read_run(self.run), self.last["step"]
        measured = run.measures.get("receptive_fields") or {}
        if "values" in measured:
            images = np.asarray(measured["values"], dtype=float).reshape(measured["shape"])
            images = images.reshape(len(images), -1, *images.shape[-2:])
            images = images if images.shape[1] in (1, 3) else images.mean(1, keepdims=True)
            low, high = (edge(images, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
            self.writer.add_images("receptive_fields", (images - low) / np.maximum(high - low, 1e-12), step)
        plain = {key: value for key, value in run.recipe.items() if isinstance(value, bool | int | float | str)}
        plain |= {key: str(value) for key, value in run.recipe.items() if key not in plain}
        reached = {f"reached/{key}": self.last[key] for key in ("test_accuracy", "test_loss")}
        known = {key: value for key, value in reached.items() if isinstance(value, int | float)}
        self.writer.add_hparams(plain, known, run_name=".", global_step=step)  # in the same folder


def _tagged(tag: str, value: Any, depths: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """(tag, number) of a number, or of all that lie below: what the rule tells, and the layers."""
    if not isinstance(value, dict):
        yield tag, value
        return
    for name, part in value.items():
        yield from _tagged(f"{tag}/{depths.get(name, name)}", part, depths)
