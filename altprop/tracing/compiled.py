"""A step of a rule by one compiled graph, in which torch's compiler fuses what stands between the products."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from altprop.core import accumulate
from altprop.measure.probe import forked
from altprop.tracing.graph import Apart, Step, functional, is_near

MODES = {"cuda": "reduce-overhead"}  # of torch's compiler, by device: this one captures the step as a CUDA graph


class Compiled:
    """What a step does, for batches of the shapes of its own.

    Raises ``Apart`` where it cannot be traced, or has other results than the step as it is written."""

    def __init__(self, step: Step) -> None:
        self.step, self.device = step, step.batch[0].device.type
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the compiler's own code
            with forked(step.rule):
                wanted, self.graded = step.observed()
            with forked(step.rule):
                graph, held, self.draw = functional(step)
            self.held = [tensor.detach() for tensor in held]
            self.run = torch.compile(graph, dynamic=False, mode=MODES.get(self.device))
            with forked(step.rule):  # which draws what was drawn above
                found = self.run(*(tensor.clone() for tensor in self._with_draws(*step.batch)))
        if not all(is_near(own, other) for own, other in zip(found, wanted, strict=True)):
            raise Apart("compiled it has other results than as it is written")

    def fits(self, batch: Sequence[Tensor]) -> bool:
        """Whether the graph is for such a batch."""
        own = [(part.shape, part.dtype) for part in self.step.batch]
        return [(part.shape, part.dtype) for part in batch] == own

    def __call__(self, batch: Sequence[Tensor]) -> Tensor:
        """The loss; gradients are added to those that are there."""
        if not self.fits(batch):
            return self.step.plainly(*batch)
        with torch.no_grad():
            results = self.run(*self._with_draws(*batch))
        if self.device in MODES:  # where the next step writes over them
            results = [result.clone() for result in results]
        loss, *gradients = results
        for index, gradient in zip(self.graded, gradients, strict=True):
            accumulate(self.step.parameters[index], gradient)
        return loss

    def _with_draws(self, *batch: Tensor) -> list[Tensor]:
        given = [*batch, *self.held]
        return [*given, *(self.draw(*given) if self.draw else [])]
