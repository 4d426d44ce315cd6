"""Quantiles of each layer's weights over those of the fitted Normal and Student-t distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from altprop.measure import weight_distribution
from altprop.panels.panel import Depths, Ended, Panel, called, plain
from altprop.panels.style import MUTED, PALETTE, WIDTH, style

FITTED = {"normal": "Normal", "student": "Student t"}
MOST = 8  # layers that are drawn


def measure(ended: Ended) -> dict[str, Any]:
    layers = {}
    for layer in ended.rule.layers:
        weight = getattr(layer.synapse, "weight", None)
        if isinstance(weight, Tensor):
            layers[layer.name] = plain(weight_distribution(weight.detach().cpu())._asdict())
    return layers


def draw(measured: Any, depths: Depths) -> Figure:
    """A row a layer; on the grey diagonal a distribution fits."""
    chosen = dict(list(measured.items())[:MOST])
    with style():
        figure = Figure(figsize=(WIDTH, 2.4 * max(len(chosen), 1)), layout="constrained")
        grid = figure.subplots(max(len(chosen), 1), 1, squeeze=False)
        for axes, (layer, fits) in zip(grid.flat, chosen.items(), strict=False):
            for place, (name, label) in enumerate(FITTED.items()):
                points = np.asarray(fits[name]["quantiles"], dtype=float)
                axes.plot(points[:, 0], points[:, 1], ".", markersize=3, color=PALETTE[place], label=label)
            low, high = axes.get_ylim()
            axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8)
            axes.set_title(f"{called(layer, depths)}: weight")
            axes.locator_params(nbins=5)
            axes.legend(frameon=False, handletextpad=0.2, borderpad=0, markerscale=2)
        grid.flat[-1].set_xlabel("fitted quantile")
        return figure


def caption(measured: Any) -> str:
    student = sum(fits["student"]["aic"] < fits["normal"]["aic"] for fits in measured.values())
    return (
        "Quantiles of the weights over those of two fitted distributions; on the grey line a distribution fits. By AIC "
        f"Student’s t fits better in {student} of {len(measured)} layers."
    )


PANEL = Panel("Quantile plots of the weights, by layer", measure, draw, caption)
