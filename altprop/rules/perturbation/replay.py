"""Noise that is drawn again instead of kept: number i of direction k is a function of a seed, k and i alone.

    x = mix(seed + k) + i G,   z_i = sqrt(2) erfinv(top 24 bits of mix(x))  or its sign            (integers of 64 bits)

mix is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).  Torch's own generators would have to be wound
back, which no traced graph can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate as running
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from altprop.core import Layer, Ready, Rule, accumulate
from altprop.core.layer import parts
from altprop.rules.perturbation.masks import Masks, drop, drops

GOLDEN, FIRST, SECOND = (
    n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)  # as signed integers, which overflow alike
Kind = Callable[[Tensor], Tensor]
AT_ONCE = 1 << 16  # numbers of noise that are there at a time, where one direction of one layer is not more


def mix(x: Tensor) -> Tensor:
    """int64 -> int64, one to one, every bit of the result a matter of every bit of x."""
    x = (x ^ shifted(x, 30)) * FIRST
    x = (x ^ shifted(x, 27)) * SECOND
    return x ^ shifted(x, 31)


def shifted(x: Tensor, by: int) -> Tensor:
    """Its bits further down, with zeros above; torch's own shift repeats the sign."""
    return (x >> by) & (2 ** (64 - by) - 1)


def gaussian(bits: Tensor) -> Tensor:
    """N(0, 1), in float32."""
    return ((bits >> 40).float() + 0.5).mul_(2.0**-23).erfinv_().mul_(2.0**0.5)


def rademacher(bits: Tensor) -> Tensor:
    """-1 or 1, in float32."""
    return (bits >> 63).float().mul_(2).add_(1)


class Replay:
    """Directions z_1 .. z_K over all that learns in a net, of which only a seed is kept.

    kind: what bits become.  K: how many directions."""

    def __init__(self, rule: Rule, kind: Kind, K: int) -> None:
        self.keys = mix(torch.randint(2**62, (1,), device=rule.like.device) + torch.arange(K, device=rule.like.device))
        self.kind, self.like, self.layers = kind, rule.like, rule.layers
        self.starts = [0, *running(sum(p.numel() for p in learning(layer)) for layer in rule.layers)]

    def draw(self, index: int, start: int = 0, end: int | None = None) -> Tensor:
        """z_k of layer ``index``, a row (D,) of all its parameters, for k from ``start``; the same at every call."""
        first, last = self.starts[index : index + 2]
        at = torch.arange(first, last, device=self.keys.device) * GOLDEN
        return self.kind(mix(at + self.keys[start:end, None])).to(self.like.dtype)

    def some(self, index: int) -> Iterator[tuple[int, Tensor]]:
        """(k, z (R, D)) of layer ``index``: as many rows from direction k on as ``AT_ONCE`` allows, at least one."""
        first, last = self.starts[index : index + 2]
        size = max(1, AT_ONCE // max(1, last - first))
        for k in range(0, len(self.keys), size):
            yield k, self.draw(index, k, k + size)

    def ascend(self, x: Tensor, scales: Sequence[float], masks: Masks) -> list[Tensor]:
        """The outputs (N, C) of members theta + scale z_k, by k, then by scale."""
        H = [x] * (len(self.keys) * len(scales))
        for index, layer in enumerate(self.layers):
            for k, z in self.some(index):
                for place, row in enumerate(z, k):
                    shift = dict(shaped(learning(layer), row))
                    for member, scale in enumerate(scales, place * len(scales)):
                        H[member] = moved(layer, H[member], shift, scale, masks)
        return H

    def learn(self, d: Tensor, ready: Ready | None) -> None:
        """.grad += sum_k d_k z_k, d (K,); each z_k is drawn a second time."""
        for index, layer in enumerate(self.layers):
            g = sum(d[k : k + len(z)] @ z for k, z in self.some(index))  # (D,)
            for p, gradient in shaped(learning(layer), g):
                accumulate(p, gradient.clone())
            if ready is not None:
                ready(layer)


def learning(layer: Layer) -> list[nn.Parameter]:
    """The net's own parameters that learn in a layer."""
    return [p for module in modules(layer) for p in module.parameters() if p.requires_grad]


def modules(layer: Layer) -> list[nn.Module]:
    """In the order in which they run."""
    return [*parts(layer.inlet), layer.synapse, *parts(layer.activation)]


def shaped(parameters: Sequence[nn.Parameter], z: Any) -> list[tuple[nn.Parameter, Tensor]]:
    """Each parameter with its part of a row."""
    rows = z.split([p.numel() for p in parameters]) if parameters else ()
    return [(p, row.view_as(p)) for p, row in zip(parameters, rows, strict=True)]


def moved(layer: Layer, h: Tensor, shift: Mapping[nn.Parameter, Tensor], scale: float, masks: Masks) -> Tensor:
    """What a layer at theta + scale z makes of h; its own weights stay as they are, to the bit."""
    for module in modules(layer):
        if drops(module):
            h = drop(module, h, masks)
            continue
        there = {name: p.add(shift[p], alpha=scale) for name, p in module.named_parameters() if p in shift}
        h = functional_call(module, there, (h,)) if there else module(h)
    return h
