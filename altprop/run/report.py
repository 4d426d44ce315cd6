"""One HTML file of a run, or of a comparison: every number and line in it is read from their directories."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, Undefined
from markupsafe import Markup
from matplotlib.figure import Figure

from altprop.run import plots

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REFERENCE = "bp"
LAYERWISE = {  # numbers by layer in a line of metrics.jsonl, what the page calls them, and their unit
    "angle_to_bp": ("angle to bp", " (°)"),
    "feedback_angle": ("angle of feedback to weights", " (°)"),
    "weight_norm": ("norm of weights", ""),
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
        return {layer: curve for layer, curve in layers.items() if _has_numbers([curve])}


def write_report(folder: Path, out: Path | None = None) -> Path:
    """One self-contained HTML file on the run or comparison in `folder`, which opens offline; returns its path.

    out: where to write it, by default report.html in `folder`; a file there is replaced in one step, or stays whole.
    Raises `ReportError` for a folder that is neither, and for files in it that cannot be read.
    """
    folder = Path(folder)
    out = folder / "report.html" if out is None else Path(out)
    if out.is_dir():
        raise ReportError(f"{out}: is a directory; expected a file to write; give one, such as {out / 'report.html'}")
    if (folder / "comparison.json").is_file():
        context = _comparison(folder)
    elif (folder / "recipe.toml").is_file():
        context = _single(read_run(folder))
    else:
        came = "neither recipe.toml nor comparison.json is in it" if folder.is_dir() else "no such directory"
        raise ReportError(f"{folder}: {came}; expected the directory of a run or of a comparison; check the path")
    _write(out, _page(context))
    return out


def read_run(folder: Path) -> RunRecord:
    """The run in `folder`; metrics.jsonl and environment.json may be missing, as when it stopped early.

    Raises `ReportError` for a file that is there and cannot be read.  A last line that was being written is left out.
    """
    text = _read(folder / "recipe.toml")
    try:
        recipe = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(folder / "recipe.toml", error, "TOML") from error
    environment, metrics = folder / "environment.json", folder / "metrics.jsonl"
    facts = _json(environment, _read(environment)) if environment.is_file() else {}
    epochs = _epochs(metrics, _read(metrics)) if metrics.is_file() else {}
    return RunRecord(folder.resolve().name, recipe, text, facts, epochs)


def _epochs(path: Path, text: str) -> dict[int, dict[str, Any]]:
    epochs = {}  # behind the last line break is a line that a run is writing, or was when it was stopped
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if line.strip():
            entry = _json(path, line, f"line {number}: ")
            layerwise = [entry.get(key) or {} for key in LAYERWISE]
            if not isinstance(entry.get("epoch"), int) or not all(isinstance(part, dict) for part in layerwise):
                problem = "needs a whole number as epoch, and angles by layer if any"
                raise _unreadable(path, f"line {number} {problem}", "metrics")
            plain = {key: value for key, value in entry.items() if key not in LAYERWISE}
            for key, value in (item for part in (plain, *layerwise) for item in part.items()):
                if value is not None and not isinstance(value, int | float):
                    raise _unreadable(path, f"line {number}: {key} is {value!r:.60}", "numbers or null")
            epochs[entry["epoch"]] = entry
    return epochs


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, "a text file in UTF-8") from error


def _json(path: Path, text: str, where: str = "") -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _unreadable(path, f"{where}{error}", "JSON") from error
    if isinstance(content, dict):
        return content
    raise _unreadable(path, f"{where}{type(content).__name__}", "a JSON object")


def _unreadable(path: Path, came: object, expected: str) -> ReportError:
    return ReportError(f"{path}: unreadable ({came}); expected {expected}; write it again by running it again")


def _single(run: RunRecord) -> dict[str, Any]:
    parts = (("train", "train_", ""), ("validation", "val_", "val_"), ("test", "test_", "test_"))
    accuracy = {name: [run.curve(f"{prefix}accuracy", 100)] for name, prefix, _ in parts}
    loss = {name: [run.curve(f"{prefix}loss")] for name, _, prefix in parts}
    angles = {layer: [curve] for layer, curve in run.layerwise("angle_to_bp").items()}
    settings = {key: value for key, value in run.recipe.items() if not isinstance(value, dict)}
    arguments = run.recipe.get("arguments")
    settings |= arguments if isinstance(arguments, dict) else {}
    return {
        "title": run.rule,
        "run": run,
        "settings": settings,
        "figures": _figures(("accuracy", accuracy), ("loss", loss), {run.rule: angles}),
        "runs": [run],
        "environment": {key: _text(value) for key, value in run.environment.items()},
    }


def _comparison(folder: Path) -> dict[str, Any]:
    path = folder / "comparison.json"
    content = _json(path, _read(path))
    rows = content.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _unreadable(path, "no list of objects under 'rows'", "a row for each rule")
    runs = [read_run(child) for child in sorted(folder.iterdir()) if (child / "recipe.toml").is_file()]
    order = {str(row.get("rule")): place for place, row in enumerate(rows)}
    runs.sort(key=lambda run: (order.get(run.rule, len(order)), run.rule, _natural(run.name)))
    by_rule: dict[str, list[RunRecord]] = {}
    for run in runs:
        by_rule.setdefault(run.rule, []).append(run)
    accuracy = {rule: [run.curve("test_accuracy", 100) for run in group] for rule, group in by_rule.items()}
    # A regression has no accuracy; its loss on unseen samples then says how good a rule is.
    unseen = not any(map(_has_numbers, accuracy.values())) and any(_has_numbers([r.curve("test_loss")]) for r in runs)
    key = "test_loss" if unseen else "loss"
    loss = {rule: [run.curve(key) for run in group] for rule, group in by_rule.items()}
    angles: dict[str, dict[str, list[plots.Curve]]] = {rule: {} for rule in by_rule}
    for run in runs:
        for layer, curve in run.layerwise("angle_to_bp").items():
            angles[run.rule].setdefault(layer, []).append(curve)
    facts = dict.fromkeys(key for run in runs for key in run.environment)
    seen = {key: dict.fromkeys(_text(run.environment.get(key)) for run in runs) for key in facts}
    return {
        "title": f"Comparison on {content.get('data') or 'unnamed data'}",
        "comparison": content,
        "rows": rows,
        "figures": _figures(("test accuracy", accuracy), ("test loss" if unseen else "training loss", loss), angles),
        "runs": runs,
        "environment": {key: " | ".join(values) for key, values in seen.items()},
    }


def _figures(
    accuracy: tuple[str, Mapping[str, Sequence[plots.Curve]]],
    loss: tuple[str, Mapping[str, Sequence[plots.Curve]]],
    angles: Mapping[str, Mapping[str, Sequence[plots.Curve]]],
) -> dict[str, Markup]:
    """The figures for which there are numbers, as SVG to put into the page."""
    figures = {}
    angles = {rule: layers for rule, layers in angles.items() if layers}
    for key, unit, (what, named) in (("accuracy", " (%)", accuracy), ("loss", "", loss)):
        curves = {name: runs for name, runs in named.items() if _has_numbers(runs)}
        if curves:
            values = [value for runs in curves.values() for run in runs for value in _numbers(run)]
            # Rules whose losses lie far apart share a figure only on a logarithmic axis.
            log = key == "loss" and min(values) > 0 and max(values) > 30 * min(values)
            figure = plots.learning_curves(curves, quantity=what + unit, reference=REFERENCE, log=log)
            figures[key] = _inline(figure, key, f"Line chart: {what}{unit} over epochs", curves)
    if angles:
        label = "Line charts: angle to bp in degrees over epochs, by rule and layer"
        figures["alignment"] = _inline(plots.alignment(angles), "alignment", label, angles)
    return figures


def _inline(figure: Figure, name: str, label: str, shown: Iterable[str]) -> Markup:
    # The text in the figure was escaped by matplotlib, its label is by `to_html`.
    return Markup(plots.to_html(figure, name, f"{label}; shown: {', '.join(shown)}"))


def _numbers(curve: plots.Curve) -> list[float]:
    values = curve.values() if isinstance(curve, Mapping) else curve
    return [value for value in values if value is not None and abs(value) < 1e100]


def _has_numbers(runs: Iterable[plots.Curve]) -> bool:
    return any(_numbers(run) for run in runs)


def _scaled(value: Any, scale: float) -> float | None:
    return value * scale if isinstance(value, int | float) else None


def _natural(name: str) -> list[tuple[int, str]]:
    """Seed 10 comes after seed 2."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _page(context: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("altprop", "run"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"fixed": _fixed, "significant": _significant, "size": _size, "text": _text}
    return environment.get_template("report.html.j2").render(context, layerwise=LAYERWISE)


def _fixed(value: Any, digits: int = 2, scale: float = 1, plus: bool = False) -> str:
    """A number times `scale` with that many decimals, its sign a real minus; a dash where there is none."""
    if not isinstance(value, int | float):
        return _text(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    rounded = round(value * scale, digits) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:{'+' if plus and rounded else ''}.{digits}f}".replace("-", "\u2212")


def _significant(value: Any) -> str:
    """Three significant digits, without an exponent where that stays short."""
    if not isinstance(value, int | float) or not math.isfinite(value) or value == 0:
        return _fixed(value, 0)
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}".replace("-", "\u2212")
    return _fixed(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def _size(value: Any) -> str:
    """Bytes in the unit that makes the number short: 1 kB is 1000 B."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return _fixed(value)
    unit = min(max(0, math.floor(math.log10(max(abs(value), 1)) / 3)), 4)
    return f"{_significant(value / 1000**unit)} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def _text(value: Any) -> str:
    if value in (None, "", []) or isinstance(value, Undefined):
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _write(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # JSON may hold halves of characters, which UTF-8 has no bytes for.
        beside.write_bytes(page.encode("utf-8", errors="xmlcharrefreplace"))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
