"""What each nudged step adds to a gradient, against backpropagation through time."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure

from altprop.measure import InTime, agreement, sequences
from altprop.panels.panel import Depths, Ended, Panel, called, plain
from altprop.panels.style import MUTED, WIDTH, depth_colour, style

SEEN = 20  # samples of the test part, as in Laborieux et al. 2021


def fits(ended: Ended) -> bool:
    return isinstance(ended.rule, InTime)


def measure(ended: Ended) -> dict[str, Any]:
    """Of each layer how far both are from each other, and the steps of its weight that learns most."""
    told = {}
    for layer, (own, exact) in sequences(ended.rule, *ended.part(SEEN)).items():
        u, v = own.flatten(1), exact.flatten(1)  # (T, W)
        most = v.sum(0).abs().argmax()
        steps = torch.stack([u[:, most], v[:, most]])  # (2, T)
        shares = steps / steps.abs().max().clamp(min=torch.finfo(steps.dtype).tiny)
        told[layer] = {**agreement(own, exact)._asdict(), **dict(zip(("own", "exact"), shares, strict=True))}
    return plain(told)


def draw(measured: Any, depths: Depths) -> Figure:
    """A colour a layer: the rule's steps as a line, those of backpropagation through time as dashes."""
    with style():
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.subplots()
        for layer, seen in measured.items():
            steps, colour = range(1, len(seen["own"]) + 1), depth_colour(layer, depths or measured)
            wrong = f"{100 * seen['sign_error']:.0f} % wrong signs"
            label = f"{called(layer, depths)}: RMSE {seen['rmse']:.2g}, {wrong}"
            axes.plot(steps, seen["own"], "-", color=colour, label=label)
            axes.plot(steps, seen["exact"], "--", color=colour)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xlabel("nudged step")
        axes.set_title("what a step adds, in parts of the largest")
        figure.legend(loc="outside lower center", frameon=False, ncols=1)
        return figure


def caption(measured: Any) -> str:
    return (
        "What each nudged step adds to the gradient of a layer's most moved weight (line), and what backpropagation "
        "through time adds there (dashes). Both are equal where states have settled and nudges are small."
    )


PANEL = Panel("Line chart: steps of the gradient in time, by layer", measure, draw, caption, fits)
