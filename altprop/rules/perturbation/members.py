"""One module as several members have it, each by parameters of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from altprop.core.layer import is_dense


def stacked(module: Any, weights: dict[str, Tensor], h: Tensor, N: int) -> Tensor:
    """h (N, *in), the same for all, or (P N, *in) -> (P N, *out), by weights (P, *shape) of some of its parameters."""
    P, shared = len(next(iter(weights.values()))), len(h) == N
    if is_dense(module):
        h = h if shared else h.unflatten(0, (P, N))
        a = torch.vmap(lambda w, x: functional_call(module, w, (x,)), (0, None if shared else 0))(weights, h)
        return a.flatten(0, 1)
    members = [h] * P if shared else h.split(N)  # of a module of the user's nobody knows whether it can be stacked
    chosen = ({name: w[p] for name, w in weights.items()} for p in range(P))
    return torch.cat([functional_call(module, w, (x,)) for w, x in zip(chosen, members, strict=True)])
