"""The parts of Forward-Forward that assign no credit: its samples, its two goodnesses, peer term, readout and checks.

Deviations from Hinton, arXiv 2212.13345, 2022: the noise behind a mask is uniform, not bits, so that no entry can stand
exactly at the threshold, and its blur runs around the edges, so that both images are as likely there as elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Layer, Refused, Rule, draw_feedback

MOMENTUM = 0.9  # of the running mean in the peer term
NEUTRAL = 0.1  # every label entry of a sample whose class is not told


class Goodness(NamedTuple):
    """How the activity h (N, *out) of n units a sample is scored, and what of it the next layer sees."""

    mean: bool  # over the units; else their sum
    epsilon: float  # added to what a sample is divided by

    def of(self, h: Tensor) -> Tensor:
        """g (N, 1, ...): sum h^2 or mean h^2."""
        return h.square().sum(tuple(range(1, h.dim())), keepdim=True) * self.share(h)

    def unit(self, h: Tensor) -> Tensor:
        """h / rms(h) for the sum, h / |h| for the mean; a sample of zeros stays zero."""
        length = torch.linalg.vector_norm(h, dim=tuple(range(1, h.dim())), keepdim=True)
        return h / (length * (1 if self.mean else h[0].numel() ** -0.5) + self.epsilon)

    def share(self, h: Tensor) -> float:
        """dg / d |h|^2."""
        return 1 / h[0].numel() if self.mean else 1.0

    def theta(self, h: Tensor) -> float:
        """The g at which p is 1/2."""
        return 2.0 if self.mean else float(h[0].numel())


GOODNESS = {"sum": Goodness(False, 1e-8), "mean": Goodness(True, 1e-4)}
CHOICES = {
    "goodness": (*GOODNESS,),
    "negatives": ("labels", "images"),
    "inference": ("readout", "goodness"),
    "place": ("auto", "over", "beside"),
}


def peer_signal(m: Tensor, h: Tensor, moves: bool) -> Tensor:
    """The gradient (*out) at every h (N, *out) of mean_j (mean(m) - m_j)^2, m the running mean with h in it.

    ``moves``: m becomes that mean."""
    now = torch.lerp(h.mean(0), m, MOMENTUM)
    if moves:
        m.copy_(now)
    return (now - now.mean()) * (2 * (1 - MOMENTUM) / (len(h) * m.numel()))


@dataclass(frozen=True, eq=False)
class Readout(Layer):
    """The net's last layer and, beside it, the rule's own R, so that one ``ready`` announces both."""

    R: nn.ParameterList = field(default_factory=nn.ParameterList)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the layer, then R."""
        yield from super().parameters()
        yield from self.R


class Samples(NamedTuple):
    """What becomes of a batch x (N, *in).  Draws come from the global random stream."""

    images: bool  # negatives are patchworks; else samples with a wrong label
    label: float  # the entry of the class that is told
    blurs: int
    classes: int
    beside: bool = False  # the label stands beside the sample; else over its first entries

    def pairs(self, x: Tensor, true: Tensor) -> Tensor:
        """(2N, *in): the positives, then the negatives.  true (N,): their classes."""
        if self.images:
            other = wrong(torch.arange(len(x), device=x.device), len(x))
            return torch.cat((x, torch.where(blobs(x, self.blurs), x, x[other])))
        labels = self.labels(x)
        return torch.cat((self.embed(x, labels[true]), self.embed(x, labels[wrong(true, self.classes)])))

    def neutral(self, x: Tensor) -> Tensor:
        """(N, *in): samples that tell no class."""
        return x if self.images else self.embed(x, x.new_full((1, self.classes), NEUTRAL))

    def embed(self, x: Tensor, label: Tensor) -> Tensor:
        """(N, *in) or, beside, (N, in + C): x with ``label`` (N or 1, C)."""
        return append(x, label) if self.beside else embed(x, label)

    def labels(self, x: Tensor) -> Tensor:
        """(C, C): a row a class, what tells it."""
        return self.label * torch.eye(self.classes, dtype=x.dtype, device=x.device)


def embed(x: Tensor, label: Tensor) -> Tensor:
    """x (N, *in) with ``label`` (N or 1, C) in place of each sample's first C entries; differentiable in x."""
    rest = x.flatten(1)[:, label.shape[1] :]
    return torch.cat((label.expand(x.shape[0], -1), rest), 1).view(x.shape)


def append(x: Tensor, label: Tensor) -> Tensor:
    """x (N, in) / rms(x) and ``label`` (N or 1, C) behind it, so that neither drowns in the other."""
    return torch.cat((GOODNESS["sum"].unit(x), label.expand(x.shape[0], -1)), 1)


class Told(nn.Module):
    """The first synapse and, for the label that stands beside a sample, U (out, C) of the rule's own.

    x (N, in + C), or (N, in) of samples without a label -> linear(x) + label U^T (N, out)."""

    def __init__(self, linear: nn.Linear, U: nn.Parameter) -> None:
        super().__init__()
        self.linear, self.U = linear, U

    def forward(self, x: Tensor) -> Any:
        features = self.linear.in_features
        a = self.linear(x[:, :features])
        return a if x.shape[1] == features else a + x[:, features:] @ self.U.T


def place_beside(rule: Rule, table: nn.Linear | None) -> nn.ParameterList:
    """[U], by which the rule's first layer, of the synapse ``table``, hears of labels; [] where there is no table.

    U (out, C) is drawn by a generator of its own, as large as the columns of W are."""
    if table is None:
        return nn.ParameterList()
    (normal,) = draw_feedback([(table.out_features, rule.classes)], init="normal", like=table.weight)
    U = nn.Parameter(normal * table.weight.detach().square().mean().sqrt())
    first = rule.layers[0]
    rule.layers[0] = Layer(first.inlet, Told(table, U), first.activation, first.name)
    return nn.ParameterList([U])


def find_table(rule: Rule, negatives: str, place: str) -> nn.Linear | None:
    """The first synapse where a label stands beside the samples: as asked, or where they are flat.

    Of an image the first entries lie at the border and say little; of a table they say as much as any."""
    first, shape = rule.layers[0].synapse, tuple(rule.shapes[0].x)
    fits = negatives != "images" and len(shape) == 1 and type(first) is nn.Linear
    if place == "beside" and not fits:
        what = f"place='beside' came with samples of {shape}, negatives={negatives!r} and {rule.layers[0]}"
        raise Refused(f"{what}: it is for flat samples with labels, into a Linear")
    return first if fits and place != "over" else None  # type: ignore[return-value]


def wrong(true: Tensor, n: int) -> Tensor:
    """For each of true (N,) another number below n, all equally likely; where n is 1 there is no other."""
    return (true + torch.randint(1, max(n, 2), true.shape, device=true.device)) % n


def blobs(x: Tensor, blurs: int) -> Tensor:
    """Masks of large patches for x (N, *in), half of each True on average: (N, 1, height, width) for (N, C, height,
    width), (N, n) for flat samples.  ``blurs`` times [1/4, 1/2, 1/4] in each direction, then a threshold."""
    sides = x.shape[1:][-2:]
    noise = torch.rand(len(x), *(1 for _ in x.shape[1:-2]), *sides, dtype=x.dtype, device=x.device)
    for dim in blurs * [*range(-len(sides), 0)]:
        noise = noise / 2 + (noise.roll(1, dim) + noise.roll(-1, dim)) / 4
    return noise > 0.5


def classes_of(y: Tensor, t: Tensor) -> Tensor:
    """(N,): the class of each row of t; raises ``Refused`` for targets that are no classes."""
    if y.is_floating_point() and not bool(((t == 1).sum(1) == 1).logical_and(t.abs().sum(1) == 1).all()):
        raise Refused(
            "ForwardForward learns classes, but targets came that are not one-hot: use 'fa' or 'dfa' for them"
        )
    return t.argmax(1)


def check(rule: Rule, peer: float, numbers: dict[str, float], **choices: Any) -> nn.Linear | None:
    """What ``find_table`` finds.  Raises ``Refused`` for one of ``choices`` that is not in ``CHOICES``, or where they,
    net and input do not fit."""
    for name, value in choices.items():
        if value not in CHOICES[name]:
            raise Refused(f"{name}={value!r} came; ForwardForward takes {' or '.join(map(repr, CHOICES[name]))}")
    entries, images = rule.shapes[0].x.numel(), choices["negatives"] == "images"
    table = find_table(rule, choices["negatives"], choices["place"])
    bent = [str(layer) for layer, s in zip(rule.layers, rule.shapes[:-1], strict=False) if peer and s.a != s.h]
    label, blurs = numbers["label"], numbers["blurs"]
    few = f"{entries} inputs came for {rule.classes} classes, but a label of at least 2 classes stands over the first "
    flaws = {
        f"label={label}, peer={peer} came: give a label above 0 and a peer of at least 0": label <= 0 or peer < 0,
        f"blurs={blurs} came: give a number of blurs from 0 to 100": not 0 <= blurs <= 100,
        "ForwardForward divides by lengths, but integers came: give the net a real-valued input": rule.integer_input,
        "the net has one layer, which ForwardForward makes the readout: add a hidden layer": len(rule.layers) == 1,
        few + "inputs: give longer inputs, or negatives='images'": (
            not images and not 1 < rule.classes <= (entries if table is None else math.inf)
        ),
        "inference='goodness' came with negatives='images', which teach no label: use inference='readout'": (
            images and choices["inference"] == "goodness"
        ),
        f"peer={peer} came, but the activation of {bent} changes the shape, so that no unit has its peer term: "
        "move what changes it into the next layer's inlet, or use peer=0": bool(bent),
    }
    for flaw, holds in flaws.items():
        if holds:
            raise Refused(flaw)
    return table
