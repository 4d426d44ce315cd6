"""A regression's predictions of the test part over what is true, in the targets' own units."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from altprop.measure import regression_scores
from altprop.panels.panel import Depths, Ended, Panel, spaced
from altprop.panels.style import MUTED, PALETTE, WIDTH, style

SHOWN = 500  # samples of the test part
TARGETS = 4  # at most that are drawn


def measure(ended: Ended) -> dict[str, Any]:
    """r2, mae and rmse of the whole test part; true and said, (samples, targets), of some of it."""
    y_hat, y = ended.outputs.double(), ended.data.y_test.double().cpu()
    if ended.data.target_scaling is not None:
        offset, spread = (part.double().cpu().view(1, -1) for part in ended.data.target_scaling)
        y_hat, y = y_hat * spread + offset, y * spread + offset
    rows = spaced(len(y), SHOWN)
    pairs = {"true": y[rows].float().tolist(), "said": y_hat[rows].float().tolist()}
    return {**regression_scores(y_hat, y), **pairs}


def fits(ended: Ended) -> bool:
    return ended.data.task == "regression"


def draw(measured: Any, depths: Depths) -> Figure:
    """A dot a sample; on the grey line a prediction is right."""
    true, said = (np.asarray(measured[key], dtype=float) for key in ("true", "said"))
    count = min(true.shape[1], TARGETS)
    with style():
        figure = Figure(figsize=(WIDTH, 3.4 * count), layout="constrained")
        for place, axes in enumerate(figure.subplots(count, 1, squeeze=False).flat):
            values = np.concatenate([true[:, place], said[:, place]])
            ends = [values.min(), values.max()]
            axes.plot(ends, ends, color=MUTED, linewidth=0.8)
            axes.plot(true[:, place], said[:, place], ".", markersize=4, color=PALETTE[0], alpha=0.6)
            axes.set_title("said" if true.shape[1] == 1 else f"said, target {place + 1}")
            axes.set_xlabel("true")
            axes.locator_params(nbins=5)
        return figure


def caption(measured: Any) -> str:
    return "Predictions of test samples over what is true, in the target’s own units; on the grey line both agree."


PANEL = Panel("Scatter plot of predictions over true values", measure, draw, caption, fits, cheap=True)
