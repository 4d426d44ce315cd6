"""Noise that is drawn again instead of kept: number i of direction k is a function of a seed, k and i alone.

    w = mix(mix(seed + k div n) + i G),  b = part k mod n of w           (integers of 64 bits, cut into n parts)
    z_{k,i} = sqrt(2) erfinv(top 24 bits of b), n = 2,   or its sign, n = 64

mix is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).  Torch's own generators would have to be wound
back, which no traced graph can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate as running
from typing import NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Layer, Ready, Rule, accumulate
from altprop.core.layer import parts
from altprop.rules.perturbation.masks import Masks, drop, drops
from altprop.rules.perturbation.members import stacked

GOLDEN, FIRST, SECOND = (
    n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)  # as signed integers, which overflow alike
AT_ONCE = 1 << 18  # numbers of noise that are there at a time, where one direction of one layer is not more


def mix(x: Tensor) -> Tensor:
    """int64 -> int64, one to one, every bit of the result a matter of every bit of x."""
    x = (x ^ shifted(x, 30)) * FIRST
    x = (x ^ shifted(x, 27)) * SECOND
    return x ^ shifted(x, 31)


def shifted(x: Tensor, by: int) -> Tensor:
    """Its bits further down, with zeros above; torch's own shift repeats the sign."""
    return (x >> by) & (2 ** (64 - by) - 1)


def normal(bits: Tensor) -> Tensor:
    """N(0, 1) by the upper 24, in float32."""
    return ((bits >> 40).float() + 0.5).mul_(2.0**-23).erfinv_().mul_(2.0**0.5)


def sign(bits: Tensor) -> Tensor:
    """-1 or 1 by the uppermost, in float32."""
    return (bits >> 63).float().mul_(2).add_(1)


class Kind(NamedTuple):
    """What a part of a word becomes, and into how many parts words are cut: n directions share one."""

    number: Callable[[Tensor], Tensor]  # of words whose uppermost bits are the part
    parts: int


GAUSSIAN, RADEMACHER = Kind(normal, 2), Kind(sign, 64)


class Replay:
    """Directions z_1 .. z_K over all that learns in a net, of which only a seed is kept."""

    def __init__(self, rule: Rule, kind: Kind, K: int) -> None:
        self.kind, self.K, self.like, self.layers = kind, K, rule.like, rule.layers
        self.seed = torch.randint(2**62, (1,), device=rule.like.device)
        self.starts = [0, *running(sum(p.numel() for p in learning(layer)) for layer in rule.layers)]

    def draw(self, index: int, start: int = 0, end: int | None = None) -> Tensor:
        """z_k of layer ``index``, a row (D,) of all its parameters, for k from ``start``; the same at every call."""
        first, last = self.starts[index : index + 2]
        k, n = torch.arange(self.K, device=self.seed.device)[start:end], self.kind.parts
        words = torch.arange(start // n, -(-min(end or self.K, self.K) // n), device=k.device)
        w = mix(mix(self.seed + words)[:, None] + torch.arange(first, last, device=k.device) * GOLDEN)
        w = w if len(w) == 1 else w[k // n - start // n]
        return self.kind.number(w << (64 // n * (k % n))[:, None]).to(self.like.dtype)

    def some(self, index: int) -> Iterator[tuple[int, Tensor]]:
        """(k, z (R, D)) of layer ``index``: as many rows from direction k on as ``AT_ONCE`` allows, at least one."""
        first, last = self.starts[index : index + 2]
        size = max(1, AT_ONCE // (last - first)) if last > first else self.K
        for k in range(0, self.K, size):
            yield k, self.draw(index, k, k + size)

    def ascend(self, x: Tensor, scales: Sequence[float], masks: Masks) -> Tensor:
        """x (N, *in) -> the outputs (K S, N, C) of members theta + scale z_k, by k, then by scale."""
        h, N, by = x.detach(), len(x), self.like.new_tensor(scales)  # an input with a gradient takes other products
        for index, layer in enumerate(self.layers):
            found = []
            for k, z in self.some(index):
                some = h if len(h) == N else h[k * len(by) * N : (k + len(z)) * len(by) * N]
                found.append(moved(layer, some, dict(shaped(learning(layer), z)), by, masks, N))
            h = torch.cat(found)
        return h.unflatten(0, (-1, N)).expand(self.K * len(by), -1, -1)  # where nothing learns, the same for all

    def learn(self, d: Tensor, ready: Ready | None) -> None:
        """.grad += sum_k d_k z_k, d (K,); each z_k is drawn a second time."""
        for index, layer in enumerate(self.layers):
            g = torch.stack([d[k : k + len(z)] @ z for k, z in self.some(index)]).sum(0, keepdim=True)  # (1, D)
            for p, gradient in shaped(learning(layer), g):
                accumulate(p, gradient[0].clone())
            if ready is not None:
                ready(layer)


def learning(layer: Layer) -> list[nn.Parameter]:
    """The net's own parameters that learn in a layer."""
    return [p for module in modules(layer) for p in module.parameters() if p.requires_grad]


def modules(layer: Layer) -> list[nn.Module]:
    """In the order in which they run."""
    return [*parts(layer.inlet), layer.synapse, *parts(layer.activation)]


def shaped(parameters: Sequence[nn.Parameter], z: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
    """Each parameter with its part (R, *shape) of rows (R, D)."""
    rows = z.split([p.numel() for p in parameters], 1) if parameters else ()
    return [(p, row.unflatten(1, p.shape)) for p, row in zip(parameters, rows, strict=True)]


def moved(
    layer: Layer, h: Tensor, z: Mapping[nn.Parameter, Tensor], scales: Tensor, masks: Masks, N: int
) -> Tensor:  # fmt: skip
    """What a layer at theta + scale z_k makes of h; its own weights stay as they are, to the bit."""
    for module in modules(layer):
        there = {name: around(p, z[p], scales) for name, p in module.named_parameters() if p in z}
        h = drop(module, h, masks, N) if drops(module) else stacked(module, there, h, N) if there else module(h)
    return h


def around(p: Tensor, z: Tensor, scales: Tensor) -> Tensor:
    """(R S, *shape): p + scale z_k."""
    return (p + scales.view(-1, *[1] * p.dim()) * z.unsqueeze(1)).flatten(0, 1)
