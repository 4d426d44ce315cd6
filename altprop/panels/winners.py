"""How often each unit of a layer has the largest pre-activation."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from altprop.measure import winners
from altprop.panels.panel import Depths, Ended, Panel, called
from altprop.panels.style import MUTED, WIDTH, depth_colour, style

SEEN = 500  # samples of the test part


def measure(ended: Ended) -> dict[str, Any]:
    x, _ = ended.part(SEEN)
    return {
        name: {
            "share": [round(share, 7) for share in layer.share.tolist()],
            "entropy": round(layer.entropy, 5),
            "dead": layer.dead,
        }
        for name, layer in winners(ended.rule, x).items()
    }


def draw(measured: Any, depths: Depths) -> Figure:
    """As multiples of an even share, the most frequent first: a line a layer, which ends where units never win."""
    with style():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        for layer, won in measured.items():
            shares = np.sort(np.asarray(won["share"], dtype=float))[::-1]
            alive = shares > 0
            ranks = 100 * (np.arange(len(shares)) + 0.5) / len(shares)
            label = f"{called(layer, depths)}: {won['dead']} of {len(shares)} never"
            dots = "." if alive.sum() < 20 else ""
            colour = depth_colour(layer, depths or measured)
            axes.plot(ranks[alive], len(shares) * shares[alive], dots + "-", color=colour, label=label)
        axes.axhline(1, color=MUTED, linewidth=0.8)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(0, 100)
        axes.set_xlabel("units of the layer (%)")
        axes.set_title("wins, in multiples of an even share")
        figure.legend(loc="outside lower center", frameon=False, ncols=1)
        return figure


def caption(measured: Any) -> str:
    return (
        "How often each unit has the largest pre-activation of its layer, the most frequent first. A line that ends "
        "early leaves units that never win."
    )


PANEL = Panel("Line chart: how often each unit wins, by layer", measure, draw, caption)
