"""How fast the test accuracy rises to its plateau: a number, and no picture."""

from __future__ import annotations

from typing import Any

from altprop.core import Refused
from altprop.measure import plateau
from altprop.panels.panel import Ended, Panel


def measure(ended: Ended) -> dict[str, Any]:
    accuracies = [row["test_accuracy"] for row in ended.metrics if row["test_accuracy"] is not None]
    if not ended.data.classes:
        raise Refused("a regression has no accuracy whose plateau could be fitted")
    fit = plateau(accuracies, chance=1 / ended.data.outputs)
    return {"maximum": fit.maximum, "slowness": fit.slowness}


def caption(measured: Any) -> str:
    return f"Slowness: {measured['slowness']:.3g} epochs to half of the plateau of test accuracy."


PANEL = Panel("Slowness of learning", measure, None, caption)
