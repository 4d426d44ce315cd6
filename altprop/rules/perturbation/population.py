"""A population in one pass over the net: its members share a batch, each adds noise of its own to the shared weights.

    a_{k,s} = h_{k,s} W^T + b + s sigma (h_{k,s} E_k^T + e_k)         s = +1, -1, k = 1 .. K          (K, 2, N, m)

Rows lie as (K, 2, N); what all members have alike, as the input, is (N, ...) and passes through a product once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from altprop.core import Layer, Rule
from altprop.core.layer import is_convolution, is_dense, parts
from altprop.core.product import linear
from altprop.core.steps import run
from altprop.rules.perturbation.masks import Masks, drop, drops
from altprop.rules.perturbation.noise import Noise

LARGEST = 1 << 20  # numbers of one layer's activity at a time: more leaves the cache, and the memory in the end
Noises = dict[str, Noise]  # of one synapse, by the names of its parameters


def learning(layer: Layer) -> dict[str, nn.Parameter]:
    """The parameters of a synapse that learn."""
    return {name: p for name, p in layer.synapse.named_parameters() if p.requires_grad}


def losses(
    rule: Rule, x: Tensor, t: Any, noises: Sequence[Noises], K: int, sigma: float, masks: Masks
) -> Tensor:  # fmt: skip
    """(K, 2): of every pair, at plus and at minus.  As many pairs run at a time as ``LARGEST`` allows."""
    widest = max(shape.numel() for shapes in rule.shapes for shape in (shapes.a, shapes.h))
    size, found = max(1, LARGEST // (2 * len(x) * widest)), []
    for start in range(0, K, size):
        h, some = x, slice(start, start + size)
        for layer, noise in zip(rule.layers, noises, strict=True):
            h = through(layer.inlet, h, masks)
            a = respond(layer.synapse, h, {name: each.part(some) for name, each in noise.items()}, sigma, len(x))
            h = through(layer.activation, a, masks, fresh=True)
        found.append(torch.vmap(lambda z: rule.output_error(z, t)[0])(h.unflatten(0, (-1, len(x)))))
    return torch.cat(found).view(K, 2)


def through(modules: nn.Module, h: Tensor, masks: Masks, fresh: bool = False) -> Tensor:
    """An inlet or an activation, of all members at once; ``fresh``: nobody else needs h."""
    for index, module in enumerate(parts(modules)):
        h = drop(module, h, masks) if drops(module) else run(module, h, graph=False, fresh=fresh and not index)[0]
    return h


def respond(module: Any, h: Tensor, noise: Noises, sigma: float, N: int) -> Tensor:
    """h (N, *in), the same for all, or (K 2 N, *in) -> (K 2 N, *out): the synapse of every member."""
    if not noise:
        return module(h)
    if is_dense(module) and not is_convolution(module):
        return _products(module, h, noise, sigma, N)
    weights = {name: _moved(module.get_parameter(name), each.built(), sigma) for name, each in noise.items()}
    P, shared = len(next(iter(weights.values()))), len(h) == N
    if is_dense(module):  # kernels are small beside what they see
        h = h if shared else h.unflatten(0, (P, N))
        a = torch.vmap(lambda w, x: functional_call(module, w, (x,)), (0, None if shared else 0))(weights, h)
        return a.flatten(0, 1)
    members = [h] * P if shared else h.split(N)  # of a module of the user's nobody knows whether it can be stacked
    chosen = ({name: w[p] for name, w in weights.items()} for p in range(P))
    return torch.cat([functional_call(module, w, (x,)) for w, x in zip(chosen, members, strict=True)])


def _products(module: Any, h: Tensor, noise: Noises, sigma: float, N: int) -> Tensor:
    """Of a Linear: the shared product, and beside it those of the noise, of which no weight is built."""
    shared, K = len(h) == N, next(iter(noise.values())).K
    shape, rows = (-1, *h.shape[1:-1], module.out_features), h.reshape(-1, module.in_features)
    a = linear(rows, module.weight, module.bias)
    a = torch.cat((a, a)).expand(K, -1, -1).clone() if shared else a.view(K, -1, module.out_features)  # (K, 2 R, m)
    half, factors = a.shape[1] // 2, []
    if "weight" in noise:
        u, v = noise["weight"].factors(rows if shared else rows.view(K, -1, module.in_features))
        factors.append((torch.cat((u[:, :half], -u[:, -half:]), 1), v))
    if "bias" in noise:  # one factor more, so that a is read and written once
        sign = a.new_ones(K, half, 1)
        factors.append((torch.cat((sign, -sign), 1), noise["bias"].built().unsqueeze(1)))
    u, v = (torch.cat(parts, axis) for parts, axis in zip(zip(*factors, strict=True), (2, 1), strict=True))
    a.baddbmm_(u, v, alpha=sigma)  # (K, 2 R, q), (K, q, m)
    return a.view(shape)


def _moved(p: Tensor, E: Tensor, sigma: float) -> Tensor:
    """(2 K, *shape): the parameter of every member."""
    return torch.stack((p + sigma * E, p - sigma * E), 1).flatten(0, 1)
