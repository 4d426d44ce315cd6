"""Activity of the last hidden layer, laid out in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from altprop.core import Refused
from altprop.limits import shorten
from altprop.measure import tsne
from altprop.panels.panel import Depths, Ended, Panel
from altprop.panels.style import MUTED, PALETTE, WIDTH, style

SHOWN = 500  # samples of the test part
MARKERS = "o^s"  # each with all colours, then the rest in grey


def measure(ended: Ended) -> dict[str, Any]:
    if not ended.data.classes:
        raise Refused("a regression has no classes to colour hidden activity by")
    x, y = ended.part(SHOWN)
    points = tsne(ended.rule, x, perplexity=min(30.0, (len(x) - 1) / 3))
    placed = [[round(float(value), 2) for value in point] for point in points]
    return {"points": placed, "labels": y.tolist(), "classes": list(ended.data.classes)}


def draw(measured: Any, depths: Depths) -> Figure:
    """A dot a sample, coloured by class, with the classes' names."""
    points, labels = np.asarray(measured["points"], dtype=float), np.asarray(measured["labels"])
    names, seen = measured.get("classes") or [], np.unique(labels)
    with style():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        for place, label in enumerate(seen):
            chosen, row = points[labels == label], place // len(PALETTE)
            colour = PALETTE[place % len(PALETTE)] if row < len(MARKERS) else MUTED
            name = shorten(names[label], 14) if label < len(names) else str(label)
            marker = MARKERS[min(row, len(MARKERS) - 1)]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=10, color=colour, marker=marker, label=name, linewidths=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        if len(seen) <= len(MARKERS) * len(PALETTE):
            columns = max(1, 30 // (6 + max(len(text) for text in axes.get_legend_handles_labels()[1])))
            figure.legend(loc="outside lower center", frameon=False, markerscale=1.8, ncols=min(columns, 5),
                          handletextpad=0.2, columnspacing=1.0)  # fmt: skip
        return figure


def caption(measured: Any) -> str:
    return (
        "Activity of the last hidden layer for samples of the test part, laid out by t-SNE and coloured by class. "
        "Neighbours are alike; distances between far groups mean nothing."
    )


PANEL = Panel("Scatter plot of hidden activity by class", measure, draw, caption)
