"""What the rules of the PEPITA family share: the pass, which may normalise its activity, and what modulates its input.

    x^m = x + s e F           "error"     F fixed, (C, *in)
    x^m = x                   "none"      the control F = 0: hidden layers stay as they are
    x^m = x + r u             "random"    u uniform in [0, 1), a number for each input

in = the input of layer ``at``, so that with at=0 it is the image that is modulated.  The second pass is followed by
what it differs from the first, h^m - h = f(a + W d) - f(a) with d = h^m - h below: a number of its own in every layer,
since the difference of two activities far from zero would be the rounding of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import (
    Claims,
    Refused,
    Rule,
    Trace,
    accumulate,
    correlate,
    draw_feedback,
    drive,
    forward,
    learn,
    project,
)
from altprop.core.layer import is_convolution, is_dense, is_linear
from altprop.core.local import prepare
from altprop.core.steps import DROPOUTS, Step, jvp, kind_of, run_all

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

ROUNDING = 4  # of an activity, in units of its last place
PROPORTIONAL = (nn.Identity, nn.Flatten, *DROPOUTS)  # modules of which d is the whole difference

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


def first_pass(rule: Any, x: Tensor) -> list[Trace]:
    """Every layer's trace on x, with its pre-activation."""
    traces: list[Trace] = []
    for index in range(len(rule.layers)):
        traces.append(present(rule, index, x, keep=True))
        x = traces[-1].h
    return traces


def modulate(rule: Any, x: Tensor, first: list[Trace], e: Tensor) -> tuple[Tensor, Tensor]:
    """(x^m (N, *in), d = x^m - x) at the layer that the error enters."""
    h = first[rule.enters - 1].h if rule.enters else x
    d = PERTURB[rule.perturb](rule, h, e)
    return h + d, d


def follow(rule: Any, clean: Trace, h: Tensor, d: Tensor, d_a: Tensor | None = None) -> tuple[Trace, Tensor, Tensor]:
    """A layer's second pass, on h (N, *in) that differs by d from what its first pass had: (its trace, the same
    difference at the input of its synapse, and that of its activity).  d_a: W d, where the caller knows it."""
    layer, index = clean.layer, rule.layers.index(clean.layer)
    module, a = layer.synapse, clean.a  # type: Any, Any
    if not is_dense(module):
        again = present(rule, index, h, like=clean)
        return again, again.x - clean.x, again.h - clean.h
    x, inlet = prepare(layer, h, clean, reach=True)
    d_x = _apart(inlet, x, clean.x, d)
    d_a = drive(module, d_x, module.weight) if d_a is None else d_a
    h, activation = run_all(layer.activation, a + d_a, clean.activation, fresh=True)
    again = Trace(layer, x, None, h, inlet, clean.synapse, activation)
    if rule.normalise is None or index == len(rule.layers) - 1:
        return again, d_x, _apart(activation, h, clean.h, d_a)
    h = NORMALISE[rule.normalise](h)
    return again._replace(h=h), d_x, h - clean.h


def _apart(steps: list[Step], y: Tensor, clean: Tensor, d: Tensor) -> Tensor:
    """y - clean behind modules whose inputs differ by d.  Where the tangent agrees with it to the rounding of y the two
    are the same, and the tangent, which subtracts nothing, is the one without that rounding."""
    if not all(type(step.module).__module__.startswith(("torch.nn.", "altprop.")) for step in steps):
        return y - clean  # a module of the user's may have no second derivative
    for step in steps:
        d = jvp(step, d)
    if all(kind_of(step.module) in PROPORTIONAL for step in steps):
        return d
    apart = y - clean
    return torch.where((apart - d).abs_() <= ROUNDING * torch.finfo(y.dtype).eps * y.abs(), d, apart)


def learn_apart(clean: Trace, modulated: Trace, d_x: Tensor, risen: Tensor, down: Tensor) -> None:
    """W.grad += up^T x - down^T x^m, with risen = up - down and d_x = x^m - x:  risen^T x - down^T d_x."""
    module: Any = clean.layer.synapse
    if not is_dense(module):
        learn(clean, risen + down)
        learn(modulated, -down)
        return
    learn(clean, risen)  # the bias, whose input is 1 in both passes, has all of it
    if module.weight.requires_grad:
        accumulate(module.weight, correlate(module, d_x, -down))


def infer(rule: Any, x: Tensor) -> Tensor:
    """The forward of the family: the net's output, the activity of hidden layers normalised as in training."""
    if rule.normalise is None:
        return rule.net(x)
    *hidden, last = rule.layers
    for layer in hidden:
        x = NORMALISE[rule.normalise](layer(x))
    return last(x)


def products(trace: Trace) -> int:
    """M: how many products of pre- and postsynaptic activity each weight sums: N, times the positions that share it.

    A transposed convolution lays its kernel out from every position of its input, others take it to every one of their
    output."""
    module: Any = trace.layer.synapse
    if not is_linear(module):
        return len(trace.h)
    if not is_convolution(module):
        return trace.h.numel() // trace.h.shape[-1]
    side = trace.x if module.transposed else trace.h
    return side.numel() // side.shape[1]


def _or_one(length: Tensor) -> Tensor:
    return torch.where(length > 0, length, torch.ones_like(length))
