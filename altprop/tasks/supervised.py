"""Labelled samples as a task: how well individuals answer, on all of them or on a batch that is drawn anew for each
generation.

    f = - mean loss over the batch        cross entropy of labels (N,), half the squared error of targets (N, C)

The loss and not the accuracy is what is asked for: most small changes of a net change no answer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from altprop.core import Population
from altprop.limits import Refused, nearest, shown
from altprop.tasks.task import Task


def _cross_entropy(z: Tensor, t: Tensor) -> Tensor:
    return cross_entropy(z.flatten(0, 1), t.repeat(len(z)), reduction="none").view(z.shape[:2])


def _squares(z: Tensor, t: Tensor) -> Tensor:
    return (z - t).square().sum(2) / 2


def _binary(z: Tensor, t: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(z, t.expand_as(z), reduction="none").sum(2)


SEEN = 10_000  # samples by which one individual is told
LOSSES: dict[str, Any] = {"cross_entropy": _cross_entropy, "mse": _squares, "binary_cross_entropy": _binary}


class Supervised(Task):
    """x (N, *in) floats and y, labels (N,) or targets (N, C); outputs: C.

    loss: cross_entropy, mse or binary_cross_entropy.  batch: samples that a generation is asked, None for all; flat:
    each sample as a vector, as searches want it that grow nets of their own.
    Raises ``Refused`` for another loss."""

    def __init__(
        self, x: Tensor, y: Tensor, outputs: int, *, loss: str = "cross_entropy", batch: int | None = None,
        flat: bool = False,
    ) -> None:  # fmt: skip
        if loss not in LOSSES:
            raise Refused(f"loss={shown(loss)} came{nearest(str(loss), LOSSES)}")
        self.x, self.y, self.outputs, self.loss = (x.flatten(1) if flat else x), y, outputs, LOSSES[loss]
        self.inputs = tuple(self.x.shape[1:])
        self.batch = batch if batch is not None and batch < len(x) else None

    @torch.no_grad()
    def fitness(self, population: Population, generator: torch.Generator) -> Tensor:
        """(P,); the batch is drawn, the same for all."""
        x, y = self.x, self.y
        if self.batch is not None:
            rows = torch.randperm(len(x), generator=generator)[: self.batch]
            x, y = x[rows], y[rows]
        population.reset()
        return -self.loss(population(x), y).mean(1)  # (P, N) -> (P,)

    def told(self, individual: Population) -> dict[str, float]:
        """Mean loss and, of labels, the share that is right, on the first ``SEEN`` samples."""
        x, y = self.x[:SEEN], self.y[:SEEN]
        z = individual(x)  # (1, N, C)
        right = {"accuracy": float((z[0].argmax(1) == y).double().mean())} if y.dim() == 1 else {}
        return {"loss": float(self.loss(z, y).mean()), **right}
