"""What simple readouts make of each layer."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from altprop.core import Refused
from altprop.data import as_input
from altprop.measure import by_depth
from altprop.panels.panel import Depths, Ended, Panel, called, plain, spaced
from altprop.panels.style import PALETTE, WIDTH, style

TAUGHT, ASKED = 2000, 1000  # of the training and the test part at most


def measure(ended: Ended) -> dict[str, Any]:
    data, rule = ended.data, ended.rule
    if not data.classes:
        raise Refused("a regression has no classes that could be read out of a layer")
    train, test = (
        (as_input(x[rows], rule.like.dtype), y[rows])
        for x, y, count in ((data.x_train, data.y_train, TAUGHT), (data.x_test, data.y_test, ASKED))
        for rows in [spaced(len(x), count)]
    )
    return plain(by_depth(rule, train, test))


def draw(measured: Any, depths: Depths) -> Figure:
    """Test accuracy of each readout from the input and from every hidden layer, in the net's order."""
    with style():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        for number, readout in enumerate(next(iter(measured.values()))):
            values = [100 * read[readout] for read in measured.values()]
            colour = PALETTE[number % len(PALETTE)]
            axes.plot(range(len(values)), values, "o-", markersize=4, color=colour, label=readout)
        names = [name if name == "input" else called(name, depths) for name in measured]
        axes.set_xticks(range(len(names)), names, rotation=0 if sum(map(len, names)) < 32 else 90)
        axes.set_title("test accuracy (%)")
        axes.set_xlim(-0.3, len(names) - 0.7)
        axes.set_ylim(0, 1.05 * max(axes.dataLim.y1, 1.0))
        axes.legend(frameon=False)
        return figure


def caption(measured: Any) -> str:
    return (
        "Accuracy on test samples of simple readouts, fitted to what each hidden layer hands on: ridge is linear, "
        "nearest asks the five nearest training samples. The raw input is what a layer has to beat."
    )


PANEL = Panel("Line chart: accuracy of readouts from each layer", measure, draw, caption)
