"""What a layer must be to learn by itself, what units that compete by u = x W^T need of the net around them, and what
is said where it lacks.

    norm      inputs whose mean is taken out: else all of them point one way, and the unit nearest to it wins every one
    radius    weight vectors longer than 1, the norm they go to: a winner's becomes shorter, so that others win as well
    triangle  an activity of what a unit has above the others: what all units share tells the readout nothing

Published nets have all three, or positive weights where they have no norm.  A softmax takes out what is shared, too.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Layer, Refused, Rule, RuleWarning
from altprop.core.layer import is_dense

SHORTEST = 1.5  # mean norm of weight vectors; published nets start with 2 to 35, He's initialiser with 1.4
ADVICE = {
    "norm": "a norm before layer {} ('centre' in the spec, or nn.BatchNorm)",
    "radius": "long weight vectors in layer {} (init 'radius25')",
    "triangle": "a triangle behind layer {} (act 'triangle', or altprop.nets.Triangle)",
}
NAMED = 3  # layers in a message


def check(rule: Rule, layer: Layer, shapes: Any, of_activity: bool) -> None:
    """Raises ``Refused`` for a layer that has no weights to learn, or no activity a unit where its rule is of that."""
    if not is_dense(layer.synapse):
        what = f"{type(rule).__name__} has no rule for the weights of {layer}"
        raise Refused(f"{what}: use Linear or convolutions below the last layer, or a rule such as 'dfa'")
    if of_activity and shapes.h.numel() != shapes.a.numel():
        what = f"{layer} pools its own activity, of shape {tuple(shapes.a)}, to {tuple(shapes.h)}"
        advice = "let the next layer's inlet pool; without a readout end the net in nn.Flatten alone"
        raise Refused(f"{what}: {advice}")


@torch.no_grad()
def advise(rule: Rule, example: Tensor, learning: Sequence[Layer]) -> None:
    """Warns, in one line, of what ``learning``, the first layers of the net, lack.  example (N, *in)."""
    lacks: dict[str, list[str]] = {need: [] for need in ADVICE}
    below: nn.Module = nn.Sequential()
    x = example[:1].to(rule.like)
    for layer in learning:
        x = _still(layer.inlet)(x)
        weight = layer.synapse.get_parameter("weight")
        if weight.requires_grad:
            found = {
                "norm": _centred(x, below, layer.inlet) or bool((weight >= 0).all()),
                "radius": bool(weight.flatten(1).norm(dim=1).mean() >= SHORTEST),
                "triangle": _shares_nothing(layer.activation, layer.synapse(x)),
            }
            for need, names in lacks.items():
                names += [] if found[need] else [layer.name]
        x, below = _still(layer.activation)(layer.synapse(x)), layer.activation
    told = [ADVICE[need].format(_listed(names)) for need, names in lacks.items() if names]
    if told:
        what = f"for {type(rule).__name__} the net lacks {', '.join(told)}"
        warnings.warn(f"{what}: units may never win, or tell little", RuleWarning, stacklevel=4)


def _centred(x: Tensor, below: nn.Module, inlet: nn.Module) -> bool:
    """Whether a batch norm stands before x (1, *in), or some of it is negative, or nothing is known, as of zeros."""
    norms = any(isinstance(module, _NormBase) for part in (below, inlet) for module in part.modules())
    return norms or bool((x < 0).any()) or not bool((x > 0).any())


def _shares_nothing(activation: nn.Module, like: Tensor) -> bool:
    """Whether the activity stays as it is where the same is added to all units, axis 1 of (1, units, ...)."""
    a: Any = torch.linspace(-1, 1, like.shape[1]).to(like).view(1, -1, *(1 for _ in like.shape[2:])).expand_as(like)
    f = _still(activation)
    return torch.allclose(f(a + 1), f(a.clone()), atol=1e-3)


def _still(module: nn.Module) -> nn.Module:
    """A copy in eval mode, so that no statistics move and nothing is drawn."""
    return copy.deepcopy(module).eval()


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
