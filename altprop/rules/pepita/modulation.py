"""The arithmetic of PEPITA's second pass.

It is followed by what it differs from the first, h^m - h = f(a + W d) - f(a) with d = h^m - h below: a number of its
own in every layer, since the difference of two activities far from zero would be the rounding of both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Trace, accumulate, correlate, drive, learn
from altprop.core.layer import is_convolution, is_dense, is_linear
from altprop.core.local import prepare
from altprop.core.steps import DROPOUTS, Step, jvp, kind_of, run_all

NORMALISE: dict[str | None, Callable[[Tensor], Tensor]] = {  # an activity of length zero stays as it is
    None: lambda h: h,
    "sample": lambda h: h / _or_one(h.flatten(1).norm(dim=1)).view(-1, *(1 for _ in h.shape[1:])),
    "batch": lambda h: h / _or_one(h.norm()),
}

ROUNDING = 4  # of an activity, in units of its last place
PROPORTIONAL = (nn.Identity, nn.Flatten, *DROPOUTS)  # modules of which d is the whole difference


def follow(clean: Trace, h: Tensor, d: Tensor, d_a: Tensor | None = None) -> tuple[Trace, Tensor, Tensor]:
    """The second pass of a layer with a weight, on h (N, *in) that differs by d from what its first pass had: (its
    trace, the same difference at the input of its synapse, and that of its activity).  d_a: W d, if it is known."""
    layer = clean.layer
    module, a = layer.synapse, clean.a  # type: Any, Any
    x, inlet = prepare(layer, h, clean, reach=True)
    d_x = _apart(inlet, x, clean.x, d)
    d_a = drive(module, d_x, module.weight) if d_a is None else d_a
    h, activation = run_all(layer.activation, a + d_a, clean.activation, fresh=True)
    return Trace(layer, x, None, h, inlet, clean.synapse, activation), d_x, _apart(activation, h, clean.h, d_a)


def _apart(steps: list[Step], y: Tensor, clean: Tensor, d: Tensor) -> Tensor:
    """y - clean behind modules whose inputs differ by d, without the rounding of a subtraction.

    Behind ReLU it is d where both are above zero, else y or -clean, in one: min(max(d, -clean), y).  Behind others the
    tangent stands for it, wherever the two agree to the rounding of y."""
    kinds = {kind_of(step.module) for step in steps}
    if kinds <= {nn.ReLU, *PROPORTIONAL}:
        for step in steps:
            d = d if kind_of(step.module) is nn.ReLU else jvp(step, d)
        return clean.neg().clamp_(d, y) if nn.ReLU in kinds else d
    if not all(type(step.module).__module__.startswith(("torch.nn.", "altprop.")) for step in steps):
        return y - clean  # a module of the user's may have no second derivative
    for step in steps:
        d = jvp(step, d)
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
