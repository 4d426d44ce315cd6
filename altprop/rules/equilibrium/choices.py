"""What equilibrium propagation can be told, what it refuses, and where it lets a net pool."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import pooling

from altprop.core import Layer, Refused, Rule, RuleWarning
from altprop.core.layer import is_dense, parts
from altprop.core.steps import DROPOUTS, POINTWISE, kind_of
from altprop.rules.equilibrium.states import split

CHOICES = {
    "estimate": ("three_phase", "two_phase", "random_sign"),
    "weights": ("symmetric", "vector_field"),
    "update": ("different", "same"),
    "order": ("together", "in_turn"),
    "readout": ("auto", "inside", "apart"),
}
UNSETTLED = 0.05  # of a state's largest entry: what it may still move by in the last step of the free phase


def check(free: int, nudged: int, beta: float, **choices: str) -> None:
    """Raises ``Refused`` for steps and beta out of range, and for what is not in ``CHOICES``."""
    for name, value in choices.items():
        if value not in CHOICES[name]:
            raise Refused(f"{name}={value!r} came; EP takes {' or '.join(map(repr, CHOICES[name]))}")
    if min(free, nudged) < 1 or not beta > 0:
        what = f"free={free}, nudged={nudged}, beta={beta} came"
        raise Refused(f"{what}; EP takes steps of at least 1 and a beta above 0")


def place_pools(rule: Rule, depth: int) -> None:
    """Max pools behind the sigma of one of the first ``depth`` layers move before it, where sigma rises.

    Raises ``Refused`` for one of these layers that has no Phi: its synapse is neither Linear nor a convolution, or its
    activation changes the shape of what it gets."""
    for n in range(depth):
        layer, shapes = rule.layers[n], rule.shapes[n]
        if not is_dense(layer.synapse):
            what = f"EP has no primitive function for {layer}"
            raise Refused(f"{what}: use Linear and convolutions below the readout, or a rule such as 'dfa'")
        inlet = parts(rule.layers[n + 1].inlet) if n + 1 < len(rule.layers) else []
        count = next((n for n, module in enumerate(inlet) if not isinstance(module, pooling._MaxPoolNd)), len(inlet))
        moves = count > 0 and rises(layer.activation, rule.like)
        if moves:
            rule.layers[n] = layer = replace(layer, activation=nn.Sequential(*inlet[:count], *parts(layer.activation)))
            rule.layers[n + 1] = replace(rule.layers[n + 1], inlet=nn.Sequential(*inlet[count:]))
        pooled = nn.Sequential(*split(layer)[0])(rule.like.new_zeros(1, *shapes.a))
        if not moves and shapes.h != pooled.shape[1:]:
            what = f"the activation of {layer} changes the shape {tuple(pooled.shape[1:])}, but EP nudges it back"
            raise Refused(f"{what}: move what changes it into the next layer's inlet")
        rule.shapes[n] = shapes._replace(h=pooled.shape[1:])
        if n + 1 < len(rule.shapes):
            rule.shapes[n + 1] = rule.shapes[n + 1]._replace(x=pooled.shape[1:])


def bend(rule: Any) -> None:
    """The output gets the sigma of the layer below; raises ``Refused`` where it has one, is no state, or is alone."""
    below, last = rule.layers[-2:] if len(rule.layers) > 1 else (None, rule.layers[-1])
    if below is None or rule.depth < len(rule.layers) or list(last.activation.modules())[1:]:
        what = f"bend_output came for {last}, whose output is no state, has an activation, or has no layer below"
        raise Refused(f"{what}: use it with readout='inside' (loss='mse') and a net that ends in its last synapse")
    rule.layers[-1] = replace(last, activation=nn.Sequential(*split(below)[1]))


def list_of_rates(rule: Rule, rates: Sequence[float] | None) -> list[float]:
    """One factor a layer; raises ``Refused`` where there are others."""
    rates = rates or ()
    if len(rates) not in (0, len(rule.layers)) or not all(0 < rate < math.inf for rate in rates):
        what = f"rates={list(rates)} came for {len(rule.layers)} layers"
        raise Refused(f"{what}: give a factor above 0 a layer, or none")
    return [float(rate) for rate in rates]


def followed(layers: Sequence[Layer]) -> bool:
    """Whether autograd can follow signals on their way down: closed forms alone stand in the inlets, and at the end."""
    known = {*POINTWISE, *DROPOUTS, nn.Flatten}
    sides = [layer.inlet for layer in layers] + [layer.activation for layer in layers[-1:]]
    return all(kind_of(module) in known for side in sides for module in parts(side))


@torch.no_grad()
def rises(activation: nn.Module, like: Tensor) -> bool:
    """Whether it is one module, the same for every unit, that nowhere falls: a maximum may be taken before it."""
    if len(parts(activation)) != 1 or isinstance(parts(activation)[0], nn.modules.dropout._DropoutNd):
        return False
    a: Any = torch.linspace(-6, 6, 241).to(like).view(-1, 1, 1, 1).expand(-1, 2, 1, 1)
    h = activation(a.clone())[:, 0, 0, 0]
    return bool((h.diff() >= 0).all() and h[-1] > h[0])


def told(rule: Any, seen: dict[str, Tensor]) -> dict[str, float | dict[str, float]]:
    """``Rule.watch`` of what the last ``credit`` has seen; warns, once, of the layer that moved most, if it did."""
    if not seen:
        return {}
    names = [layer.name for layer in rule.layers]
    moved = dict(zip(names, seen["moved"].tolist(), strict=False))
    worst = max(moved, key=lambda name: moved[name])
    if moved[worst] > UNSETTLED and not rule.warned:
        rule.warned = True
        what = f"the state of layer '{worst}' still moved by {moved[worst]:.2g} of its size when the free phase ended"
        warnings.warn(f"{what}: take more 'free' steps, order='in_turn', or smaller weights", RuleWarning, stacklevel=3)
    return {f"energy_{phase}": float(seen[phase].sum()) for phase in ("free", "nudged")} | {"moved": moved}
