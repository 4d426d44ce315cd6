"""What a report reads: run directories, from the outside and without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altprop.run.directory.files import AGAIN, RunError, check, read_json, read_rows, read_text, read_toml
from altprop.run.directory.schemas import Environment, Measures, Row, Told
from altprop.run.readout import SOLVED

ReportError = RunError  # what cannot be reported

Curve = Mapping[int, float | None] | Sequence[float | None]

LAYERWISE = {  # numbers by layer in a line of metrics.jsonl, what the page calls them, and their unit
    "angle_to_bp": ("angle to backpropagation", " (°)"),
    "feedback_angle": ("angle of feedback to weights", " (°)"),
    "weight_norm": ("norm of weights", ""),
    "unit_norm": ("mean norm of a unit's weights", ""),
    "never_win": ("units that never win", ""),
}


@dataclass(frozen=True)
class RunRecord:
    """A run directory as read: `epochs` holds the lines of metrics.jsonl by epoch, of one that came twice the last."""

    name: str
    recipe: Mapping[str, Any]
    text: str
    environment: Mapping[str, Any]
    epochs: Mapping[int, Mapping[str, Any]]
    measures: Mapping[str, Any]  # of measures.json, what ``train --measure`` looked at in the end

    @property
    def rule(self) -> str:
        return str(self.recipe.get("rule") or re.sub(r"-seed\d+$", "", self.name))

    @property
    def last(self) -> Mapping[str, Any]:
        return self.epochs[max(self.epochs)] if self.epochs else {}

    @property
    def done(self) -> int:
        return max(self.epochs, default=0)

    @property
    def unfinished(self) -> bool:
        told = self.recipe.get("readout")
        if isinstance(told, dict) and (told.get("epochs") or told.get("by") in SOLVED):  # after the layers below
            read = sum(line.get("test_loss") is not None for line in self.epochs.values())
            return read < (told.get("epochs") or 1)
        phases = [epochs for table in self.recipe.get("phase") or () if (epochs := table.get("epochs")) is not None]
        planned = sum(phases) if phases else self.recipe.get("epochs")
        return isinstance(planned, int) and self.done < planned

    @property
    def depths(self) -> dict[str, str]:
        """What each layer is called, in the net's order: hidden 1, hidden 2, ..., output."""
        rows = [line.get(key) for key in ("weight_norm", "angle_to_bp") for line in self.epochs.values()]
        told = [*rows, self.measures.get("weights"), self.measures.get("winners")]
        names = next((list(layers) for layers in told if layers and "refused" not in layers), [])
        return depths_of(names)

    def curve(self, key: str, scale: float = 1.0) -> dict[int, float | None]:
        """The numbers under `key` by epoch, times `scale`."""
        return {epoch: _scaled(line.get(key), scale) for epoch, line in self.epochs.items()}

    def layerwise(self, key: str) -> dict[str, dict[int, float | None]]:
        """By layer, in the net's order, the numbers under one of `LAYERWISE` by epoch."""
        layers: dict[str, dict[int, float | None]] = {}
        for epoch, line in self.epochs.items():
            for layer, value in (line.get(key) or {}).items():
                layers.setdefault(layer, {})[epoch] = value
        return {layer: curve for layer, curve in layers.items() if has_numbers([curve])}

    @property
    def vanished(self) -> Mapping[str, float]:
        """The layers in which backpropagation's gradient had vanished after the last epoch, and how far."""
        return self.last.get("vanished_gradient") or {}

    @property
    def watched(self) -> dict[str, dict[str, dict[int, float | None]]]:
        """What the rule told of itself by epoch: by name, then by layer, or by "" where it is of the whole net."""
        told: dict[str, dict[str, dict[int, float | None]]] = {}
        for epoch, line in self.epochs.items():
            for name, value in (line.get("watch") or {}).items():
                for layer, number in (value if isinstance(value, dict) else {"": value}).items():
                    told.setdefault(name, {}).setdefault(layer, {})[epoch] = number
        return told


def depths_of(names: Sequence[str]) -> dict[str, str]:
    """What layers are called, given their names in a net in its order."""
    hidden = {name: f"hidden {place}" for place, name in enumerate(names[:-1], 1)}
    return hidden | dict.fromkeys(names[-1:], "output")


def read_run(folder: Path) -> RunRecord:
    """The run in `folder`; metrics.jsonl and environment.json may be missing, as when it stopped early.

    Raises `ReportError` for a file that is there and cannot be read.  A last line that was being written is left out.
    """
    path = folder / "recipe.toml"
    recipe = read_toml(path, AGAIN)
    check(path, recipe, Told)
    facts, measures = (
        read_json(file, schema) if file.is_file() else {}
        for file, schema in ((folder / "environment.json", Environment), (folder / "measures.json", Measures))
    )
    metrics = folder / "metrics.jsonl"
    lines = read_rows(metrics, Row, whole=False) if metrics.is_file() else []
    epochs = {line["epoch"]: line for line in lines}
    return RunRecord(folder.resolve().name, recipe, read_text(path), facts, epochs, measures)


def numbers(curve: Curve) -> list[float]:
    values = curve.values() if isinstance(curve, Mapping) else curve
    return [value for value in values if value is not None and abs(value) < 1e100]


def has_numbers(runs: Iterable[Curve]) -> bool:
    return any(numbers(run) for run in runs)


def _scaled(value: Any, scale: float) -> float | None:
    return value * scale if isinstance(value, int | float) else None
