"""Who wins: how evenly the units of a layer share out the samples, which never get one, and which say nothing."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Refused
from altprop.core.layer import Layer, is_convolution, is_linear
from altprop.measure.probe import layers_of, undisturbed

CHUNK = 128


class Winners(NamedTuple):
    """Of one layer; a unit wins where its pre-activation is the largest of all units, the first of a tie."""

    share: Tensor  # (units,) float64, of all samples and positions; sums to 1
    entropy: float  # of share, in nats: log(units) where all win alike, 0 where one wins always
    dead: int  # units that never win


@torch.no_grad()
def winners(rule: nn.Module, x: Tensor) -> dict[str, Winners]:
    """How often each unit wins, by layer name, for every layer whose synapse is a Linear or a convolution.

    x (N, *in); units are the last axis of a Linear, the channels of a convolution, whose positions count as samples.
    rule: a rule, or a net that can be cut into layers; run in eval mode, and left as it was.  The last layer is among
    them: its winners are the predicted classes.
    Raises ``Refused`` for no samples, where no layer is linear, and for pre-activations that are nan."""
    if not len(x):
        raise Refused("no samples came, so that nobody can win: give at least 1")
    cuts = layers_of(rule)
    counts: dict[str, Tensor] = {}
    with undisturbed(rule):
        for part in x.split(CHUNK):
            h = part.clone()  # an in-place activation before the first synapse would write into the caller's data
            for cut in cuts:
                a = cut.respond(cut.inlet(h))
                if is_linear(getattr(cut.synapse, "linear", cut.synapse)):  # or one that hears a label beside
                    counts[cut.name] = _wins(cut, a) + counts.get(cut.name, 0)
                h = cut.activation(a)
    if not counts:
        raise Refused("no layer is a Linear or a convolution, whose units could compete: measure another net")
    return {name: _winners(wins.double()) for name, wins in counts.items()}


@torch.no_grad()
def silent(rule: nn.Module, x: Tensor) -> dict[str, int]:
    """Layer name -> units whose activity is the same for all samples x (N, *in), at each of a convolution's positions.

    rule: as for ``winners``, and left as it was.  Raises ``Refused`` for fewer than 2 samples."""
    if len(x) < 2:
        raise Refused(f"{len(x)} samples came, which cannot differ: give at least 2")
    cuts = layers_of(rule)
    spans: dict[str, tuple[Tensor, Tensor]] = {}
    with undisturbed(rule):
        for part in x.split(CHUNK):
            h = part.clone()
            for cut in cuts:
                h = cut(h)
                low, high = spans.get(cut.name, (h[0], h[0]))
                spans[cut.name] = low.minimum(h.amin(0)), high.maximum(h.amax(0))
    counts = {}
    for cut in cuts:
        low, high = spans[cut.name]
        same = low == high  # (*out)
        units = 0 if is_convolution(cut.synapse) else -1
        counts[cut.name] = int(same.movedim(units, 0).flatten(1).all(1).sum() if same.dim() > 1 else same.sum())
    return counts


def _wins(layer: Layer, a: Tensor) -> Tensor:
    """a (N, *out) -> (units,): how often each is the largest."""
    if a.isnan().any():
        raise Refused(f"the pre-activations of {layer} hold nan, which has no order: take a net from before it broke")
    units = 1 if is_convolution(layer.synapse) else -1
    return a.argmax(units).flatten().bincount(minlength=a.shape[units])


def _winners(wins: Tensor) -> Winners:
    share = wins / wins.sum()
    return Winners(share, float(torch.special.entr(share).sum()), int((wins == 0).sum()))
