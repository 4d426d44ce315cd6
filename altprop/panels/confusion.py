"""Which classes of the test part are taken for which."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from altprop.limits import shorten
from altprop.panels.panel import Depths, Ended, Panel
from altprop.panels.style import INK, MUTED, PALETTE, WIDTH, style

MOST = 100  # classes of which a table is kept
WRITTEN = 12  # classes up to which its numbers stand in it


def measure(ended: Ended) -> dict[str, Any]:
    """counts[true][said], of samples of the test part."""
    classes = ended.data.classes
    said, true = ended.outputs.argmax(1), ended.data.y_test.cpu()
    counts = (true * len(classes) + said).bincount(minlength=len(classes) ** 2)
    return {"classes": list(classes), "counts": counts.view(len(classes), -1).tolist()}


def fits(ended: Ended) -> bool:
    return 0 < len(ended.data.classes) <= MOST


def draw(measured: Any, depths: Depths) -> Figure:
    """A row a true class, a column what it was called: the share of the row as depth of colour, the counts in it."""
    counts = np.asarray(measured["counts"], dtype=float)
    names = [shorten(name, 12) for name in measured["classes"]]
    total = counts.sum(1)
    share = counts / np.maximum(total, 1)[:, None]
    with style():
        figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
        axes = figure.subplots()
        for true, said in zip(*counts.nonzero(), strict=True):
            right, strength = true == said, 0.15 + 0.7 * float(share[true, said])
            colour = PALETTE[0] if right else PALETTE[3]
            axes.add_patch(Rectangle((said - 0.5, true - 0.5), 1, 1, color=colour, alpha=strength / 2, linewidth=0))
            if len(names) <= WRITTEN:
                axes.text(said, true, f"{counts[true, said]:.0f}", ha="center", va="center", color=INK)
        places = range(0, len(names), max(1, -(-len(names) // 20)))  # at most 20 names an axis
        chosen = [names[place] for place in places]
        axes.set_xticks(places, chosen, rotation=0 if max(map(len, chosen)) < 3 and len(chosen) < 13 else 90)
        axes.set_yticks(places, chosen)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(False)
        axes.set_xlabel("said", color=MUTED)
        axes.set_ylabel("true", color=MUTED)
        return figure


def caption(measured: Any) -> str:
    counts = np.asarray(measured["counts"])
    wrong = counts - np.diag(np.diag(counts))
    text = f"Test samples by their true class and by what the net said: {np.trace(counts)} of {counts.sum()} are right."
    if wrong.any():
        true, said = np.unravel_index(wrong.argmax(), wrong.shape)
        names = measured["classes"]
        text += f" Most often {names[true]} was called {names[said]}: {wrong[true, said]} times."
    return text


PANEL = Panel("Confusion matrix: samples by true class and by what was said", measure, draw, caption, fits, cheap=True)
