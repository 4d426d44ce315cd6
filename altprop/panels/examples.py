"""Samples of the test part with what the net said of them: its surest mistakes, and some that are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from altprop.core import LOSSES
from altprop.data import Dataset, as_float
from altprop.limits import shorten
from altprop.measure.probabilities import PROBABILITIES
from altprop.panels.panel import Depths, Ended, Panel, spaced
from altprop.panels.pictures import draw_pictures
from altprop.panels.style import WIDTH, style

WRONG, RIGHT, COLUMNS = 8, 4, 4
SIDE = 32  # pixels of a picture's sides at most


def measure(ended: Ended) -> dict[str, Any]:
    """wrong: the mistakes that the net was surest of, the surest first; right: samples spread over the test part.

    Each with its place in the test part; pictures, of both in this order, where inputs are images."""
    data, true = ended.data, ended.data.y_test.cpu()
    name = next(name for name, loss in LOSSES.items() if loss is ended.rule.loss)
    sure, said = PROBABILITIES[name](ended.outputs.float()).max(1)
    hit = said == true
    wrong = torch.where(hit, -torch.inf, sure).argsort(descending=True, stable=True)[: min(WRONG, int((~hit).sum()))]
    right = hit.nonzero().flatten()
    right = right[spaced(len(right), RIGHT)]

    def told(rows: Tensor) -> list[dict[str, Any]]:
        return [
            {"sample": row, "true": data.classes[true[row]], "said": data.classes[said[row]],
             "probability": round(float(sure[row]), 4)}
            for row in rows.tolist()
        ]  # fmt: skip

    told_of = {"wrong": told(wrong), "right": told(right)}
    return told_of | ({"pictures": _pictures(data, torch.cat([wrong, right]))} if _are_images(data) else {})


def fits(ended: Ended) -> bool:
    return bool(ended.data.classes)


def _are_images(data: Dataset) -> bool:
    return len(data.shape) == 3 and data.shape[0] in (1, 3) and data.x_test.dtype != torch.int64


def _pictures(data: Dataset, rows: Tensor) -> dict[str, Any]:
    """Before scaling, of at most SIDE pixels a side, in whole steps from 0, the least, to 255, the greatest value."""
    x = as_float(data.x_test[rows.to(data.x_test.device)]).cpu()
    if data.scaling is not None and data.whitening is None:
        offset, spread = (part.cpu() for part in data.scaling)
        x = x * spread + offset
    sides = (min(x.shape[2], SIDE), min(x.shape[3], SIDE))
    x = x if sides == x.shape[2:] else F.adaptive_avg_pool2d(x, sides)
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    steps = ((x - low) / (high - low).clamp(min=1e-12) * 255).round().int()
    return {"shape": list(steps.shape), "values": steps.flatten().tolist()}


def draw(measured: Any, depths: Depths) -> Figure | None:
    """The pictures, under each what it was taken for; None where inputs have none."""
    if "pictures" not in measured:
        return None
    kinds: tuple[tuple[str, Callable[[Any], str]], ...] = (
        ("wrong", lambda one: f"{shorten(one['true'], 12)}\nsaid {shorten(one['said'], 12)}"),
        ("right", lambda one: shorten(one["true"], 12)),
    )
    rows = [-(-len(measured[kind]) // COLUMNS) for kind, _ in kinds]
    with style():
        figure = Figure(figsize=(WIDTH, 1.42 * rows[0] + 1.25 * rows[1]), layout="constrained")
        grid = figure.subplots(sum(rows), COLUMNS, squeeze=False)
        places = [*grid[: rows[0]].flat][: len(measured["wrong"])]
        places += [*grid[rows[0] :].flat][: len(measured["right"])]
        for axes in grid.flat:
            axes.set_axis_off()
        draw_pictures(places, measured["pictures"])
        texts = [text(one) for kind, text in kinds for one in measured[kind]]
        for axes, text in zip(places, texts, strict=True):
            axes.set_title(text, loc="center", fontweight="normal")
        return figure


def caption(measured: Any) -> str:
    wrong = "The mistakes that the net was surest of, the surest first" if measured["wrong"] else "No mistake was made"
    return f"{wrong}; then samples that it classified right."


PANEL = Panel("Test samples with what the net said of them", measure, draw, caption, fits, cheap=True)
