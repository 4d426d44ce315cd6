"""What a report reads: run directories, from the outside and without torch."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from altprop.run.readout import SOLVED

Curve = Mapping[int, float | None] | Sequence[float | None]

LAYERWISE = {  # numbers by layer in a line of metrics.jsonl, what the page calls them, and their unit
    "angle_to_bp": ("angle to bp", " (°)"),
    "feedback_angle": ("angle of feedback to weights", " (°)"),
    "weight_norm": ("norm of weights", ""),
    "unit_norm": ("mean norm of a unit's weights", ""),
    "never_win": ("units that never win", ""),
}


class ReportError(ValueError):
    """What cannot be reported. The message is one line: what came, what was expected, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


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
        planned = self.recipe.get("epochs")
        return isinstance(planned, int) and self.done < planned

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


def read_run(folder: Path) -> RunRecord:
    """The run in `folder`; metrics.jsonl and environment.json may be missing, as when it stopped early.

    Raises `ReportError` for a file that is there and cannot be read.  A last line that was being written is left out.
    """
    text = read_text(folder / "recipe.toml")
    try:
        recipe = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise unreadable(folder / "recipe.toml", error, "TOML") from error
    environment, metrics = folder / "environment.json", folder / "metrics.jsonl"
    facts = read_json(environment, read_text(environment)) if environment.is_file() else {}
    epochs = _epochs(metrics, read_text(metrics)) if metrics.is_file() else {}
    measures = folder / "measures.json"
    looked_at = read_json(measures, read_text(measures)) if measures.is_file() else {}
    return RunRecord(folder.resolve().name, recipe, text, facts, epochs, looked_at)


def _epochs(path: Path, text: str) -> dict[int, dict[str, Any]]:
    epochs = {}  # behind the last line break is a line that a run is writing, or was when it was stopped
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if line.strip():
            entry = read_json(path, line, f"line {number}: ")
            layerwise = [entry.get(key) or {} for key in LAYERWISE]
            if not isinstance(entry.get("epoch"), int) or not all(isinstance(part, dict) for part in layerwise):
                problem = "needs a whole number as epoch, and angles by layer if any"
                raise unreadable(path, f"line {number} {problem}", "metrics")
            plain = {key: value for key, value in entry.items() if key not in LAYERWISE}
            for key, value in (item for part in (plain, *layerwise) for item in part.items()):
                if value is not None and not isinstance(value, int | float):
                    raise unreadable(path, f"line {number}: {key} is {value!r:.60}", "numbers or null")
            epochs[entry["epoch"]] = entry
    return epochs


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error, "a text file in UTF-8") from error


def read_json(path: Path, text: str, where: str = "") -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise unreadable(path, f"{where}{error}", "JSON") from error
    if isinstance(content, dict):
        return content
    raise unreadable(path, f"{where}{type(content).__name__}", "a JSON object")


def unreadable(path: Path, came: object, expected: str) -> ReportError:
    return ReportError(f"{path}: unreadable ({came}); expected {expected}; write it again by running it again")


def numbers(curve: Curve) -> list[float]:
    values = curve.values() if isinstance(curve, Mapping) else curve
    return [value for value in values if value is not None and abs(value) < 1e100]


def has_numbers(runs: Iterable[Curve]) -> bool:
    return any(numbers(run) for run in runs)


def _scaled(value: Any, scale: float) -> float | None:
    return value * scale if isinstance(value, int | float) else None
