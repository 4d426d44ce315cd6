"""Lines over epochs, from plain numbers.  No global state of matplotlib is left changed, no window opens."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from altprop.panels.style import INK, MUTED, PALETTE, TEXT, WIDTH, style

#: One run's values: by epoch, or a sequence whose first value is epoch 1's.  None and NaN are values that are missing.
Curve = Mapping[int, float | None] | Sequence[float | None]

_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
HEIGHT = 2.9
MOST_NAMES = 12  # at the ends of lines; of more, some evenly spaced


def learning_curves(
    curves: Mapping[str, Sequence[Curve]], *, quantity: str, reference: str | None = None, log: bool = False,
    over: str = "epoch", colours: Mapping[str, str] | None = None, degrees: bool = False,
) -> Figure:  # fmt: skip
    """`quantity` over epochs: a line a name, the mean over its runs, in a band of one standard deviation either side.

    curves: the runs of each name, one curve a seed, in the unit that `quantity` names, such as "test accuracy (%)".
    reference: the name to draw in black.  log: logarithmic values; those not above 0 are left out.  over: what the
    curves count instead of epochs, such as "hidden layers".  colours: of names that have one of their own.
    degrees: whether these are angles, of which 90, where two directions have nothing in common, is marked "chance"."""
    with style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        ends = {}
        for name, (colour, dashes) in _looks(curves, reference, colours or {}).items():
            end = draw_line(axes, curves[name], colour, dashes, positive=log)
            if end:
                ends[name] = (*end, colour)
        if log:
            log_scale(axes)
        if degrees:
            _angles(axes)
        epochs_axis(axes, curves.values(), plain=not (log or degrees))
        axes.set_xlabel(over)
        axes.set_title(quantity)
        name_ends(axes, ends)
        return figure


def _looks(
    names: Iterable[str], reference: str | None, colours: Mapping[str, str]
) -> dict[str, tuple[str, Any]]:  # fmt: skip
    """Colour and dashes of each name."""
    others = [name for name in names if name != reference and name not in colours]
    looks: dict[str, tuple[str, Any]] = {}
    for name in names:
        place = others.index(name) if name in others else 0
        colour = INK if name == reference else colours.get(name, PALETTE[place % len(PALETTE)])
        looks[name] = (colour, _DASHES[place // len(PALETTE) % len(_DASHES)])
    return looks


def finite(run: Curve) -> dict[int, float]:
    """What can be drawn; sums and axes overflow on numbers above 1e100, which only a run that diverged gives."""
    items = run.items() if isinstance(run, Mapping) else enumerate(run, start=1)
    return {epoch: float(value) for epoch, value in items if value is not None and abs(value) < 1e100}


def by_epoch(runs: Sequence[Curve], positive: bool = False) -> dict[int, list[float]]:
    """The values of all runs that reached an epoch, in the order of epochs."""
    found: dict[int, list[float]] = {}
    for run in runs:
        for epoch, value in finite(run).items():
            if value > 0 or not positive:
                found.setdefault(epoch, []).append(value)
    return dict(sorted(found.items()))


def draw_line(
    axes: Axes, runs: Sequence[Curve], colour: str, dashes: Any, *, positive: bool = False, gid: str | None = None
) -> tuple[float, float] | None:
    """Draw one line with its band and return where it ends; a single value is a dot, and no values are no line."""
    found = by_epoch(runs, positive)
    if not found:
        return None
    epochs, mean = list(found), [statistics.fmean(values) for values in found.values()]
    marker = "o" if len(epochs) == 1 else ""
    axes.plot(epochs, mean, color=colour, linestyle=dashes, marker=marker, markersize=5, gid=gid)
    if any(len(values) > 1 for values in found.values()):
        spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in found.values()]
        low = [m - s for m, s in zip(mean, spread, strict=True)]
        if positive:  # a band that reached 0 would have no bottom on a logarithmic axis
            low = [max(value, min(values)) for value, values in zip(low, found.values(), strict=True)]
        high = [m + s for m, s in zip(mean, spread, strict=True)]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0, gid=gid and f"{gid}-band")
    return epochs[-1], mean[-1]


def epochs_axis(axes: Axes, lines: Iterable[Sequence[Curve]], plain: bool = True) -> None:
    """The x axis from the first to the last epoch of all lines.  One epoch alone is a dot over its own number, with
    room on both sides; on a ``plain`` axis it stands above 0, since there is no change that could be magnified."""
    lines = list(lines)
    seen = [epoch for runs in lines for run in runs for epoch in finite(run)]
    first, last = (min(seen), max(seen)) if seen else (0, 1)
    if first < last:
        axes.set_xlim(first, last)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        return
    axes.set_xlim(first - 1, first + 1)
    axes.xaxis.set_major_locator(FixedLocator([first]))
    low, high = axes.dataLim.y0, axes.dataLim.y1
    if plain and 0 <= low <= high:
        axes.set_ylim(0, 1.15 * high or 1)


def log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _angles(axes: Axes) -> None:
    """From 0 to 105 degrees, or to what the largest angle needs, with the line of chance."""
    largest = axes.dataLim.y1
    top = next((top for top in (105, 125) if largest <= top - 5), 180)
    axes.set_ylim(-3, top)  # room for a line at 0
    axes.set_yticks(range(0, top + 1, 30 if top < 180 else 45))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}°"))
    axes.axhline(90, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
    axes.annotate("chance", (0, 90), (2, 3), ("axes fraction", "data"), "offset points", ha="left", va="bottom",
                  color=MUTED)  # fmt: skip


def name_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]], gids: Mapping[str, str] | None = None) -> None:
    """Write each name right of where its line ends, moved up or down until no two overlap, with a line to its end."""
    if len(ends) < 2:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    to_axes = axes.transData + axes.transAxes.inverted()
    height = {name: float(to_axes.transform((x, y))[1]) for name, (x, y, _) in ends.items()}
    order = list(ends) if len(ends) <= MOST_NAMES else [list(ends)[k * (len(ends) - 1) // 7] for k in range(8)]
    order.sort(key=lambda name: height[name])
    gap = min(1.45 * TEXT / (72 * (HEIGHT - 0.8)), 1 / max(len(order) - 1, 1))
    places: list[float] = []
    for name in order:
        places.append(max(height[name], places[-1] + gap) if places else max(height[name], 0.0))
    ceiling = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    for name, place in zip(order, places, strict=True):
        x, y, colour = ends[name]
        told = axes.annotate(
            name, (x, y), (1.06, place), "data", "axes fraction", va="center", color=INK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip
        told.set_gid((gids or {}).get(name))
