"""Angles between what a rule does and what backpropagation would do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from altprop.core import Rule
from altprop.core.layer import is_flat_linear
from altprop.measure.probe import followed, undisturbed

VANISHED = 1e-7  # of the largest layer's gradient: what is smaller is rounding, and has no direction to speak of


def angle(u: Tensor, v: Tensor) -> float:
    """Degrees between two tensors of one shape, taken as vectors; 90 is chance; nan where one of them is zero."""
    u, v = u.detach().flatten().double(), v.detach().flatten().double()
    norms = float(u.norm() * v.norm())
    return math.degrees(math.acos(max(-1.0, min(1.0, float(u @ v) / norms)))) if norms else math.nan


@torch.no_grad()
def angles_to_bp(rule: Rule, x: Tensor, y: Tensor) -> dict[str, float | None]:
    """Degrees between the rule's gradient of each synapse and backpropagation's, by layer name; None where it has none,
    and where backpropagation's has ``vanished``, so that an angle to it would mean nothing.

    Taken in eval mode on this batch; ``.grad``, modes, statistics and random state are left as they were.
    Raises ``Refused`` where autograd cannot follow what the rule computes."""
    with _aside(rule):
        rule.credit(x, y)
        own = {parameter: parameter.grad for parameter in rule.net.parameters()}
        exact = _exact(rule, x, y)
        faint = _faint(rule, exact)
        return {
            layer.name: None if layer.name in faint else _angle_of(layer.synapse, own, exact) for layer in rule.layers
        }


@torch.no_grad()
def vanished(rule: Rule, x: Tensor, y: Tensor) -> dict[str, float]:
    """By name the layers in which backpropagation's gradient is below ``VANISHED`` of the largest layer's: what it is
    of that.  Taken as ``angles_to_bp``, and refused alike."""
    with undisturbed(rule):
        return _faint(rule, _exact(rule, x, y))


@torch.no_grad()
def feedback_angles(rule: Rule) -> dict[str, float | None]:
    """Degrees between each feedback matrix and the weights in whose place it stands; None where there are none.

    Layer by layer (FA and its kin): B_l against W_l, by the name of the layer.  Direct projections (DFA, DRTP, IFA,
    PEPITA): against the product W_L ... W_{l+1} of the weights above the place that it reaches, named by that place;
    None where something else than linear layers lies above."""
    if rule.claims.signal == "layerwise":
        matrices = zip(rule.layers[1:], rule.feedback, strict=False)
        return {above.name: angle(B, above.synapse.get_parameter("weight")) for above, B in matrices}
    products = _products(rule)
    places = ["input", *(layer.name for layer in rule.layers)][rule.feedback_reaches :]
    return {
        place: None
        if (product := products.get(rule.feedback_reaches + index)) is None
        else angle(D.flatten(1), product)
        for index, (place, D) in enumerate(zip(places, rule.feedback, strict=False))
    }


def _products(rule: Rule) -> dict[int, Tensor]:
    """W_L ... W_{l+1} (C, n_l) by l, as far down as the layers are linear and their activations keep each unit."""
    products: dict[int, Tensor] = {}
    product = torch.eye(rule.classes, dtype=rule.like.dtype, device=rule.like.device)
    for index in reversed(range(len(rule.layers))):
        layer, shapes = rule.layers[index], rule.shapes[index]
        if not is_flat_linear(layer, shapes.a) or shapes.h != shapes.a:
            break
        products[index] = product = product @ layer.synapse.get_parameter("weight")
    return products


def _exact(rule: Rule, x: Tensor, y: Tensor) -> dict[nn.Parameter, Tensor | None]:
    """Backpropagation's gradient of each parameter of the net that may learn."""
    own, twin = list(rule.net.parameters()), followed(rule)
    with torch.enable_grad():
        output = twin(x)
    _, e = rule.output_error(output.detach(), rule.targets(y, len(x)))
    pairs = [(p, q) for p, q in zip(own, twin.parameters(), strict=False) if p.requires_grad]
    gradients = torch.autograd.grad(output, [q for _, q in pairs], e / len(x), allow_unused=True)
    return {p: gradient for (p, _), gradient in zip(pairs, gradients, strict=True)}


def _faint(rule: Rule, exact: dict[nn.Parameter, Tensor | None]) -> dict[str, float]:
    parts = {layer.name: [exact.get(p) for p in layer.synapse.parameters()] for layer in rule.layers}
    squares = {
        name: sum(float(g.double().square().sum()) for g in gradients if g is not None)
        for name, gradients in parts.items()
        if any(g is not None for g in gradients)
    }
    largest = max(squares.values(), default=0.0)
    shares = {name: math.sqrt(square / largest) if largest else 0.0 for name, square in squares.items()}
    return {name: share for name, share in shares.items() if share < VANISHED}


def _angle_of(
    synapse: nn.Module, own: dict[nn.Parameter, Tensor | None], exact: dict[nn.Parameter, Tensor | None]
) -> float | None:
    both = [(own[p], exact.get(p)) for p in synapse.parameters() if p in own]  # not those of the rule itself
    pairs = [(g, h) for g, h in both if g is not None and h is not None]
    if not pairs:
        return None
    degrees = angle(*(torch.cat([g.flatten() for g in side]) for side in zip(*pairs, strict=True)))
    return None if math.isnan(degrees) else degrees


@contextmanager
def _aside(rule: Rule) -> Iterator[None]:
    """The rule in eval mode without gradients, and afterwards everything as it was."""
    gradients = {parameter: parameter.grad for parameter in rule.parameters()}
    try:
        for parameter in gradients:
            parameter.grad = None
        with undisturbed(rule):
            yield
    finally:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
