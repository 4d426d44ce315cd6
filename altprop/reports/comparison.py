"""What the page of a comparison shows: charts by family, then the table that they are drawn from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from altprop.panels.panel import called
from altprop.panels.style import to_html
from altprop.reports.charts import Entry, against_cost, alignment, by_family, dots, family_curves, stretched
from altprop.reports.curves import Curve
from altprop.reports.rates import rate_curves, tried
from altprop.reports.single import Shown, far_apart
from altprop.reports.tables import budget
from altprop.reports.typeset import fixed, significant, text
from altprop.run.directory.compared import Comparison
from altprop.run.directory.files import read_json
from altprop.run.directory.records import RunRecord, has_numbers, read_run
from altprop.statistics import half_of

HELD = "difference_to_"  # before the reference's name, in the rows of former versions


class Score(NamedTuple):
    """What rules are compared by."""

    key: str  # in a row, before _mean and _std
    name: str
    quantity: str  # as charts say it
    scale: float = 1.0
    smaller: bool = False  # is better
    curve: str = ""  # in metrics.jsonl


SCORES = (
    Score("test_accuracy", "Test accuracy (%)", "test accuracy (%)", 100.0, curve="test_accuracy"),
    Score("test_r2", "R²", "R² on the test part", curve="test_loss"),
    Score("test_loss", "Test loss", "test loss", smaller=True, curve="test_loss"),
)
COSTS = (  # the first that is told of at least two rows: its key or how that begins, and what it counts
    ("step_ratio", "time of a step, {reference} = 1"),
    ("multiply_adds", "multiply-adds a sample"),
    ("seconds_per_epoch", "seconds per epoch"),
)
SIGNALS = {  # of rows that do not tell their family
    "layerwise": "error, layer by layer", "error": "error of the output", "target": "targets", "loss": "the loss alone",
    "none": "no signal",
}  # fmt: skip


def comparison_context(folder: Path) -> dict[str, Any]:
    content = read_json(folder / "comparison.json", Comparison)
    rows = content["rows"]
    runs = [read_run(child) for child in sorted(folder.iterdir()) if (child / "recipe.toml").is_file()]
    order = {str(row.get("rule")): place for place, row in enumerate(rows)}
    runs.sort(key=lambda run: (order.get(run.rule, len(order)), run.rule, _natural(run.name)))
    reference, score = reference_of(content), score_of(rows)
    facts = dict.fromkeys(key for run in runs for key in run.environment)
    seen = {key: dict.fromkeys(text(run.environment.get(key)) for run in runs) for key in facts}
    entries = [*entries_of(rows, runs, score)]
    return {
        "title": f"Comparison on {content.get('data') or 'unnamed data'}",
        "comparison": content,
        "reference": reference,
        "score": score,
        "rows": [_told(row, reference) for row in rows],
        "best": (best := next(iter(by_family(entries, score.smaller).values()))[0] if entries else None),
        "beside": _beside(best, entries, reference, content),
        "costs": _costs(rows),
        "charts": _charts(entries, score, reference, cost_of(rows)) if entries else [],
        "curves": [*_curves(entries, score, reference)],
        "tuning": _tuning(content, score),
        "budget": budget(content),
        "runs": runs,
        "environment": {key: " | ".join(values) for key, values in seen.items()},
    }


def reference_of(content: Mapping[str, Any]) -> str | None:
    """The rule that the others are held against, as the file says it."""
    keys = (key.removeprefix(HELD) for row in content["rows"] for key in row if key.startswith(HELD))
    return content.get("reference") or next(keys, None)


def score_of(rows: Sequence[Mapping[str, Any]]) -> Score:
    """Accuracy where there is one, of regressions R2, and else the loss."""
    known = (one for one in SCORES if any(_number(row, f"{one.key}_mean") is not None for row in rows))
    return next(known, SCORES[0])


def cost_of(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """(key, what it counts) of the cost that a chart can show."""
    for start, what in COSTS:
        for key in dict.fromkeys(key for row in rows for key in row if key.startswith(start)):
            if sum(_number(row, key) is not None for row in rows) > 1:
                return key, what
    return None


def entries_of(rows: Sequence[Mapping[str, Any]], runs: Sequence[RunRecord], score: Score) -> Iterator[Entry]:
    """The rules that a chart can show, with what their runs went through."""
    cost = cost_of(rows)
    for number, row in enumerate(rows):
        value, mine = _number(row, f"{score.key}_mean"), [run for run in runs if run.rule == row.get("rule")]
        if value is None:
            continue
        angles: dict[str, list[Curve]] = {}
        for run in mine:
            for layer, curve in run.layerwise("angle_to_bp").items():
                angles.setdefault(called(layer, run.depths), []).append(curve)
        low, high = interval(row, score)
        yield Entry(
            number, text(row.get("rule")), family_of(row), score.scale * value, low, high,
            _number(row, cost[0] if cost else "") or 0.0, [run.curve(score.curve, score.scale) for run in mine],
            angles, fixed(value, 2, 100) if score.scale == 100 else significant(value),
        )  # fmt: skip


def interval(row: Mapping[str, Any], score: Score) -> tuple[float | None, float | None]:
    """Student's 95 % interval of the mean over seeds; none of a single seed."""
    mean, std, n = (_number(row, key) for key in (f"{score.key}_mean", f"{score.key}_std", "n"))
    if mean is None or std is None or n is None or n < 2:
        return None, None
    half = half_of(std, n)
    low, high = score.scale * (mean - half), score.scale * (mean + half)
    return (max(low, 0.0), min(high, 100.0)) if score.scale == 100 else (low, high)


def family_of(row: Mapping[str, Any]) -> str:
    """As the row says it; of former versions, what reaches hidden layers."""
    signal = (row.get("claims") or {}).get("signal")
    return str(row.get("family") or SIGNALS.get(str(signal), "rules"))


def _beside(best: Entry | None, entries: Sequence[Entry], reference: str | None, content: Mapping[str, Any]) -> str:
    """What the best is held against: the reference, and the share of the largest class."""
    unit = " %" if content.get("majority") is not None else ""
    parts = [f"{one.name} reached {one.shown}{unit}" for one in entries if one.name == reference and one is not best]
    majority = content.get("majority")
    parts += [f"always the largest class would be {fixed(majority, 2, 100)} %"] if isinstance(majority, float) else []
    return "; ".join(parts)


def _costs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """(key, name, unit) of further costs that the rows tell: multiply-adds, and bytes of whatever there is."""
    keys = dict.fromkeys(key for row in rows for key in row if _number(row, key) is not None)
    told = [key for key in keys if key.startswith("multiply_adds") or key.endswith("_bytes")]
    return [
        (key, key.removesuffix("_bytes").replace("_", " ").replace("multiply adds", "multiply-adds").capitalize(),
         "B" if key.endswith("_bytes") else "")
        for key in told if key != "peak_activation_bytes"
    ]  # fmt: skip


def _told(row: Mapping[str, Any], reference: str | None) -> dict[str, Any]:
    """A row whose figures beside the reference have names that do not depend on which that is."""
    named = {"difference": f"{HELD}{reference}", "step_ratio": f"step_ratio_to_{reference}"}
    return {**row, **{name: row.get(key, row.get(name)) for name, key in named.items()}, "family": family_of(row)}


def _charts(
    entries: Sequence[Entry], score: Score, reference: str | None, cost: tuple[str, str] | None
) -> list[Shown]:  # fmt: skip
    """Dots with intervals, what they cost, and how they are aligned."""
    percent, by = score.scale == 100, {"smaller": score.smaller}
    words = "The mean over seeds, with its 95 % interval where there are several; sorted within each family."
    if stretched([one.value for one in entries], percent):
        words += " The axis is stretched towards 100 %, where the best rules lie close together."
    drawn = [("reached", dots(entries, score.quantity, reference, percent=percent, **by), words)]
    if cost is not None and sum(one.cost > 0 for one in entries) > 1:
        over = cost[1].format(reference=reference)
        words = f"Up is better and left is cheaper. A dot a rule, in its family’s colour; {reference} is the diamond."
        figure = against_cost(entries, score.quantity, over, reference, percent=percent)
        drawn.append(("cost", figure, words if reference else words.partition(";")[0] + "."))
    if any(has_numbers(runs) for one in entries for runs in one.angles.values()):
        words = (
            "The angle between a rule’s update and backpropagation’s in the same net, layer by layer, after the last "
            "epoch; the thin line begins where it was after the first. At 90°, the dashed line, they have nothing in "
            "common. Where backpropagation’s own gradient has vanished the angle would mean nothing: there is no dot."
        )
        drawn.append(("alignment", alignment(entries, "angle to backpropagation", reference, **by), words))
    labels = {
        "reached": f"Dot chart: {score.quantity} with 95 % intervals, by family",
        "cost": f"Scatter chart: {score.quantity} over cost",
        "alignment": "Dot chart: angle to backpropagation in degrees, by rule and layer",
    }
    return [Shown(name, _inline(figure, name, labels[name], entries), words) for name, figure, words in drawn]


def _tuning(content: Mapping[str, Any], score: Score) -> list[Shown]:
    """A chart a key of numbers that rules were tuned over, the learning rate first."""
    rules = (content.get("tuning") or {}).get("rules") or {}
    keys = dict.fromkeys(key for told in rules.values() for key in told["space"])
    what = "validation accuracy (%)" if score.scale == 100 else "R² on the validation part"
    charts = []
    for place, key in enumerate(keys):
        found = tried(content["rows"], rules, key, score.scale)
        if found:
            told = {one.number: one.rule for one in found}
            label = f"Line charts: {what} over {key}, a rule each; shown: {', '.join(told.values())}"
            figure = to_html(rate_curves(found, key, what), f"rates{place}", label, told)
            charts.append(Shown(f"rates {key}", Markup(figure), f"{what} over {key}"))
    return charts


def _curves(entries: Sequence[Entry], score: Score, reference: str | None) -> Iterator[Shown]:
    """A chart a family, of what its rules reached over epochs."""
    moved = [one for one in entries if has_numbers(one.curves)]
    log = score.scale != 100 and bool(moved) and far_apart({one.name: one.curves for one in moved})
    what = "test accuracy (%)" if score.scale == 100 else "test loss"
    for place, family in enumerate(by_family(moved, score.smaller)):
        if [one.name for one in moved if one.family == family] == [reference]:
            continue  # which stands in all the others
        figure = family_curves(moved, family, what, reference, percent=score.scale == 100, log=log)
        mine = [one for one in moved if one.family == family]
        label = f"Line chart: {what} over epochs, {family}"
        yield Shown(family, _inline(figure, f"curves{place}", label, moved, mine), what)


def _inline(
    figure: Any, name: str, label: str, entries: Sequence[Entry], shown: Sequence[Entry] | None = None
) -> Markup:
    """With what a pointer is told of every mark."""
    told = {one.number: f"{one.name}: {one.shown}" for one in entries}
    names = ", ".join(one.name for one in (entries if shown is None else shown))
    return Markup(to_html(figure, name, f"{label}; shown: {names}", told))


def _number(row: Mapping[str, Any], key: str) -> float | None:
    """A figure that can be drawn: sums overflow on numbers above 1e100, which only a run that diverged gives."""
    value = row.get(key)
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100  # no NaN
    return value if known else None


def _natural(name: str) -> list[tuple[int, str]]:
    """Seed 10 comes after seed 2."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]
