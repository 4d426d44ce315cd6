"""Inputs on which units of deeper layers are most active."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from altprop.core import Refused
from altprop.core.layer import is_linear
from altprop.measure import receptive_fields
from altprop.panels.panel import Depths, Ended, Panel, called
from altprop.panels.pictures import draw_pictures, rounded
from altprop.panels.style import WIDTH, style

SHOWN = 5  # units of each layer
SEEN = 500  # samples of the test part whose norm the pictures have


def measure(ended: Ended) -> dict[str, Any]:
    rule, data = ended.rule, ended.data
    if len(data.shape) < 2:
        raise Refused("the inputs are no images, so that what a unit responds to has no picture")
    deeper = [layer for layer in rule.layers[1:-1] if is_linear(layer.synapse)]
    if not deeper:
        raise Refused("no Linear or convolution stands between the first layer and the last, so none is deep")
    x, _ = ended.part(SEEN)
    radius = float(x.flatten(1).norm(dim=1).median())  # that of the inputs it has learned from
    fields = {}
    for layer in deeper:
        climbed = receptive_fields(rule, layer.name, SHOWN, radius=radius)
        fields[layer.name] = {"shape": [len(climbed), *data.shape], "values": rounded(climbed)}
    return fields


def draw(measured: Any, depths: Depths) -> Figure:
    """A row a layer, each picture from its own least to its own greatest value."""
    with style():
        figure = Figure(figsize=(WIDTH, 1.05 * max(len(measured), 1)), layout="constrained")
        grid = figure.subplots(max(len(measured), 1), SHOWN, squeeze=False)
        for row, (layer, receptive) in zip(grid, measured.items(), strict=False):
            draw_pictures(row, receptive)
            row[0].set_title(called(layer, depths))
        return figure


def caption(measured: Any) -> str:
    return (
        "Inputs on which units of deeper layers are most active, found by gradient ascent from noise, of the norm of a "
        "test sample."
    )


PANEL = Panel("Pictures that units of deeper layers respond to, by layer", measure, draw, caption)
