"""What the rules of the PEPITA family share: the pass, which may normalise its activity, and what modulates its input.

    x^m = x + s e F           "error"     F fixed, (C, *in)
    x^m = x                   "none"      the control F = 0: hidden layers stay as they are
    x^m = x + r u             "random"    u uniform in [0, 1), a number for each input

in = the input of layer ``at``, so that with at=0 it is the image that is modulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Refused, Rule, Trace, draw_feedback, forward, project, push
from altprop.core.layer import is_linear

CHOICES: dict[str, tuple[object, ...]] = {
    "sign": (1, -1),
    "presynaptic": ("modulated", "standard"),
    "output_error": ("standard", "modulated"),
    "normalise": (None, "sample", "batch"),
    "perturb": ("error", "none", "random"),
    "mirror": (False, True),
}

NORMALISE: dict[str | None, Callable[[Tensor], Tensor]] = {  # an activity of length zero stays as it is
    None: lambda h: h,
    "sample": lambda h: h / _or_one(h.flatten(1).norm(dim=1)).view(-1, *(1 for _ in h.shape[1:])),
    "batch": lambda h: h / _or_one(h.norm()),
}

PERTURB: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {  # (rule, h, e) -> what is added to h
    "error": lambda rule, h, e: project(rule.s * e, rule.feedback[0]),
    "none": lambda rule, h, e: torch.zeros_like(h),
    "random": lambda rule, h, e: rule.scale * torch.rand_like(h),
}


def check(rule: Rule, at: int, **options: object) -> None:
    """Raises ``Refused`` for an option that is none, and for a net whose activity has no difference to learn from."""
    for name, value in options.items():
        if value not in CHOICES[name]:
            raise Refused(f"{name}={value!r} came; PEPITA takes {' or '.join(map(repr, CHOICES[name]))}")
    if not 0 <= at < len(rule.layers):
        raise Refused(f"at={at} came; PEPITA modulates the input of a layer from 0 to {len(rule.layers) - 1}")
    if rule.integer_input:
        raise Refused("PEPITA adds an error to its input, but integers came: give the net a real-valued input")
    for layer, shapes in zip(rule.layers[:-1], rule.shapes, strict=False):
        if shapes.a != shapes.h:
            raise Refused(
                f"PEPITA learns from differences of activity, but the activation of {layer} makes shape "
                f"{tuple(shapes.h)} of {tuple(shapes.a)}: move what changes it into the next layer's inlet"
            )


def claims_of(rule: Rule, normalise: str | None, **others: Any) -> Claims:
    """The rule's claims with that normalisation, which is its own inference, and over a batch no mean of samples."""
    inference: Any = "net" if normalise is None else "own"
    return replace(rule.claims, inference=inference, averages=normalise != "batch", **others)


def equip(rule: Any, *, sign: int, normalise: str | None, init: str, scale: float, seed: int) -> None:
    """What a variant has of PEPITA: its options, checked, and F."""
    check(rule, 0, sign=sign, normalise=normalise)
    rule.s, rule.normalise, rule.claims = sign, normalise, claims_of(rule, normalise)
    shape = (rule.classes, *rule.shapes[0].x)
    rule.feedback = draw_feedback([shape], init=init, scale=scale, seed=seed, like=rule.like)


def present(rule: Any, index: int, h: Tensor, like: Trace | None = None, **known: Any) -> Trace:
    """Layer ``index`` on h, its activity normalised unless it is the output; ``like`` replays dropout masks."""
    trace = forward(rule.layers[index], h, like, **known)
    last = index == len(rule.layers) - 1
    return trace if last else trace._replace(h=NORMALISE[rule.normalise](trace.h))


def first_pass(rule: Any, x: Tensor, keep: bool = False) -> list[Trace]:
    """Every layer's trace on x; with ``keep`` the first one's pre-activation too."""
    traces: list[Trace] = []
    for index in range(len(rule.layers)):
        traces.append(present(rule, index, x, keep=keep and not traces))
        x = traces[-1].h
    return traces


def modulate(rule: Any, x: Tensor, first: list[Trace], e: Tensor) -> tuple[Tensor, Tensor | None]:
    """(x^m (N, *in), and where the first pass kept it the pre-activation W x^m = W x + s e (F W^T) (N, n_1))."""
    h = first[rule.enters - 1].h if rule.enters else x
    a = first[0].a
    known = None if a is None else a + project(rule.s * e, push(first[0], rule.feedback[0]))
    return h + PERTURB[rule.perturb](rule, h, e), known


def infer(rule: Any, x: Tensor) -> Tensor:
    """The forward of the family: the net's output, the activity of hidden layers normalised as in training."""
    if rule.normalise is None:
        return rule.net(x)
    *hidden, last = rule.layers
    for layer in hidden:
        x = NORMALISE[rule.normalise](layer(x))
    return last(x)


def products(trace: Trace) -> int:
    """M: how many products of pre- and postsynaptic activity each weight sums: N, times the positions that share it."""
    module: Any = trace.layer.synapse
    return trace.h.numel() // int(module.weight.shape[0]) if is_linear(module) else len(trace.h)


def _or_one(length: Tensor) -> Tensor:
    return torch.where(length > 0, length, torch.ones_like(length))
