"""The samples of Forward-Forward: positive, negative and neutral ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from altprop.core import Refused
from altprop.rules.forward_forward.goodness import GOODNESS

NEUTRAL = 0.1  # every label entry of a sample whose class is not told


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


def check_classes(y: Tensor, t: Tensor) -> Tensor:
    """t (N, C) as it is; raises ``Refused`` where ready targets y are no classes."""
    if y.is_floating_point() and not bool(((t == 1).sum(1) == 1).logical_and(t.abs().sum(1) == 1).all()):
        raise Refused(
            "ForwardForward learns classes, but targets came that are not one-hot: use 'fa' or 'dfa' for them"
        )
    return t
