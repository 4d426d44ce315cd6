"""Accuracy on inputs that an adversary, or noise, has moved.

    fgsm      x + epsilon sign(dL/dx)                                       Goodfellow et al., ICLR 2015
    pgd       steps of that kind from a random point, kept in the ball      Madry et al., ICLR 2018
    square    random search by squares, from outputs alone                  Andriushchenko et al., ECCV 2020
    gaussian  x + sigma n,  n ~ N(0, 1)

dL/dx is the true gradient, by autograd through ``rule(x)``: the credit that a rule assigns is no attack, and moving
along it would flatter the rule.  ``square`` takes no gradient, so it also tells robust nets from nets whose gradient is
of no use.  Balls are of the maximum norm and of radius epsilon, cut to ``bounds``, which must hold the data:
(-inf, inf) for data that has none.  ``.grad``, modes and random state are left as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from altprop.core import LOSSES, Refused, Rule
from altprop.measure.probe import followed, undisturbed

CHUNK = 512  # samples in one pass; results do not depend on it
PIXELS = (0.0, 1.0)
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of the squares' area, after so many of 10000 queries


@torch.no_grad()
def fgsm(rule: Rule, x: Tensor, y: Tensor, epsilon: float, *, bounds: tuple[float, float] = PIXELS) -> Tensor:
    """(N, *in): one step of the fast gradient sign method up the rule's own loss.  x (N, *in); y as for ``credit``.

    Raises ``Refused`` for integers, data out of bounds, an epsilon below 0, and a rule without a gradient at x."""
    _check(x, y, epsilon, bounds)
    with undisturbed(rule):
        return (x + epsilon * _uphill(rule, x, y).sign()).clamp(*bounds)


@torch.no_grad()
def pgd(
    rule: Rule,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    steps: int = 10,
    step: float | None = None,
    seed: int | None = 0,
    bounds: tuple[float, float] = PIXELS,
) -> Tensor:
    """(N, *in): projected gradient ascent by signs, ``steps`` of length ``step``, 2.5 epsilon / steps unless given.

    It starts at a point drawn uniformly from the ball by ``seed``, or at x where that is None.  Raises as ``fgsm``."""
    _check(x, y, epsilon, bounds)
    if steps < 1:
        raise Refused(f"{steps} steps came; expected at least 1")
    step = 2.5 * epsilon / steps if step is None else step
    low, high = (x - epsilon).clamp(*bounds), (x + epsilon).clamp(*bounds)
    moved = x if seed is None else (x + epsilon * (2 * _draw(torch.rand, x, seed) - 1)).clamp(low, high)
    with undisturbed(rule):
        for _ in range(steps):
            moved = (moved + step * _uphill(rule, moved, y).sign()).clamp(low, high)
    return moved


@torch.no_grad()
def square_attack(
    rule: Rule,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    queries: int = 200,
    p: float = 0.8,
    seed: int = 0,
    bounds: tuple[float, float] = PIXELS,
) -> Tensor:
    """(N, *in): of ``queries`` random proposals a sample, those kept that lower the margin z_y - max z_other.

    The first proposal is vertical stripes of +-epsilon, every other a square of +-epsilon, of one sign a channel, whose
    area, the fraction ``p`` of the image at first, is halved as the queries run out.  Samples that are not images
    (C, H, W) get random sets of features instead.  A sample is left alone once it is misclassified.
    Deviations from the paper: stripes that do not lower the margin are not kept; a proposal that would change nothing
    gets the opposite signs, since it would waste its query.
    Raises ``Refused`` for integers, data out of bounds, an epsilon below 0, and where y are not labels (N,)."""
    _check(x, y, epsilon, bounds)
    if queries < 1 or not 0 < p <= 1:
        raise Refused(
            f"{queries} queries and p {p} came; expected at least 1 query and a fraction p above 0, at most 1"
        )
    generator = torch.Generator().manual_seed(seed)
    best = x.clone()
    with undisturbed(rule):
        margin = _margins(rule, best, y)
        for where, sign in _proposals(x.shape, queries, p, generator):
            right = (margin > 0).nonzero().squeeze(1)
            if not len(right):
                break
            moved = _changed(x, best, where.to(x.device), epsilon * sign.to(x), bounds)[right]
            lower = _margins(rule, moved, y[right])
            better = lower < margin[right]
            best[right[better]], margin[right[better]] = moved[better], lower[better]
    return best


@torch.no_grad()
def gaussian(x: Tensor, sigma: float, seed: int = 0, *, bounds: tuple[float, float] = PIXELS) -> Tensor:
    """x (N, *in) with normal noise of standard deviation ``sigma``, drawn by ``seed``, cut to ``bounds``.

    Raises ``Refused`` for integers, data out of bounds, and a sigma below 0."""
    _check(x, x, sigma, bounds)
    return (x + sigma * _draw(torch.randn, x, seed)).clamp(*bounds)


def _noise(rule: Rule, x: Tensor, y: Tensor, sigma: float, **options: Any) -> Tensor:
    return gaussian(x, sigma, **options)


ATTACKS: dict[str, Callable[..., Tensor]] = {  # (rule, x, y, strength, **options) -> moved x
    "fgsm": fgsm,
    "pgd": pgd,
    "square": square_attack,
    "gaussian": _noise,
}


def accuracy_under(
    rule: Rule, x: Tensor, y: Tensor, attack: str, strengths: Sequence[float], **options: Any
) -> dict[float, float]:
    """Strength -> fraction of samples x (N, *in) that the rule still gets right, y labels (N,); 0 is the clean input.

    strengths: values of epsilon, or of sigma for "gaussian".  options: the attack's own, such as ``steps``.
    Raises ``Refused`` for an unknown attack, targets instead of labels, no samples, and what the attack refuses."""
    if attack not in ATTACKS:
        raise Refused(f"unknown attack '{attack}'; there are {', '.join(ATTACKS)}")
    _check_labels(y)
    if not len(x):
        raise Refused("no samples came, so that there is no accuracy: give at least 1")
    accuracies = {}
    for strength in strengths:
        moved = ATTACKS[attack](rule, x, y, strength, **options)
        with undisturbed(rule), torch.no_grad():
            right = [rule(part).argmax(1) == labels for part, labels in _chunks(moved, y)]
        accuracies[float(strength)] = float(torch.cat(right).double().mean())
    return accuracies


def _uphill(rule: Rule, x: Tensor, y: Tensor) -> Tensor:
    """(N, *in): each sample's own gradient of the loss at its input, but for a positive factor a sample."""
    gradients: list[Tensor] = []
    exact = followed(rule)
    for part, labels in _chunks(x, y):
        with torch.enable_grad():
            part = part.detach().requires_grad_()
            output = exact(part.clone())  # a module that works in place may not write into a leaf
        e = _direction(rule, output.detach().double(), rule.targets(labels, len(part)).double())
        gradient = None
        if output.requires_grad:
            (gradient,) = torch.autograd.grad(output, part, e.to(output.dtype), allow_unused=True)
        if gradient is None:
            what = f"no gradient comes from the output of {type(rule).__name__} to its input"
            raise Refused(f"{what}: use an attack that needs none, 'square' or 'gaussian'")
        gradients.append(gradient)
    return torch.cat(gradients) if gradients else torch.zeros_like(x)


def _direction(rule: Rule, output: Tensor, t: Tensor) -> Tensor:
    """(N, C): e of each sample, the largest entry scaled to 1.

    The error of a sure sample rounds to 0, where an attack would stand still and the net seem robust; hence float64,
    the scale, and what 1 - p loses even so: the errors of cross-entropy sum to 0."""
    e = rule.output_error(output, t)[1]
    if rule.loss is LOSSES["cross_entropy"]:
        e = e - t * e.sum(1, keepdim=True)
    return e / e.abs().amax(1, keepdim=True).clamp(min=torch.finfo(e.dtype).tiny)


def _margins(rule: Rule, x: Tensor, y: Tensor) -> Tensor:
    """(N,): by how much the output of the right class leads the next one; below 0 where the sample is misclassified."""
    _check_labels(y)
    margins = []
    for part, labels in _chunks(x, y):
        z, own = rule(part.clone()), labels.long().unsqueeze(1)  # (N, C), (N, 1)
        margins.append(z.gather(1, own).squeeze(1) - z.scatter(1, own, -math.inf).amax(1))
    return torch.cat(margins) if margins else x.new_zeros(0)


def _changed(x: Tensor, best: Tensor, where: Tensor, shift: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, *in): x + shift within ``where`` and the best so far outside; x - shift where that would change nothing."""
    moved = torch.where(where, (x + shift).clamp(*bounds), best)
    same = (moved == best).flatten(1).all(1).view(-1, *(1 for _ in x.shape[1:]))  # (N, 1, ...)
    return torch.where(same & where, (x - shift).clamp(*bounds), moved)


def _proposals(
    shape: torch.Size, queries: int, p: float, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """(where (N, *in) or broadcast to it, sign (N, *in) or broadcast to it) for every query."""
    propose = _square if len(shape) == 4 else _features
    stripes = (*shape[:2], 1, shape[3]) if len(shape) == 4 else tuple(shape)
    yield torch.ones((), dtype=torch.bool), _signs(stripes, generator)
    for query in range(1, queries):
        passed = sum(query * 10_000 > halving * queries for halving in HALVINGS)
        yield propose(shape, p / 2**passed, generator)


def _square(shape: torch.Size, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    n, channels, height, width = shape
    side = max(1, min(round(math.sqrt(fraction * height * width)), height, width))
    inside = []
    for length in (height, width):
        first = torch.randint(length - side + 1, (n, 1), generator=generator)
        pixels = torch.arange(length)
        inside.append((pixels >= first) & (pixels < first + side))  # (N, length)
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None], _signs((n, channels, 1, 1), generator)


def _features(shape: torch.Size, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.rand(shape[0], shape[1:].numel(), generator=generator).argsort(1)  # (N, D), a permutation a sample
    return (order < max(1, round(fraction * order.shape[1]))).view(shape), _signs(tuple(shape), generator)


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(2, shape, generator=generator) * 2 - 1


def _draw(draw: Callable[..., Tensor], x: Tensor, seed: int) -> Tensor:
    """Numbers of the shape and dtype of x, the same on every device."""
    return draw(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).to(x.device)


def _chunks(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(x.split(CHUNK), y.split(CHUNK), strict=True)


def _check(x: Tensor, y: Tensor, strength: float, bounds: tuple[float, float]) -> None:
    if not x.is_floating_point():
        raise Refused(f"inputs of {x.dtype} came; an attack moves them by fractions: scale them to [0, 1] first")
    if len(x) != len(y):
        raise Refused(f"{len(y)} labels or targets came for {len(x)} samples: give one each")
    if not 0 <= strength < math.inf:
        raise Refused(f"strength {strength} came; expected a finite number of at least 0, in the unit of the inputs")
    if x.numel() and not (x.min() >= bounds[0] and x.max() <= bounds[1]):
        what = f"inputs from {float(x.min()):g} to {float(x.max()):g} came, but bounds are {bounds}"
        raise Refused(f"{what}: give the bounds of this data, (-inf, inf) if it has none")


def _check_labels(y: Tensor) -> None:
    if y.dim() != 1 or y.is_floating_point():
        raise Refused(f"targets {tuple(y.shape)} of {y.dtype} came; margins and accuracies need class labels (N,)")
