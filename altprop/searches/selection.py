"""Who may have children, and who lives on: indices into a generation, by its heights (P,), the fitness of each; what
failed has a height of -inf.

    roulette      p_i = f_i / sum_j f_j                            (Holland 1975; lifted by the lowest if that is < 0)
    tournament    the fittest of k drawn at random                 (Brindle 1981; Goldberg and Deb 1991)
    truncation    any of the best share, each alike                (Muhlenbein and Schlierkamp-Voosen 1993)
    elite         the best, as they are
    champions     the count with most wins against q drawn at random   (evolutionary programming)

All draw with replacement, but for the last two, which draw nobody twice.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Generator, Tensor

from altprop.searches.draws import uniform, whole


def ranked(heights: Tensor) -> Tensor:
    """The indices (P,) from the fittest down; of equals the first comes first."""
    return heights.argsort(descending=True, stable=True)


def roulette(heights: Tensor, count: int, generator: Generator) -> Tensor:
    """heights (P,) -> (count,) indices, each with a probability in proportion to its height.

    Where some are below 0 all are lifted by the lowest; where none is above the others all are alike."""
    alive = heights.isfinite()
    share = torch.where(alive, heights - heights[alive].min().clamp(max=0) if alive.any() else heights, 0)
    share = share / share.max() if share.max() > 0 else torch.ones_like(share)  # (P,), the sum cannot overflow
    wheel = share.cumsum(0)
    stops = uniform((count,), generator) * wheel[-1]
    return torch.searchsorted(wheel, stops, right=True).clamp(max=len(heights) - 1)


def tournament(heights: Tensor, count: int, generator: Generator, k: int = 3) -> Tensor:
    """heights (P,) -> (count,) indices, each the fittest of k that are drawn with replacement."""
    drawn = whole(len(heights), (count, k), generator)
    return drawn.gather(1, heights[drawn].argmax(1, keepdim=True)).squeeze(1)


def truncation(heights: Tensor, count: int, generator: Generator, share: float = 0.2) -> Tensor:
    """heights (P,) -> (count,) indices, drawn alike from the best ``share`` of all, of which there is at least one."""
    best = elite(heights, ceil(share * len(heights)))
    return best[whole(len(best), (count,), generator)]


def elite(heights: Tensor, count: int) -> Tensor:
    """heights (P,) -> the indices of the ``count`` fittest, the best first."""
    return ranked(heights)[:count]


def champions(heights: Tensor, count: int, q: int, generator: Generator) -> Tensor:
    """heights (P,) -> the ``count`` that are at least as fit as most of q others, drawn anew for each; of equal wins
    the fitter, so that the fittest is never lost."""
    met = heights[whole(len(heights), (len(heights), q), generator)]  # (P, q)
    wins = (heights[:, None] >= met).sum(1)
    order = ranked(heights)
    return order[ranked(wins[order])][:count]


SELECTIONS: dict[str, Callable[..., Tensor]] = {
    "roulette": roulette,
    "tournament": tournament,
    "truncation": truncation,
}
