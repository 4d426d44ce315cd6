"""Of which kinds the first layer's units are: words, and no picture."""

from __future__ import annotations

from typing import Any

from altprop.core import Refused
from altprop.measure import has_pictures, shares, unit_kinds
from altprop.panels.panel import Ended, Panel, plain

TOLD = 128  # units of the first layer at most


def measure(ended: Ended) -> dict[str, Any]:
    first = ended.rule.layers[0]
    if not has_pictures(first, ended.rule.shapes[0].a):
        raise Refused(f"{first} has no weights that are pictures: kinds are told of a Linear or a convolution")
    kinds = unit_kinds(ended.first_fields(TOLD))
    return {"units": len(kinds), "shares": plain(shares(kinds))}


def caption(measured: Any) -> str:
    gabor, colour, other = (100 * measured["shares"][kind] for kind in ("gabor", "colour", "other"))
    count = f"Of the first {measured['units']} units of the first layer"
    return f"{count} {gabor:.0f} % are Gabor-like, {colour:.0f} % are of colour and {other:.0f} % neither."


PANEL = Panel("Kinds of units in the first layer", measure, None, caption)
