"""Bytes that a step holds for its activities and signals, by hand from shapes and claims.

    layerwise    max over l of   h_1 + ... + h_l + delta_l + max(signal_{l-1}, signal_l + delta_{l+1}),   e and t
    error        h_1 + ... + h_L + signal_l + delta_l of the widest l,                                    e, t, ...
    target       max over l of   h_{l-1} + h_l + signal_l + delta_l,                                      t
    autograd     max over l of   h_1 + ... + h_l + signal_l + max(delta_l, signal_{l-1})

each of N times the layer's width, where h is what an activation makes in the place of a, as ReLU and tanh do.
"""

from __future__ import annotations

from math import prod

from torch import nn

from altprop.bench.traffic import is_told
from altprop.core import Rule
from altprop.core.layer import parts
from altprop.core.steps import POINTWISE, RESULT


def is_plain(rule: Rule) -> bool:
    """Whether each layer is a Linear with an activation that needs its result alone on the way back."""
    return all(
        isinstance(layer.synapse, nn.Linear)
        and len(parts(layer.activation)) <= 1
        and all(POINTWISE.get(type(part), (0, 0, not RESULT))[2] is RESULT for part in parts(layer.activation))
        and all(isinstance(part, nn.Flatten) for part in parts(layer.inlet))
        for layer in rule.layers
    )


def activations(rule: Rule, batch: int) -> int | None:
    """Of a rule; None where claims and shapes do not tell."""
    if not (is_plain(rule) and is_told(rule)):
        return None
    *hidden, C = [prod(shapes.h) for shapes in rule.shapes]
    widths = dict(enumerate(hidden, start=1))
    numbers = {"layerwise": _layerwise, "error": _direct, "target": _target}[rule.claims.signal](widths, C)
    return batch * numbers * rule.like.element_size()


def autograd_activations(rule: Rule, batch: int) -> int | None:
    """Of ``loss.backward()`` on the rule's net."""
    if not is_plain(rule):
        return None
    hidden = [prod(shapes.h) for shapes in rule.shapes[:-1]]
    held, most = 0, 0
    for below, width in zip([0, *hidden], hidden, strict=False):
        held += width
        most = max(most, held + width + max(width, below))
    return batch * most * rule.like.element_size()


def _layerwise(widths: dict[int, int], C: int) -> int:
    held, most = 0, 0
    for index, width in widths.items():
        held += width
        above, below = widths.get(index + 1, C), widths.get(index - 1, 0)
        most = max(most, held + width + max(below, width + above if index < len(widths) else width))
    return most + 2 * C


def _direct(widths: dict[int, int], C: int) -> int:
    return sum(widths.values()) + 2 * max(widths.values(), default=0) + 4 * C


def _target(widths: dict[int, int], C: int) -> int:
    return max((widths.get(index - 1, 0) + 3 * width for index, width in widths.items()), default=2 * C) + C
