"""Figures of an experiment, from plain numbers.  No global state of matplotlib is left changed, no window opens."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from altprop.panels.style import DEPTH, INK, MUTED, PALETTE, style

#: One run's values: by epoch, or a sequence whose first value is epoch 1's.  None and NaN are values that are missing.
Curve = Mapping[int, float | None] | Sequence[float | None]

_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def learning_curves(
    curves: Mapping[str, Sequence[Curve]], *, quantity: str, reference: str | None = None, log: bool = False,
    over: str = "epoch",
) -> Figure:  # fmt: skip
    """`quantity` over epochs: a line a name, the mean over its runs, in a band of one standard deviation either side.

    curves: the runs of each name, one curve a seed, in the unit that `quantity` names, such as "test accuracy (%)".
    reference: the name to draw in black, such as "bp".  log: logarithmic values; those not above 0 are left out.
    over: what the curves count instead of epochs, such as "hidden layers".
    """
    with style():
        figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        axes = figure.subplots()
        others = [name for name in curves if name != reference]
        ends = {}
        for name, runs in curves.items():
            place = 0 if name == reference else others.index(name)
            colour = INK if name == reference else PALETTE[place % len(PALETTE)]
            dashes = _DASHES[place // len(PALETTE) % len(_DASHES)]
            end = _draw(axes, runs, colour, dashes, positive=log)
            if end:
                ends[name] = (*end, colour)
        if log:
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        _epochs(axes, curves.values())
        axes.set_xlabel(over)
        axes.set_title(quantity)
        _name_ends(axes, ends)
        return figure


def alignment(angles: Mapping[str, Mapping[str, Sequence[Curve]]], *, columns: int = 4) -> Figure:
    """Angle to backprop's gradient over epochs, in degrees: a panel a rule, a line a layer, the mean over its runs.

    angles: by rule and layer, the layers in the net's order, one curve a seed.  90 degrees, where two directions have
    nothing in common, is marked "chance".  columns: panels in a row.
    """
    names = list(dict.fromkeys(layer for rule in angles.values() for layer in rule))
    panels = max(len(angles), 1)
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    with style():
        width = 5.4 if columns == 1 else 2.8 * columns
        figure = Figure(figsize=(width, (3.2 if rows == 1 else 2.3 * rows) + 0.5), layout="constrained")
        figure.subplots(rows, columns, sharex=True, sharey=True)
        largest = 0.0
        for axes, (rule, by_layer) in zip(figure.axes, angles.items(), strict=False):
            for layer, runs in by_layer.items():
                _draw(axes, runs, _depth(names.index(layer), len(names)), "-", band=0.15)
                largest = max([largest, *(value for run in runs for value in _finite(run).values())])
            axes.axhline(90, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
            axes.annotate("chance", (1, 90), (0, 3), ("axes fraction", "data"), "offset points",
                          ha="right", va="bottom", color=MUTED, fontsize=8)  # fmt: skip
            axes.set_title(rule)
        for axes in figure.axes[panels:]:
            axes.set_axis_off()
        _epochs(figure.axes[0], [runs for rule in angles.values() for runs in rule.values()])
        _finish_angles(figure, rows, columns, panels, largest)
        _name_layers(figure, names)
        return figure


def _finite(run: Curve) -> dict[int, float]:
    """What can be drawn; sums and axes overflow on numbers above 1e100, which only a run that diverged gives."""
    items = run.items() if isinstance(run, Mapping) else enumerate(run, start=1)
    return {epoch: float(value) for epoch, value in items if value is not None and abs(value) < 1e100}


def _draw(
    axes: Axes, runs: Sequence[Curve], colour: str, dashes: Any, *, band: float = 0.2, positive: bool = False
) -> tuple[float, float] | None:
    """Draw one line with its band and return where it ends; a single value is a dot, and no values are no line."""
    by_epoch: dict[int, list[float]] = {}
    for run in runs:
        for epoch, value in _finite(run).items():
            if value > 0 or not positive:
                by_epoch.setdefault(epoch, []).append(value)
    if not by_epoch:
        return None
    epochs = sorted(by_epoch)
    mean = [statistics.fmean(by_epoch[epoch]) for epoch in epochs]
    axes.plot(epochs, mean, color=colour, linestyle=dashes, marker="o" if len(epochs) == 1 else "", markersize=5)
    if any(len(values) > 1 for values in by_epoch.values()):
        spread = [statistics.stdev(by_epoch[epoch]) if len(by_epoch[epoch]) > 1 else 0.0 for epoch in epochs]
        low = [m - s for m, s in zip(mean, spread, strict=True)]
        if positive:  # a band that reached 0 would have no bottom on a logarithmic axis
            low = [max(value, min(by_epoch[epoch])) for value, epoch in zip(low, epochs, strict=True)]
        high = [m + s for m, s in zip(mean, spread, strict=True)]
        axes.fill_between(epochs, low, high, color=colour, alpha=band, linewidth=0)
    return epochs[-1], mean[-1]


def _epochs(axes: Axes, lines: Any) -> None:
    """The x axis from the first to the last epoch of all lines; one epoch alone gets room on both sides."""
    seen = [epoch for runs in lines for run in runs for epoch in _finite(run)]
    first, last = (min(seen), max(seen)) if seen else (0, 1)
    axes.set_xlim(first - 0.5 * (first == last), last + 0.5 * (first == last))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("epoch")


def _name_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Write each name right of where its line ends, moved up or down until no two overlap, with a line to its end."""
    if len(ends) < 2:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    to_axes = axes.transData + axes.transAxes.inverted()
    height = {name: float(to_axes.transform((x, y))[1]) for name, (x, y, _) in ends.items()}
    order = sorted(ends, key=lambda name: height[name])
    gap = min(0.062, 1 / (len(order) - 1))
    places: list[float] = []
    for name in order:
        places.append(max(height[name], places[-1] + gap) if places else max(height[name], 0.0))
    ceiling = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    for name, place in zip(order, places, strict=True):
        x, y, colour = ends[name]
        axes.annotate(
            name, (x, y), (1.06, place), "data", "axes fraction", va="center", color=INK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def _depth(place: int, layers: int) -> str:
    return DEPTH[round(place * (len(DEPTH) - 1) / max(layers - 1, 1))]


def _finish_angles(figure: Figure, rows: int, columns: int, panels: int, largest: float) -> None:
    """The common scale; an axis is labelled at the left and under the lowest panel of each column."""
    top = next((top for top in (105, 125) if largest <= top - 5), 180)
    for index, axes in enumerate(figure.axes[:panels]):
        axes.set_ylim(-3, top)  # room for a line at 0
        axes.set_yticks(range(0, top + 1, 30 if top < 180 else 45))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}°"))
        lowest = index + columns >= panels
        axes.tick_params(labelbottom=lowest)
        axes.set_xlabel("epoch" if lowest else "")


def _name_layers(figure: Figure, names: Sequence[str]) -> None:
    """One key for all panels; of a deep net, some layers evenly spaced, the first and the last among them."""
    shown = sorted({round(k * (len(names) - 1) / 7) for k in range(8)}) if len(names) > 8 else range(len(names))
    handles = [Line2D([], [], color=_depth(place, len(names)), linewidth=2.4) for place in shown]
    labels = [f"layer {names[place]}" for place in shown]
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=len(handles), frameon=False,
                      handlelength=1.4, columnspacing=1.6, borderpad=0.7)  # fmt: skip
