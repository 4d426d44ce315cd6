"""A copy with changes, for M at a time: x (M, n) -> (M, n).

    gaussian        x_i + power N(0, 1)  with probability rate, else x_i
    flip            not x_i              with probability rate, else x_i
    adaptive_rate   rate (f_max - f) / (f_max - f_mean)  where f > f_mean, else rate: the fit are changed less
    self_adapted    sigma_i exp(tau' N + tau N_i),  tau' = 1/sqrt(2 n), tau = 1/sqrt(2 sqrt n): a step evolves, too

N is one number an individual, N_i one an entry.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Generator, Tensor

from altprop.searches.draws import chance, normal


def gaussian(x: Tensor, rate: float | Tensor, power: float, generator: Generator) -> Tensor:
    """Entries of x, each with probability ``rate``, a number or (M, 1), move by normal noise of deviation ``power``."""
    noise = power * normal(tuple(x.shape), x, generator)
    return torch.where(chance(rate, tuple(x.shape), x, generator), x + noise, x)


def flip(x: Tensor, rate: float | Tensor, power: float, generator: Generator) -> Tensor:
    """Bits of x (bool), each with probability ``rate``, turn over; there is no ``power`` in it."""
    return x ^ chance(rate, tuple(x.shape), x, generator)


def adaptive_rate(f: Tensor, heights: Tensor, rate: float) -> Tensor:
    """f (M,), the heights of those to be changed, in a generation of ``heights`` (P,) -> a rate for each, (M, 1).

    After Srinivas and Patnaik (1994): the best of the generation stays as it is."""
    told = heights[heights.isfinite()]
    if not len(told) or told.max() <= told.mean():
        return torch.full((len(f), 1), rate, dtype=f.dtype)
    return (rate * (told.max() - f) / (told.max() - told.mean())).clamp(max=rate)[:, None]


def self_adapted(sigma: Tensor, generator: Generator) -> Tensor:
    """sigma (M, n) -> steps (M, n) of the next generation, log-normal around these, and above 0."""
    n = sigma.shape[1]
    common, own = normal((len(sigma), 1), sigma, generator), normal(tuple(sigma.shape), sigma, generator)
    return sigma * (common / sqrt(2 * n) + own / sqrt(2 * sqrt(n))).exp()


MUTATIONS: dict[str, Callable[[Tensor, float | Tensor, float, Generator], Tensor]] = {
    "gaussian": gaussian,
    "flip": flip,
}
