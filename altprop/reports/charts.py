"""What a comparison shows of many rules at once, a family at a time: dots with intervals, and lines over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from altprop.panels.style import GRID, INK, MUTED, PALETTE, TEXT, WIDTH, depth_colour, style
from altprop.reports.curves import HEIGHT, Curve, by_epoch, draw_line, epochs_axis, log_scale, name_ends

ROW = 0.215  # inches from one rule to the next
STRETCH, FAR = 0.3, 8  # percent that the stretched axis begins beyond 100; from which ratio of errors it is taken
FEW = (0, 50, 80, 90, 95, 98, 100)  # the labels of such an axis where there is little room, and much
TICKS = (0, 50, 70, 80, 90, 95, 97, 98, 99, 100)
WIDE_COST = 10  # times the least cost from which on its axis is logarithmic
LETTER = 0.62 * TEXT  # the width of a letter in points, about


@dataclass(frozen=True)
class Entry:
    """One rule of a comparison."""

    number: int  # its place in the table
    name: str
    family: str
    value: float  # what it reached, in the unit of the chart
    low: float | None = None  # the 95 % interval of that
    high: float | None = None
    cost: float = 0.0  # of which nothing is known where it is 0
    curves: Sequence[Curve] = ()
    angles: Mapping[str, Sequence[Curve]] = field(default_factory=dict)  # by layer
    shown: str = ""  # the value as it is written

    def gid(self, kind: str) -> str:
        return f"of{self.number}-{kind}"


def by_family(entries: Sequence[Entry], smaller: bool = False) -> dict[str, list[Entry]]:
    """The entries of each family, the best first, and the family of the best first; smaller: whether less is better."""
    families: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda one: (one.value if smaller else -one.value, one.number)):
        families.setdefault(entry.family, []).append(entry)
    return families


def colours(entries: Sequence[Entry]) -> dict[str, str]:
    """One colour a family, by the order of the table, the same in every chart; beyond the palette grey."""
    names = list(dict.fromkeys(entry.family for entry in sorted(entries, key=lambda one: one.number)))
    return {name: PALETTE[place] if place < len(PALETTE) else MUTED for place, name in enumerate(names)}


def dots(
    entries: Sequence[Entry], quantity: str, reference: str | None = None, *, smaller: bool = False,
    percent: bool = False, width: float = WIDTH,
) -> Figure:  # fmt: skip
    """A row a rule, by family: what it reached, with its 95 % interval, and the reference's value as a line."""
    families, colour = by_family(entries, smaller), colours(entries)
    with style():
        figure, axes, places = _rows(families, reference, width)
        for entry in entries:
            y = places[entry.number]
            if entry.low is not None and entry.high is not None:
                axes.plot([entry.low, entry.high], [y, y], color=colour[entry.family], linewidth=2,
                          solid_capstyle="butt", gid=entry.gid("interval"))  # fmt: skip
            axes.plot([entry.value], [y], "o", color=colour[entry.family], markersize=6, gid=entry.gid("dot"))
            axes.annotate(entry.shown, (1, y), (6, 0), ("axes fraction", "data"), "offset points", va="center",
                          color=INK, annotation_clip=False)  # fmt: skip
        for entry in entries:
            if entry.name == reference:
                axes.axvline(entry.value, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
        ends = [end for one in entries for end in (one.value, one.low, one.high) if end is not None]
        _scale(axes, "x", ends, percent, width)
        axes.set_title(quantity)
        return figure


def _rows(
    families: Mapping[str, Sequence[Entry]], reference: str | None, width: float
) -> tuple[Figure, Axes, dict[int, float]]:
    """An empty figure with the rules' names at the left, family by family, and the height of each rule's row."""
    count = len(families) + sum(map(len, families.values()))
    figure = Figure(figsize=(width, ROW * count + 0.75), layout="constrained")
    axes = figure.subplots()
    places: dict[int, float] = {}
    names, y = [], 0
    for family, members in families.items():
        axes.annotate(family, (0, y), (4, 0), ("axes fraction", "data"), "offset points", va="center", color=MUTED)
        y += 1
        for entry in members:
            places[entry.number] = y
            names.append(entry.name)
            y += 1
    axes.set_yticks(list(places.values()), names)
    for label, number in zip(axes.get_yticklabels(), places, strict=True):
        label.set(color=INK, fontweight="bold" if label.get_text() == reference else "normal", gid=f"of{number}-row")
    axes.set_ylim(y - 0.4, -0.6)
    axes.grid(axis="y", linestyle=(0, (1, 3)))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes, places


def _scale(axes: Axes, which: str, values: Sequence[float], percent: bool, width: float = WIDTH) -> None:
    """Limits that hold the values; percent that come near 100 stand on an axis that is stretched towards it."""
    low, high = min(values), max(values)
    set_limits, axis = (axes.set_xlim, axes.xaxis) if which == "x" else (axes.set_ylim, axes.yaxis)
    if not stretched(values, percent):
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        set_limits(low - room, high + room)
        axis.set_major_locator(MaxNLocator(nbins=5))
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("function", functions=(_stretch, _shrink))
    room = 0.06 * float(_stretch(high) - _stretch(low))
    start, end = float(_shrink(_stretch(low) - room)), float(_shrink(_stretch(high) + room))
    set_limits(start, end)
    few = FEW if which == "x" and width <= WIDTH else TICKS
    axis.set_major_locator(FixedLocator([tick for tick in few if start <= tick <= end]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def stretched(values: Sequence[float], percent: bool) -> bool:
    """Whether errors lie so far apart that an even axis would show the best rules as one."""
    beyond = 100 + STRETCH
    return percent and max(values) <= 100 and min(values) >= 0 and beyond - min(values) > FAR * (beyond - max(values))


def _stretch(value: Any) -> Any:
    return -np.log10(100 + STRETCH - np.minimum(value, 100 + STRETCH / 2))


def _shrink(place: Any) -> Any:
    return 100 + STRETCH - 10.0 ** -np.asarray(place)


def against_cost(
    entries: Sequence[Entry], quantity: str, cost: str, reference: str | None = None, *, percent: bool = False
) -> Figure:
    """What each rule reached over what it cost; names stand where there is room, those of the best first."""
    priced, colour = [entry for entry in entries if entry.cost > 0], colours(entries)
    with style():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        for entry in priced:
            marker, size = ("D", 6) if entry.name == reference else ("o", 6)
            axes.plot([entry.cost], [entry.value], marker, color=colour[entry.family], markersize=size,
                      gid=entry.gid("cost"))  # fmt: skip
        costs = [entry.cost for entry in priced]
        if max(costs) > WIDE_COST * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlim(min(costs) / 1.4, max(costs) * 1.4)
        else:
            axes.set_xlim(0, 1.12 * max(costs))
        _scale(axes, "y", [entry.value for entry in priced], percent)
        axes.set_xlabel(cost)
        axes.set_title(quantity)
        _name_dots(figure, axes, priced, reference)
        return figure


def _name_dots(figure: Figure, axes: Axes, entries: Sequence[Entry], reference: str | None) -> None:
    """Each name beside its dot, on the first side where it hits no dot and no other name; else a pointer tells it."""
    figure.draw_without_rendering()  # the layout is known only now
    scale = 72 / figure.dpi
    dot = {one.number: scale * axes.transData.transform((one.cost, one.value)) for one in entries}
    left, bottom, right, top = (scale * edge for edge in axes.bbox.extents)
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in dot.values()]
    for entry in sorted(entries, key=lambda one: (one.name != reference, -one.value)):
        (x, y), long = dot[entry.number], LETTER * len(entry.name)
        for dx, dy in ((6, 0), (-6 - long, 0), (-long / 2, 9), (-long / 2, -9), (5, 8), (5, -8), (-5 - long, 8),
                       (-5 - long, -8)):  # fmt: skip
            box = (x + dx, y + dy - TEXT / 2, x + dx + long, y + dy + TEXT / 2)
            fits = left <= box[0] and box[2] <= right and bottom <= box[1] and box[3] <= top + 4
            if fits and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                label = axes.annotate(entry.name, (entry.cost, entry.value), (dx, dy), "data",
                                      "offset points", va="center", color=INK, gid=entry.gid("name"))  # fmt: skip
                label.set_in_layout(False)
                break


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def family_curves(
    entries: Sequence[Entry], family: str, quantity: str, reference: str | None = None, *, percent: bool = False,
    log: bool = False,
) -> Figure:  # fmt: skip
    """The lines of one family in its colour, with their names, and all others in grey behind them."""
    colour = colours(entries)[family]
    drawn = [entry for entry in entries if by_epoch(entry.curves)]
    with style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        ends, gids = {}, {}
        for entry in sorted(drawn, key=lambda one: (one.name == reference, one.family == family)):
            own = entry.family == family
            if not own and entry.name != reference:
                found = by_epoch(entry.curves, log)
                means = [math.fsum(values) / len(values) for values in found.values()]
                axes.plot(list(found), means, color=GRID, linewidth=0.8, gid=entry.gid("behind"))
                continue
            shade = INK if entry.name == reference else colour
            end = draw_line(axes, entry.curves, shade, "-", positive=log, gid=entry.gid("line"))
            if end:
                ends[entry.name] = (*end, shade)
                gids[entry.name] = entry.gid("name")
        reached = [value for one in drawn for values in by_epoch(one.curves, log).values() for value in values]
        if log:
            log_scale(axes)
        elif reached:
            _scale(axes, "y", reached, percent)
        epochs_axis(axes, [entry.curves for entry in drawn], plain=not (log or percent))
        axes.set_xlabel("epoch")
        axes.set_title(family)
        name_ends(axes, ends, gids)
        return figure


def alignment(
    entries: Sequence[Entry], quantity: str, reference: str | None = None, *, smaller: bool = False
) -> Figure:
    """A row a rule, by family: the angle of each layer after the last epoch as a dot, from that after the first."""
    angled = [entry for entry in entries if any(by_epoch(runs) for runs in entry.angles.values())]
    names = list(dict.fromkeys(layer for entry in angled for layer in entry.angles))
    names.sort(key=lambda name: name == "output")  # of nets of unequal depth the last layer is last all the same
    with style():
        figure, axes, places = _rows(by_family(angled, smaller), reference, WIDTH)
        largest = 90.0
        for entry in angled:
            y = places[entry.number]
            for layer, runs in entry.angles.items():
                means = [math.fsum(found) / len(found) for found in by_epoch(runs).values()]
                if means:
                    shade = depth_colour(layer, names)
                    axes.plot([means[0], means[-1]], [y, y], color=shade, linewidth=1, alpha=0.7)
                    axes.plot(
                        [means[-1]], [y], "o", color=shade, markersize=5.5, gid=entry.gid(f"angle{names.index(layer)}")
                    )
                    largest = max(largest, *means)
        axes.axvline(90, color=MUTED, linewidth=1, linestyle=(0, (3, 2)), zorder=0)
        top = next((top for top in (105, 125) if largest <= top - 5), 184)
        axes.set_xlim(-4, top)
        axes.set_xticks(range(0, top, 30 if top < 180 else 90))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}°"))
        axes.set_title(quantity)
        for layer in names if len(names) <= 8 else [names[k * (len(names) - 1) // 7] for k in range(8)]:
            axes.plot([], [], "o", color=depth_colour(layer, names), markersize=5.5, label=layer)
        figure.legend(loc="outside lower center", frameon=False, ncols=3, handletextpad=0.1, columnspacing=1)
        return figure
