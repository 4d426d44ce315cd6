"""Angles between what a rule does and what backpropagation would do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from altprop.core import Rule


def angle(u: Tensor, v: Tensor) -> float:
    """Degrees between two tensors of one shape, taken as vectors; 90 is chance; nan where one of them is zero."""
    u, v = u.flatten().double(), v.flatten().double()
    norms = float(u.norm() * v.norm())
    return math.degrees(math.acos(max(-1.0, min(1.0, float(u @ v) / norms)))) if norms else math.nan


@torch.no_grad()
def angles_to_bp(rule: Rule, x: Tensor, y: Tensor) -> dict[str, float | None]:
    """Degrees between the rule's gradient of each synapse and backpropagation's, by layer name; None where it has none.

    Taken in eval mode on this batch; ``.grad``, modes, statistics and random state are left as they were."""
    with _aside(rule):
        rule.credit(x, y)
        own = {parameter: parameter.grad for parameter in rule.net.parameters()}
        with torch.enable_grad():
            output = rule.net(x)
        _, e = rule.output_error(output.detach(), rule.targets(y, len(x)))
        learning = [p for p in own if p.requires_grad]
        exact = dict(zip(learning, torch.autograd.grad(output, learning, e / len(x), allow_unused=True), strict=True))
        return {layer.name: _angle_of(layer.synapse, own, exact) for layer in rule.layers}


def _angle_of(
    synapse: nn.Module, own: dict[nn.Parameter, Tensor | None], exact: dict[nn.Parameter, Tensor]
) -> float | None:
    pairs = [(own[p], exact[p]) for p in synapse.parameters() if p in exact and own[p] is not None]
    if not pairs:
        return None
    degrees = angle(*(torch.cat([g.flatten() for g in side if g is not None]) for side in zip(*pairs, strict=True)))
    return None if math.isnan(degrees) else degrees


@contextmanager
def _aside(rule: Rule) -> Iterator[None]:
    """The rule in eval mode without gradients, and afterwards everything as it was."""
    modes = {module: module.training for module in rule.modules()}
    gradients = {parameter: parameter.grad for parameter in rule.parameters()}
    random = torch.get_rng_state()
    try:
        rule.eval()
        for parameter in gradients:
            parameter.grad = None
        yield
    finally:
        torch.set_rng_state(random)
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        for module, mode in modes.items():
            module.training = mode
