"""The batches of an epoch: in the run's own order, with their samples' weights, and as the rule sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from altprop.core import Weighted
from altprop.data import batches
from altprop.run.learner import Learner


def batches_of(learner: Learner, drop_last: bool) -> Iterator[tuple[Tensor, Any]]:
    """Those of one epoch, in the same order with weights as without."""
    (x, y), w, like = learner.samples, learner.weights, learner.rule.like
    options: Any = {"generator": learner.order, "dtype": like.dtype, "drop_last": drop_last, "device": like.device}
    if w is None:
        return batches(x, y, learner.turn.recipe.batch, **options)
    y, w = y.to(like.device), w.to(like.device)
    numbered = batches(x, torch.arange(len(x), device=x.device), learner.turn.recipe.batch, **options)
    return ((inputs, Weighted(y[rows], w[rows])) for inputs, rows in numbered)


def seen(learner: Learner, x: Tensor, y: Any) -> tuple[Tensor, Any]:
    """A batch as the rule sees it: augmented, and of a rule of several views all of one view, then all of the next."""
    views = learner.rule.claims.views
    if views == 1:
        return learner.augment(x, learner.order), y
    x = torch.cat([learner.augment(x, learner.order) for _ in range(views)])
    if isinstance(y, Weighted):
        return x, Weighted(torch.cat([y.y] * views), torch.cat([y.w] * views))
    return x, torch.cat([y] * views)
