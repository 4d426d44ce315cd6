"""One HTML file of a run, or of a comparison: every number and line in it is read from their directories."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, Undefined
from markupsafe import Markup
from matplotlib.figure import Figure

from altprop.limits import shorten
from altprop.panels import plots
from altprop.panels.style import to_html
from altprop.reports.curves import Curve, alignment, learning_curves
from altprop.run.directory.files import check_writable, is_folder, read_json
from altprop.run.directory.records import LAYERWISE, ReportError, RunRecord, has_numbers, numbers, read_run
from altprop.run.directory.schemas import Comparison

REFERENCE = "bp"
PROBED: dict[str, tuple[str, Callable[[Mapping[str, Any]], Figure]]] = {  # of measures.json, and how it is drawn
    "weights": ("quantiles", plots.quantiles),
    "receptive_fields": ("fields", plots.fields),
    "deep_fields": ("deep_fields", plots.deep_fields),
    "activity": ("activity", plots.activity),
    "robustness": ("robustness", plots.robustness),
    "depth": ("depth", plots.depth),
    "winners": ("winners", plots.winners),
}
CAPTIONS = {
    "feedback": "Line chart: angle between feedback and weights in degrees over epochs, by layer",
    "norms": "Line chart: norm of the weights over epochs, by layer",
    "unit_norms": "Line chart: mean norm of a unit's weights over epochs, by layer",
    "quantiles": "Quantile plots of the weights, by layer",
    "fields": "Pictures of the first layer's weights",
    "deep_fields": "Pictures that units of deeper layers respond to, by layer",
    "activity": "Scatter plot of hidden activity by class",
    "robustness": "Line chart: accuracy over the strength of each attack",
    "depth": "Line chart: accuracy of readouts from each layer",
    "winners": "Line chart: how often each unit wins, by layer",
}


def write_report(folder: Path, out: Path | None = None) -> Path:
    """One self-contained HTML file on the run or comparison in `folder`, which opens offline; returns its path.

    out: where to write it, by default report.html in `folder`; a file there is replaced in one step, or stays whole.
    Raises `ReportError` for a folder that is neither, and for files in it that cannot be read.
    """
    folder = Path(folder)
    out = folder / "report.html" if out is None else Path(out)
    check_writable(out)
    there = is_folder(folder)
    if there and (folder / "comparison.json").is_file():
        context = _comparison(folder)
    elif there and (folder / "recipe.toml").is_file():
        context = _single(read_run(folder))
    else:
        came = "neither recipe.toml nor comparison.json is in it" if there else "no such directory"
        raise ReportError(
            f"{shorten(folder, 120)}: {came}; expected the directory of a run or of a comparison; check the path"
        )
    _write(out, _page(context))
    return out


def _single(run: RunRecord) -> dict[str, Any]:
    parts = (("train", "train_", ""), ("validation", "val_", "val_"), ("test", "test_", "test_"))
    accuracy = {name: [run.curve(f"{prefix}accuracy", 100)] for name, prefix, _ in parts}
    loss = {name: [run.curve(f"{prefix}loss")] for name, _, prefix in parts}
    angles = {layer: [curve] for layer, curve in run.layerwise("angle_to_bp").items()}
    settings = {key: value for key, value in run.recipe.items() if not isinstance(value, dict)}
    arguments = run.recipe.get("arguments")
    settings |= arguments if isinstance(arguments, dict) else {}
    told = run.recipe.get("readout")
    settings |= {f"readout {key}": value for key, value in told.items()} if isinstance(told, dict) else {}
    return {
        "title": run.rule,
        "run": run,
        "settings": settings,
        "figures": _figures(("accuracy", accuracy), ("loss", loss), {run.rule: angles}) | _looked_at(run),
        "runs": [run],
        "environment": {key: _text(value) for key, value in run.environment.items()},
    }


def _comparison(folder: Path) -> dict[str, Any]:
    content = read_json(folder / "comparison.json", Comparison)
    rows = content["rows"]
    runs = [read_run(child) for child in sorted(folder.iterdir()) if (child / "recipe.toml").is_file()]
    order = {str(row.get("rule")): place for place, row in enumerate(rows)}
    runs.sort(key=lambda run: (order.get(run.rule, len(order)), run.rule, _natural(run.name)))
    by_rule: dict[str, list[RunRecord]] = {}
    for run in runs:
        by_rule.setdefault(run.rule, []).append(run)
    accuracy = {rule: [run.curve("test_accuracy", 100) for run in group] for rule, group in by_rule.items()}
    # A regression has no accuracy; its loss on unseen samples then says how good a rule is.
    unseen = not any(map(has_numbers, accuracy.values())) and any(has_numbers([r.curve("test_loss")]) for r in runs)
    key = "test_loss" if unseen else "loss"
    loss = {rule: [run.curve(key) for run in group] for rule, group in by_rule.items()}
    angles: dict[str, dict[str, list[Curve]]] = {rule: {} for rule in by_rule}
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
    accuracy: tuple[str, Mapping[str, Sequence[Curve]]],
    loss: tuple[str, Mapping[str, Sequence[Curve]]],
    angles: Mapping[str, Mapping[str, Sequence[Curve]]],
) -> dict[str, Markup]:
    """The figures for which there are numbers, as SVG to put into the page."""
    figures = {}
    angles = {rule: layers for rule, layers in angles.items() if layers}
    for key, unit, (what, named) in (("accuracy", " (%)", accuracy), ("loss", "", loss)):
        curves = {name: runs for name, runs in named.items() if has_numbers(runs)}
        if curves:
            values = [value for runs in curves.values() for run in runs for value in numbers(run)]
            # Rules whose losses lie far apart share a figure only on a logarithmic axis.
            log = key == "loss" and min(values) > 0 and max(values) > 30 * min(values)
            figure = learning_curves(curves, quantity=what + unit, reference=REFERENCE, log=log)
            figures[key] = _inline(figure, key, f"Line chart: {what}{unit} over epochs", curves)
    if angles:
        label = "Line charts: angle to bp in degrees over epochs, by rule and layer"
        figures["alignment"] = _inline(alignment(angles), "alignment", label, angles)
    return figures


def _looked_at(run: RunRecord) -> dict[str, Markup]:
    """The figures of what one run has measured beside its learning curves."""
    drawn: dict[str, Figure] = {}
    feedback = {layer: [curve] for layer, curve in run.layerwise("feedback_angle").items()}
    if feedback:
        drawn["feedback"] = alignment({"feedback to weights": feedback})
    for key, name in (("norms", "weight_norm"), ("unit_norms", "unit_norm")):
        curves = {f"layer {layer}": [curve] for layer, curve in run.layerwise(name).items()}
        if curves:
            drawn[key] = learning_curves(curves, quantity=LAYERWISE[name][0])
    for name, (key, draw) in PROBED.items():
        measured = run.measures.get(name)
        if measured and "refused" not in measured:
            drawn[key] = draw(measured)
    return {key: _inline(figure, key, CAPTIONS[key], [run.rule]) for key, figure in drawn.items()}


def _inline(figure: Figure, name: str, label: str, shown: Iterable[str]) -> Markup:
    # The text in the figure was escaped by matplotlib, its label is by `to_html`.
    return Markup(to_html(figure, name, f"{label}; shown: {', '.join(shown)}"))


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
