"""A generation as one callable: every genome on every sample by one batched product a depth.

Values stand node by node, v (S, P, N), so that those of a depth are one piece of memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from altprop.limits import Refused
from altprop.searches.neat.activations import ACTIVATIONS
from altprop.searches.neat.genes import Frame, Genes
from altprop.searches.neat.plan import plan

SMALL = 512  # products a genome and depth, up to which sums of them are quicker than a product of matrices


class Nets:
    """P nets, x (N, I) for all or (P, N, I) for each its own -> (P, N, C).

    With memory a call is one step of time: every node reads what the nodes said in the step before, zero at first and
    after ``reset``.  A node that no enabled gene reaches answers f(0).  Raises ``Refused`` for another shape of x."""

    def __init__(self, genes: Genes, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self.genes, self.kind = genes, (dtype, device)
        made = plan(genes)
        self.inputs, first = genes.frame.inputs, genes.frame.inputs + 1
        self.memory = genes.frame.memory
        self.blocks, self.columns = made.blocks, made.blocks[-1][1]
        W = torch.from_numpy(made.weight).to(device, dtype)  # (P, S, nodes)
        self.weights = [  # (b - a, columns read, P)
            W[:, : None if self.memory else a, a - first : b - first].permute(2, 1, 0).contiguous()
            for a, b in self.blocks
        ]
        self.functions = [functions(made.kinds[:, a - first : b - first], genes.frame, device) for a, b in self.blocks]
        self.outputs = torch.from_numpy(made.outputs).to(device)[:, None]  # (P, 1, C)
        self.state: Tensor | None = None  # (S, P, N), as v

    def __len__(self) -> int:
        return len(self.outputs)

    def reset(self) -> None:
        """Forget what the nodes said."""
        self.state = None

    def part(self, rows: slice) -> Nets:
        """Some of them, as a population of their own."""
        return Nets(self.genes.rows(np.arange(len(self))[rows]), *self.kind)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        P, inputs = len(self), self.inputs
        if x.ndim not in (2, 3) or x.shape[-1] != inputs or (x.ndim == 3 and len(x) != P):
            raise Refused(f"x of shape {tuple(x.shape)} came to {P} nets: give (N, {inputs}), or ({P}, N, {inputs})")
        N, like = x.shape[-2], self.weights[0]
        v = self._columns(P, N, like)
        v[:inputs] = x.expand(P, N, inputs).permute(2, 0, 1)
        v[inputs] = 1
        for (a, b), W, f in zip(self.blocks, self.weights, self.functions, strict=True):
            v[a:b] = f(product(W, v[: W.shape[1]]))  # (b - a, P, N)
        return v.permute(1, 2, 0).gather(2, self.outputs.expand(-1, N, -1))  # (P, N, C)

    def _columns(self, P: int, N: int, like: Tensor) -> Tensor:
        """v (S, P, N): of a net with memory what it said last, and of another whatever, since it is written over."""
        if not self.memory:
            return like.new_empty(self.columns, P, N)
        if self.state is None:
            self.state = like.new_zeros(self.columns, P, N)
        if self.state.shape[2] != N:
            raise Refused(f"{N} samples came after {self.state.shape[2]}: nets with memory take as many until reset()")
        return self.state


def product(W: Tensor, v: Tensor) -> Tensor:
    """W (B, a, P), v (a, P, N) -> (B, P, N), of every genome by itself."""
    if W.shape[0] * v.shape[0] * v.shape[2] <= SMALL:
        return (W[..., None] * v).sum(1)
    W, v = W.permute(2, 0, 1).contiguous(), v.transpose(0, 1).contiguous()  # bmm is slow with strides
    return torch.bmm(W, v).transpose(0, 1)


def functions(kinds: np.ndarray, frame: Frame, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """kinds (P, B) -> what makes z (B, P, N) to answers: one function of all, or each column by its own."""
    if not kinds.any():
        return ACTIVATIONS[frame.activation]
    places = [(name, np.stack(np.nonzero(kinds == at))) for at, name in enumerate(frame.names)]
    at_work = [(ACTIVATIONS[name], torch.from_numpy(at).to(device)) for name, at in places if at.size]

    def each(z: Tensor) -> Tensor:
        y = torch.empty_like(z)
        for f, (p, b) in at_work:
            y[b, p] = f(z[b, p])
        return y

    return each
