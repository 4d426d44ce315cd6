"""A step of a rule by one compiled graph, in which torch's compiler fuses what stands between the products."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from altprop.core import accumulate
from altprop.tracing.graph import Apart, Step, drawing, functional, is_near


class Compiled:
    """What a step does, for batches of the shapes of its own.

    Raises ``Apart`` where it cannot be traced, or has other results than the step as it is written."""

    def __init__(self, step: Step) -> None:
        self.step, random = step, torch.get_rng_state()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the compiler's own code
            wanted, self.graded = step.observed()
            graph, held, self.draw = functional(step)
            self.held = [tensor.detach() for tensor in held]
            self.run = torch.compile(graph, dynamic=False)
            given = drawing(random, self._with_draws, *step.batch)
            found = self.run(*(tensor.clone() for tensor in given))
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
            loss, *gradients = self.run(*self._with_draws(*batch))
        for index, gradient in zip(self.graded, gradients, strict=True):
            accumulate(self.step.parameters[index], gradient)
        return loss

    def _with_draws(self, *batch: Tensor) -> list[Tensor]:
        given = [*batch, *self.held]
        return [*given, *(self.draw(*given) if self.draw else [])]
