"""Self-organising maps: the unit nearest to an input wins and drags its neighbours on a grid along, so that units
which are close on the grid come to stand for inputs that are close to each other.

    c_m = argmin_i |x_m - w_i| = argmax_i u_mi - |w_i|^2 / 2     u = x W^T, d the distance on the grid   (M,)
    n_mi = exp(-d(i, c_m)^2 / (2 sigma^2))                       0 outside of the map that holds c_m     (M, units)
    Delta w_i = (1 / M) sum_m n_mi (x_m - w_i);   W_l.grad += -Delta W_l, l < L                          (*W)

With masks=True every unit looks at the input through a mask v_i of its own, and learns where to look:

    u_mi = w_i . (x_m * v_i),  c_m = argmax_i u_mi               the layer hands on f(u + b)             (M, units)
    Delta w_i = (1 / M) sum_m n_mi (x_m * v_i - w_i)                                                     (*W)
    r_m = x_m - sum_k (x_m * v_k) * v_k                          k: every unit of the map that holds c_m
    v_i += (mask_lr / M) sum_{m: c_m = i} (x_m * v_i) * r_m      in training, after use                  (*W)

Both are found from x - c and w - c with c the mean weight, since far from zero |w|^2 and u drown their difference.
``maps`` parts the units into as many grids, one after the other.  x is a sample, or a patch of a convolution; M their
number; * entry by entry.  The last layer reads out by the delta rule: see ``climb``.

References: Kohonen, Biological Cybernetics 43, 1982; masks: Stuhr and Brauer, ICMLA 2019 (CSNN).
Deviations from the papers:
    1. sigma does not shrink: make another rule for each stage.  A batch learns at once, where they step each sample.
    2. With masks the published w_i <- w_i + rate n_i x, divided by its norm, is here the decay n_i w_i, which bounds
       the norm too; and published code lets w_i learn the bare x, which w_i never meets in u.
    3. Published code may share a mask's entry over a kernel; here each has its own.  No optimizer sees the masks.
Easily confused with: ``hard_wta`` with thresholds, whose winners are alone; k-means, the limit sigma -> 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Refused, Rule, Suits, Trace, draw_feedback
from altprop.rules.hebbian.climb import (
    along,
    centred,
    climb,
    correlated,
    driven,
    equip,
    hidden,
    one_by_one,
    rows,
    unbiased,
    weight_of,
)  # fmt: skip
from altprop.rules.hebbian.maps import COLUMNS, Masked, neighbourhood


class SOM(Rule):
    """Self-organising maps (Kohonen 1982; with masks Stuhr and Brauer 2019).

    grid: "chain", "ring" or "grid" (near square, row by row, the last row may be short).  sigma: in steps on it.
    masks[l] (*W_l), drawn by ``seed``, is a buffer.  Raises ``Refused`` for arguments and nets that do not fit."""

    family, reference = "hebbian", "kohonen1982"
    suits = Suits(0.2, "triangle", norms="centre", norm_of_readout="centre", lr_regression=0.2, lr_readout=0.02)
    claims = Claims(
        weight_transport="none", locking="none", signal="none", labels=False, changes=("masks",), trains=("synapse",)
    )

    def __init__(
        self, net: Any, *, grid: str = "ring", sigma: float = 1.0, masks: bool = False, maps: int = 1,
        mask_lr: float = 0.005, seed: int = 0, readout: bool = True, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        equip(self, readout)
        if grid not in COLUMNS or not (sigma > 0 and maps >= 1 and mask_lr >= 0):
            what = f"grid={grid!r}, sigma={sigma}, maps={maps}, mask_lr={mask_lr} came"
            raise Refused(f"{what}: grid is one of {', '.join(COLUMNS)}, sigma above 0, maps from 1, mask_lr from 0")
        learning: Any = hidden(self)
        for layer in learning:
            if len(layer.synapse.weight) % maps or getattr(layer.synapse, "groups", 1) > 1:
                raise Refused(f"{layer} does not fit: make its units a multiple of maps={maps}, and groups=1")
        self.grid, self.sigma, self.maps, self.mask_lr = grid, sigma, maps, mask_lr
        shapes = [layer.synapse.weight.shape for layer in learning if masks]
        self.masks = draw_feedback(shapes, init="uniform", seed=seed, like=self.like)
        self.claims = replace(self.claims, inference="own" if masks else "net")
        for index, layer in enumerate(learning if masks else []):
            self.layers[index] = Masked(layer.inlet, layer.synapse, layer.activation, layer.name, self.masks, index)

    def forward(self, x: Tensor) -> Any:
        for layer in self.layers if len(self.masks) else [self.net]:
            x = layer(x)
        return x

    phases = one_by_one

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor | None = None, ready: Ready | None = None) -> Tensor:
        return climb(self, self._gradient, x, y, ready, respond=self._respond if len(self.masks) else None)

    def _respond(self, index: int, trace: Trace) -> Any:
        """a (N, *out) of the layer, seen through its masks."""
        bias: Any = trace.layer.synapse.bias
        u = driven(trace, weight_of(trace) * self.masks[index])
        rows(trace, trace.a).copy_(u if bias is None else u + bias)
        return trace.a

    def _gradient(self, index: int, trace: Trace) -> Tensor:
        W, v = weight_of(trace), self.masks[index] if len(self.masks) else None
        if v is None:
            trace, W = centred(trace)
            match = driven(trace, W) - W.flatten(1).square().sum(1) / 2
        else:
            match = unbiased(trace)
        c = match.argmax(-1, keepdim=True)
        n = neighbourhood(c, len(W), self.maps, self.grid, self.sigma, like=match)  # (N, *positions, units)
        G, decay = correlated(trace, n) / c.numel(), along(n.flatten(0, -2).mean(0), W) * W
        if v is None:
            return decay - G
        gradient = decay - G * v
        if self.training:
            won = correlated(trace._replace(x=trace.x.square()), torch.zeros_like(match).scatter_(-1, c, 1.0))
            seen = v.square().unflatten(0, (self.maps, -1)).sum(1)  # (maps, ...): r = (1 - seen) * x
            v += self.mask_lr / c.numel() * v * (1 - seen).repeat_interleave(len(v) // self.maps, 0) * won
        return gradient
