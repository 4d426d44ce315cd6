"""The first layer's weights as pictures."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from altprop.panels.panel import Depths, Ended, Panel
from altprop.panels.pictures import draw_pictures, rounded
from altprop.panels.style import WIDTH, style

SHOWN, COLUMNS = 25, 5  # units of the first layer, and in a row


def measure(ended: Ended) -> dict[str, Any]:
    first = ended.first_fields(SHOWN)
    return {"shape": list(first.shape), "values": rounded(first)}


def draw(measured: Any, depths: Depths) -> Figure:
    """Each picture from its own least to its own greatest value."""
    rows = math.ceil(measured["shape"][0] / COLUMNS)
    with style():
        figure = Figure(figsize=(WIDTH, WIDTH / COLUMNS * rows), layout="constrained")
        draw_pictures(figure.subplots(rows, COLUMNS, squeeze=False).flat, measured)
        return figure


def caption(measured: Any) -> str:
    return "What units of the first layer weigh in an image, each picture from its least to its greatest weight."


PANEL = Panel("Pictures of the first layer's weights", measure, draw, caption)
