"""What a rule tells of itself."""

from __future__ import annotations

from torch import Tensor

from altprop.core import Rule
from altprop.measure.probe import in_mode, undone


def watched(rule: Rule, x: Tensor, y: Tensor) -> dict[str, float | dict[str, float]]:
    """``rule.watch()`` of one credit of x (N, *in) and y, in eval mode, of which nothing else is left: so the numbers
    depend on net and samples alone, not on which batch was the last."""
    with undone(rule), in_mode(rule, training=False):
        rule.credit(x, y)
        return rule.watch()
