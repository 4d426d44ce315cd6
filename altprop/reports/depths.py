"""What ``altprop profile`` measured over depth, as a drawing of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from altprop.panels.style import to_picture
from altprop.reports.curves import learning_curves


def memory_over_depth(by_depth: Sequence[Mapping[str, Any]]) -> str:
    """An SVG: the most that activities and signals hold at one time, in MB over the number of layers; a line each for
    the rule, in black, and for backpropagation in its ways."""
    names = [row["of"] for row in by_depth[0]["memory"]]
    curves = {
        name: [{each["depth"]: each["memory"][place]["activations"] / 1e6 for each in by_depth}]
        for place, name in enumerate(names)
    }
    return to_picture(learning_curves(curves, quantity="activations (MB)", reference=names[0], over="layers"))
