"""What tuning saw: for each rule a small plot of what its trials reached on the validation part over one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from altprop.panels.style import INK, MUTED, PALETTE, WIDTH, style

COLUMNS, HEIGHT = 3, 1.15  # of the plots side by side, and of one of them in inches
TOP, BOTTOM = 0.55, 0.45  # inches of the page around them
FAILED = "x"  # the mark, at the foot, of a trial that did not end


class Tried(NamedTuple):
    """A rule's trials over one key."""

    number: int  # of the rule's row, by which a page lights its marks
    rule: str
    points: Sequence[tuple[float, float | None]]  # (value of the key, what was reached; None where it did not end)
    best: int | None  # its place among them
    start: float | None  # where the rule starts from by itself
    edge: bool
    log: bool
    ends: tuple[float, float]  # of what was searched


def tried(
    rows: Sequence[Mapping[str, Any]], rules: Mapping[str, Mapping[str, Any]], key: str, scale: float
) -> list[Tried]:
    """Of the rules that have been tuned over a key of numbers, in the order of the table."""
    found = []
    for number, row in enumerate(rows):
        told = rules.get(str(row.get("rule")))
        if told is None or not _numbers(told, key):
            continue
        points = [(t["values"][key], None if t["value"] is None else scale * t["value"]) for t in told["trials"]]
        start = (told.get("start") or {}).get(key)
        kind, _, tail = told["space"][key].partition(":")
        given = [float(end) for end in tail.split("|" if kind == "choice" else ":")]
        edge, ends = key in told["edge"], (min(given), max(given))
        found.append(Tried(number, row["rule"], points, told["best"], start, edge, kind == "log", ends))
    return found


def _numbers(told: Mapping[str, Any], key: str) -> bool:
    values = [trial["values"].get(key) for trial in told["trials"]]
    return bool(values) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def rate_curves(rules: Sequence[Tried], key: str, quantity: str) -> Figure:
    """A plot a rule, all of one height: its trials from left to right, the best one filled, the dashed line where the
    rule starts from by itself; crosses at the foot are trials that did not end."""
    rows = -(-len(rules) // COLUMNS)
    reached = [value for one in rules for _, value in one.points if value is not None] or [0.0, 1.0]
    low, high = min(reached), max(reached)
    room = 0.08 * (high - low) or 0.5
    with style():
        tall = HEIGHT * rows + TOP + BOTTOM
        figure = Figure(figsize=(WIDTH, tall))  # of a layout that is known, since solving for it takes seconds
        grid = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False)
        figure.subplots_adjust(left=0.1, right=0.98, top=1 - TOP / tall, bottom=BOTTOM / tall, wspace=0.16, hspace=0.75)
        for place, axes in enumerate(grid.flat):
            if place >= len(rules):
                axes.set_visible(False)
                continue
            axes.set_ylim(low - room, high + room)
            _plot(axes, rules[place], low - room / 2)
        figure.text(0.01, 1 - 0.06 / tall, quantity, ha="left", va="top", fontweight="bold")
        figure.text(0.5, 0.04 / tall, key, ha="center", va="bottom", color=MUTED)
        return figure


def _plot(axes: Axes, one: Tried, foot: float) -> None:
    """The trials of one rule."""
    if one.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=3))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(one.ends[0] / 1.2, one.ends[1] * 1.2)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=2))
        room = 0.05 * (one.ends[1] - one.ends[0])
        axes.set_xlim(one.ends[0] - room, one.ends[1] + room)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=2))
    axes.tick_params(labelsize="x-small", length=0, pad=1)
    if one.start is not None:
        axes.axvline(one.start, color=MUTED, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    ended = sorted((x, y) for x, y in one.points if y is not None)
    axes.plot([x for x, _ in ended], [y for _, y in ended], color=PALETTE[0], linewidth=1, marker="o", markersize=3,
              markerfacecolor="none", markeredgewidth=0.8, gid=f"of{one.number}-line")  # fmt: skip
    failed = [x for x, y in one.points if y is None]
    axes.plot(failed, [foot] * len(failed), FAILED, color=MUTED, markersize=3.5, gid=f"of{one.number}-failed")
    if one.best is not None:
        x, reached = one.points[one.best]
        axes.plot([x], [reached or 0.0], "o", color=PALETTE[0], markersize=5.5, gid=f"of{one.number}-dot")
    axes.set_title(f"{one.rule}{' (edge)' * one.edge}", fontsize="small", color=INK, pad=2)
