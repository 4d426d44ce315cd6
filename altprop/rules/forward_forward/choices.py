"""What Forward-Forward can be told, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from altprop.core import Refused, Rule
from altprop.rules.forward_forward.goodness import GOODNESS

CHOICES = {
    "goodness": (*GOODNESS,),
    "negatives": ("labels", "images"),
    "inference": ("readout", "goodness"),
    "place": ("auto", "over", "beside"),
}


def find_table(rule: Rule, negatives: str, place: str) -> nn.Linear | None:
    """The first synapse where a label stands beside the samples: as asked, or where they are flat.

    Of an image the first entries lie at the border and say little; of a table they say as much as any."""
    first, shape = rule.layers[0].synapse, tuple(rule.shapes[0].x)
    fits = negatives != "images" and len(shape) == 1 and type(first) is nn.Linear
    if place == "beside" and not fits:
        what = f"place='beside' came with samples of {shape}, negatives={negatives!r} and {rule.layers[0]}"
        raise Refused(f"{what}: it is for flat samples with labels, into a Linear")
    return first if fits and place != "over" else None  # type: ignore[return-value]


def check(rule: Rule, peer: float, numbers: dict[str, float], **choices: Any) -> nn.Linear | None:
    """What ``find_table`` finds.  Raises ``Refused`` for one of ``choices`` that is not in ``CHOICES``, or where they,
    net and input do not fit."""
    for name, value in choices.items():
        if value not in CHOICES[name]:
            raise Refused(f"{name}={value!r} came; ForwardForward takes {' or '.join(map(repr, CHOICES[name]))}")
    entries, images = rule.shapes[0].x.numel(), choices["negatives"] == "images"
    table = find_table(rule, choices["negatives"], choices["place"])
    bent = [str(layer) for layer, s in zip(rule.layers, rule.shapes[:-1], strict=False) if peer and s.a != s.h]
    label, blurs = numbers["label"], numbers["blurs"]
    few = f"{entries} inputs came for {rule.classes} classes, but a label of at least 2 classes stands over the first "
    flaws = {
        f"label={label}, peer={peer} came: give a label above 0 and a peer of at least 0": label <= 0 or peer < 0,
        f"blurs={blurs} came: give a number of blurs from 0 to 100": not 0 <= blurs <= 100,
        "ForwardForward divides by lengths, but integers came: give the net a real-valued input": rule.integer_input,
        "the net has one layer, which ForwardForward makes the readout: add a hidden layer": len(rule.layers) == 1,
        few + "inputs: give longer inputs, or negatives='images'": (
            not images and not 1 < rule.classes <= (entries if table is None else math.inf)
        ),
        "inference='goodness' came with negatives='images', which teach no label: use inference='readout'": (
            images and choices["inference"] == "goodness"
        ),
        f"peer={peer} came, but the activation of {bent} changes the shape, so that no unit has its peer term: "
        "move what changes it into the next layer's inlet, or use peer=0": bool(bent),
    }
    for flaw, holds in flaws.items():
        if holds:
            raise Refused(flaw)
    return table
