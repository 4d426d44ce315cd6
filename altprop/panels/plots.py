"""Figures of what ``probes`` has measured of a finished run, from plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from altprop.panels.style import DEPTH, INK, MUTED, PALETTE, style

COLUMNS = 5  # receptive fields in a row


def quantiles(weights: Mapping[str, Any]) -> Figure:
    """A panel a layer: quantiles of its weights over those of the fitted Normal and Student-t distributions.

    On the diagonal a distribution fits; the title names the one with the lower AIC."""
    with style():
        figure = Figure(figsize=(max(8.4, 2.8 * len(weights)), 3.0), layout="constrained")
        figure.subplots(1, max(len(weights), 1), squeeze=False)
        for axes, (layer, fits) in zip(figure.axes, weights.items(), strict=False):
            for place, name in enumerate(("normal", "student")):
                points = np.asarray(fits[name]["quantiles"], dtype=float)
                axes.plot(points[:, 0], points[:, 1], ".", markersize=3, color=PALETTE[place], label=name)
            low, high = axes.get_ylim()
            axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8)
            better = min(("normal", "student"), key=lambda name: fits[name]["aic"])
            axes.set_title(f"layer {layer}: {better}")
            axes.set_xlabel("fitted quantile")
        figure.axes[0].set_ylabel("weight")
        figure.axes[0].legend(frameon=False)
        return figure


def fields(receptive: Mapping[str, Any]) -> Figure:
    """The first layer's weights as pictures, each from its own least to its own greatest value."""
    rows = math.ceil(receptive["shape"][0] / COLUMNS)
    with style():
        figure = Figure(figsize=(5.4, 1.1 * rows), layout="constrained")
        figure.subplots(rows, COLUMNS, squeeze=False)
        _show(figure.axes, receptive)
        return figure


def deep_fields(layers: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A row a layer: inputs on which its first units are most active, each from its own least to greatest value."""
    with style():
        figure = Figure(figsize=(5.4, 1.3 * max(len(layers), 1)), layout="constrained")
        grid = figure.subplots(max(len(layers), 1), COLUMNS, squeeze=False)
        for row, (layer, receptive) in zip(grid, layers.items(), strict=False):
            _show(row, receptive)
            row[0].set_title(f"layer {layer}")
        return figure


def _show(places: Any, receptive: Mapping[str, Any]) -> None:
    """One picture a place; of channels that are no colours, their mean."""
    images = np.asarray(receptive["values"], dtype=float).reshape(receptive["shape"])
    images = images.mean(1) if images.ndim == 4 and images.shape[1] not in (1, 3) else images
    for axes in places:
        axes.set_axis_off()
    for axes, image in zip(places, images, strict=False):
        low, high = image.min(), image.max()
        image = (image - low) / (high - low or 1)
        axes.imshow(image.transpose(1, 2, 0) if image.ndim == 3 and len(image) == 3 else image.squeeze(), cmap="gray")


def activity(embedded: Mapping[str, Any]) -> Figure:
    """Hidden activity of test samples in two dimensions, coloured by class."""
    points, labels = np.asarray(embedded["points"], dtype=float), np.asarray(embedded["labels"])
    with style():
        figure = Figure(figsize=(5.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for place, label in enumerate(np.unique(labels)):
            chosen = points[labels == label]
            colour = PALETTE[place % len(PALETTE)] if place < 2 * len(PALETTE) else MUTED
            marker = "o" if place < len(PALETTE) else "^"
            axes.scatter(chosen[:, 0], chosen[:, 1], s=9, color=colour, marker=marker, label=str(label), linewidths=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        if len(np.unique(labels)) <= 2 * len(PALETTE):
            figure.legend(loc="outside right upper", frameon=False, markerscale=1.6)
        return figure


def robustness(attacks: Mapping[str, Mapping[str, float]]) -> Figure:
    """Test accuracy under each attack, over its strength."""
    with style():
        figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        axes = figure.subplots()
        for place, (attack, under) in enumerate(attacks.items()):
            strengths = [float(strength) for strength in under]
            colour = PALETTE[place % len(PALETTE)]
            axes.plot(
                strengths, [100 * value for value in under.values()], "o-", markersize=3, color=colour, label=attack
            )
        axes.set_xlabel("strength, in units of the input")
        axes.set_title("test accuracy (%)", color=INK)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        return figure


def depth(accuracies: Mapping[str, Mapping[str, float]]) -> Figure:
    """Test accuracy of each readout from the input and from every hidden layer, in the net's order."""
    places = range(len(accuracies))
    with style():
        figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        axes = figure.subplots()
        for number, readout in enumerate(next(iter(accuracies.values()))):
            values = [100 * read[readout] for read in accuracies.values()]
            axes.plot(places, values, "o-", markersize=3, color=PALETTE[number % len(PALETTE)], label=readout)
        names = [name if name == "input" else f"layer {name}" for name in accuracies]
        axes.set_xticks(places, names, rotation=0 if sum(map(len, names)) < 50 else 90)
        axes.set_title("test accuracy (%)", color=INK)
        axes.set_xlim(-0.3, len(names) - 0.7)
        axes.set_ylim(0, 1.05 * max(axes.dataLim.y1, 1.0))
        axes.legend(frameon=False)
        return figure


def winners(layers: Mapping[str, Mapping[str, Any]]) -> Figure:
    """How often each unit wins, as a multiple of an even share, the most frequent first: a line a layer.

    The scale is logarithmic; a line ends where the units begin that never win."""
    with style():
        figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        axes = figure.subplots()
        for place, (layer, won) in enumerate(layers.items()):
            shares = np.sort(np.asarray(won["share"], dtype=float))[::-1]
            alive = shares > 0
            ranks = 100 * (np.arange(len(shares)) + 0.5) / len(shares)
            colour = DEPTH[round(place * (len(DEPTH) - 1) / max(len(layers) - 1, 1))]
            label = f"layer {layer}: {won['dead']} of {len(shares)} never"
            dots = "." if alive.sum() < 20 else ""
            axes.plot(ranks[alive], len(shares) * shares[alive], dots + "-", color=colour, label=label)
        axes.axhline(1, color=MUTED, linewidth=0.8)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(0, 100)
        axes.set_xlabel("units of the layer, in percent")
        axes.set_title("wins, in multiples of an even share", color=INK)
        axes.legend(frameon=False, fontsize=8)
        return figure
