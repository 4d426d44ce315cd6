"""Test accuracy when inputs are disturbed."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from altprop.core import Refused
from altprop.measure import ATTACKS, accuracy_under
from altprop.panels.panel import Depths, Ended, Panel
from altprop.panels.style import PALETTE, WIDTH, style

SEEN = 256  # samples of the test part
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.2)  # of an attack, in units of the inputs


def measure(ended: Ended) -> dict[str, Any]:
    if not ended.data.classes:
        raise Refused("a regression has no class that an attack could change")
    x, y = ended.part(SEEN)
    bounds = (float(x.min()), float(x.max()))
    return {
        attack: {str(strength): accuracy for strength, accuracy in under.items()}
        for attack in ATTACKS
        for under in [accuracy_under(ended.rule, x, y, attack, STRENGTHS, bounds=bounds)]
    }


def draw(measured: Any, depths: Depths) -> Figure:
    """Test accuracy under each attack, over its strength."""
    with style():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        for place, (attack, under) in enumerate(measured.items()):
            strengths, values = [float(strength) for strength in under], [100 * value for value in under.values()]
            axes.plot(strengths, values, "o-", markersize=4, color=PALETTE[place % len(PALETTE)], label=attack)
        axes.set_xlabel("strength, in units of the input")
        axes.set_title("test accuracy (%)")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        return figure


def caption(measured: Any) -> str:
    return (
        "Share of test samples classified right when they are disturbed: fgsm and pgd follow the true gradient of the "
        "loss at the input, square asks the net alone, gaussian is noise."
    )


PANEL = Panel("Line chart: accuracy over the strength of each attack", measure, draw, caption)
