"""A population in one pass over the net: its members share a batch, each adds noise of its own to the shared weights.

    a_{k,s} = h_{k,s} W^T + b + s sigma (h_{k,s} E_k^T + e_k)         s = +1, -1, k = 1 .. K          (K, 2, N, m)

Rows lie as (K, 2, N); what all members have alike, as the input, is (N, ...) and passes through a product once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from altprop.core import Layer, Rule
from altprop.core.layer import is_convolution, is_dense, parts
from altprop.core.product import linear
from altprop.core.steps import run
from altprop.rules.perturbation.masks import Masks, drop, drops
from altprop.rules.perturbation.members import stacked
from altprop.rules.perturbation.noise import Noise

LANES = 16  # numbers of float32 in the widest register
LARGEST = 1 << 20  # numbers of one layer's activity at a time: more leaves the cache, and the memory in the end
Noises = dict[str, Noise]  # of one synapse, by the names of its parameters


def learning(layer: Layer) -> dict[str, nn.Parameter]:
    """The parameters of a synapse that learn."""
    return {name: p for name, p in layer.synapse.named_parameters() if p.requires_grad}


def losses(
    rule: Rule, x: Tensor, t: Any, noises: Sequence[Noises], K: int, sigma: float, masks: Masks
) -> Tensor:  # fmt: skip
    """(K, 2): of every pair, at plus and at minus.  As many pairs run at a time as ``LARGEST`` allows."""
    widest, N = max(shape.numel() for shapes in rule.shapes for shape in (shapes.a, shapes.h)), len(x)
    size, found = max(1, LARGEST // (2 * N * widest)), []
    first, x = alike(rule.layers, x, noises, masks)
    start = Start.of(rule.layers[first].synapse, x, min(size, K))
    for begin in range(0, K, size):
        h = x
        for index, layer in enumerate(rule.layers[first:], first):
            noise = {name: each.part(slice(begin, begin + size)) for name, each in noises[index].items()}
            h = h if index == first else through(layer.inlet, h, masks, N)
            a = respond(layer.synapse, h, noise, sigma, N, start)
            h = through(layer.activation, a, masks, N, fresh=True)
        found.append(torch.vmap(lambda z: rule.output_error(z, t)[0])(h.unflatten(0, (-1, N))))
    return torch.cat(found).view(K, 2)


class Start(NamedTuple):
    """Of the first Linear with noise: what it makes of the input without, and where what it makes with it stands."""

    a: Tensor  # (2 R, m)  at plus and at minus
    room: Tensor  # (pairs, 2 R, m)  memory fresh from the system costs more than the products

    @staticmethod
    def of(module: Any, x: Tensor, pairs: int) -> Start | None:
        if not is_dense(module) or is_convolution(module):
            return None
        a = linear(x, module.weight, module.bias).view(-1, module.out_features)
        return Start(torch.cat((a, a)), a.new_empty(pairs, 2 * len(a), module.out_features))


def alike(layers: Sequence[Layer], x: Tensor, noises: Sequence[Noises], masks: Masks) -> tuple[int, Tensor]:
    """The first layer that has noise, and its input (N, *in), which is the same for all members."""
    for index, layer in enumerate(layers):
        x = through(layer.inlet, x, masks, len(x))
        if noises[index]:
            break
        x = through(layer.activation, layer.synapse(x), masks, len(x), fresh=True)
    return index, x


def through(modules: nn.Module, h: Tensor, masks: Masks, N: int, fresh: bool = False) -> Tensor:
    """An inlet or an activation, of all members at once; ``fresh``: nobody else needs h."""
    for index, module in enumerate(parts(modules)):
        h = drop(module, h, masks, N) if drops(module) else run(module, h, graph=False, fresh=fresh and not index)[0]
    return h


def respond(module: Any, h: Tensor, noise: Noises, sigma: float, N: int, start: Start | None) -> Tensor:
    """h (N, *in), the same for all, or (K 2 N, *in) -> (K 2 N, *out): the synapse of every member."""
    if not noise:
        return module(h)
    if is_dense(module) and not is_convolution(module):
        return _products(module, h, noise, sigma, start if len(h) == N else None)
    weights = {name: _moved(module.get_parameter(name), each.built(), sigma) for name, each in noise.items()}
    return stacked(module, weights, h, N)


def _products(module: Any, h: Tensor, noise: Noises, sigma: float, start: Start | None) -> Tensor:
    """Of a Linear: the shared product, and beside it those of the noise, of which no weight is built."""
    K, m, rows = next(iter(noise.values())).K, module.out_features, h.reshape(-1, module.in_features)
    shape = (-1, *h.shape[1:-1], m)
    a = thin(rows, module.weight, module.bias).view(K, -1, m) if start is None else start.room[:K].copy_(start.a)
    half, factors = a.shape[1] // 2, []
    if "weight" in noise:
        u, v = noise["weight"].factors(rows.view(K, -1, module.in_features) if start is None else rows)
        factors.append((torch.cat((u[:, :half], -u[:, -half:]), 1), v))
    if "bias" in noise:  # one factor more, so that a is read and written once
        sign = a.new_ones(K, half, 1)
        factors.append((torch.cat((sign, -sign), 1), noise["bias"].built().unsqueeze(1)))
    u, v = (torch.cat(parts, axis) for parts, axis in zip(zip(*factors, strict=True), (2, 1), strict=True))
    a.baddbmm_(u, v, alpha=sigma)  # (K, 2 R, q), (K, q, m)
    return a.view(shape)


def thin(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """x W^T + b; a few outputs are padded to ``LANES``, since a product of fewer takes longer than one of as many."""
    m = len(W)
    if m % LANES == 0 or m > 4 * LANES:
        return linear(x, W, b)
    missing = -m % LANES
    return linear(x, pad(W, (0, 0, 0, missing)), None if b is None else pad(b, (0, missing)))[:, :m].contiguous()


def _moved(p: Tensor, E: Tensor, sigma: float) -> Tensor:
    """(2 K, *shape): the parameter of every member."""
    return torch.stack((p + sigma * E, p - sigma * E), 1).flatten(0, 1)
