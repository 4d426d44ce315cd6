"""What forward gradients are drawn along: tangents of activity or of weights, and what a layer learns of them.

A tangent v is one tensor a thing perturbed, (R, ...): a row a sample for activity (R = N), one for weights (R = 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from altprop.core import Layer, Ready, Refused, Rule, Trace, accumulate, drive, learn
from altprop.core.layer import is_convolution, is_dense
from altprop.core.steps import jvp

Tangent = list[Tensor]


class Perturbation(ABC):
    """What of a layer is perturbed."""

    @abstractmethod
    def size(self, layer: Layer, a: torch.Size) -> int:
        """How many numbers of a layer a tangent changes."""

    @abstractmethod
    def draw(self, trace: Trace, a: torch.Size) -> Tangent:
        """v ~ N(0, 1); a is the shape of the synapse's output, of one sample."""

    @abstractmethod
    def reach(self, trace: Trace, v: Tangent) -> Tensor:
        """The tangent (N, *out) that v is at the pre-activation."""

    @abstractmethod
    def slopes(self, d: Tensor) -> Tensor:
        """d (K, N), each sample's slopes along K tangents, as rows go: (K, R)."""

    @abstractmethod
    def learn(self, trace: Trace, g: Tangent, ready: Ready | None = None) -> None:
        """g, the estimate in the place of v, into ``.grad``."""


class Activity(Perturbation):
    """v (N, *out) at the pre-activation, of every sample its own."""

    def size(self, layer: Layer, a: torch.Size) -> int:
        return a.numel()

    def draw(self, trace: Trace, a: torch.Size) -> Tangent:
        return [normal((len(trace.x), *a), trace.h)]  # x may be indices

    def reach(self, trace: Trace, v: Tangent) -> Tensor:
        return v[0]

    def slopes(self, d: Tensor) -> Tensor:
        return d

    def learn(self, trace: Trace, g: Tangent, ready: Ready | None = None) -> None:
        learn(trace, g[0] / len(trace.x), ready)


class Weight(Perturbation):
    """v in the shape of weight and bias, one for the batch."""

    def size(self, layer: Layer, a: torch.Size) -> int:
        return sum(p.numel() for p in layer.synapse.parameters())

    def draw(self, trace: Trace, a: torch.Size) -> Tangent:
        return [normal((1, *p.shape), trace.x) for p in trace.layer.synapse.parameters()]

    def reach(self, trace: Trace, v: Tangent) -> Tensor:
        module: Any = trace.layer.synapse
        at_a = drive(module, trace.x, v[0][0])
        bias = v[1].view(1, -1, *([1] * (at_a.dim() - 2))) if is_convolution(module) and len(v) > 1 else v[1:]
        return at_a + (bias if isinstance(bias, Tensor) else sum(bias))

    def slopes(self, d: Tensor) -> Tensor:
        return d.mean(1, keepdim=True)

    def learn(self, trace: Trace, g: Tangent, ready: Ready | None = None) -> None:
        for parameter, estimate in zip(trace.layer.synapse.parameters(), g, strict=True):
            if parameter.requires_grad:
                accumulate(parameter, estimate[0])
        if ready is not None:
            ready(trace.layer)


PERTURBATIONS: dict[str, Perturbation] = {"activity": Activity(), "weight": Weight()}
COMBINATIONS = ("mean", "projection")


def find(rule: Rule, perturb: str, tangents: int, combine: str, together: bool) -> Perturbation:
    """The perturbation of that name; raises ``Refused`` where there is none, or where net and numbers do not fit.

    together: whether one tangent perturbs all hidden layers, else each has its own."""
    name, hidden = type(rule).__name__, rule.layers[:-1]
    if perturb not in PERTURBATIONS or combine not in COMBINATIONS or tangents < 1:
        what = f"perturb={perturb!r}, combine={combine!r}, tangents={tangents} came; {name} takes"
        raise Refused(f"{what} {' or '.join(PERTURBATIONS)}, {' or '.join(COMBINATIONS)}, and at least 1 tangent")
    blocks = [str(layer) for layer in hidden if not is_dense(layer.synapse)]
    if perturb == "weight" and blocks:
        raise Refused(f"{name} cannot perturb the weights of {blocks[0]}: use perturb='activity', or Linear and ConvNd")
    P = PERTURBATIONS[perturb]
    sizes = [P.size(layer, shapes.a) for layer, shapes in zip(hidden, rule.shapes, strict=False)]
    fewest = (sum(sizes) if together else min(sizes)) if sizes else tangents
    if combine == "projection" and tangents > fewest:
        what = f"tangents={tangents} came for 'projection', but {name} perturbs {fewest} numbers"
        raise Refused(f"{what} at a time, which that many are enough for: give at most {fewest}, or combine='mean'")
    return P


def normal(shape: Sequence[int], like: Tensor) -> Tensor:
    """Drawn in float32 whatever the net's dtype, so that the same seed is the same tangent."""
    return torch.randn(*shape, dtype=torch.float32, device=like.device).to(like.dtype)


def bend(trace: Trace, tangent: Tensor) -> Tensor:
    """(N, *out), at a -> (N, *h): through the activation, forward."""
    for step in trace.activation:
        tangent = jvp(step, tangent)
    return tangent


def estimates(d: Tensor, V: Sequence[Sequence[Tangent]], project: bool) -> list[Tangent]:
    """g of every layer from slopes d (K, R) along V[k][layer]: the mean of d_k v_k or, to ``project``, V^+ d."""
    if project:
        flat = torch.stack(
            [torch.cat([t.flatten(1) for v in tangents for t in v], 1) for tangents in V], 1
        )  # (R, K, D)
        c = torch.linalg.solve_ex(flat @ flat.mT, d.T.unsqueeze(2)).result.squeeze(2).T  # (K, R)
    else:
        c = d / len(d)
    return [
        [sum(c_k.view(-1, *([1] * (t.dim() - 1))) * t for c_k, t in zip(c, ts, strict=True))
         for ts in zip(*layer, strict=True)]
        for layer in zip(*V, strict=True)
    ]  # fmt: skip
