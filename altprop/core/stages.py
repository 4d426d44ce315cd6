"""Rules without update locking: a layer learns as soon as its input is there, and never hears of the layers above."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from altprop.core.local import Ready
from altprop.core.rule import Rule


class Staged(Rule):
    """A rule that is written as what one layer does, so that a process that owns some layers can run just those."""

    @abstractmethod
    def stage(self, index: int, h: Any, t: Any) -> tuple[Any, Tensor | None]:
        """Layer ``index`` adds its gradient to ``.grad``; returns what the next stage takes, and of the last the loss.

        h: what the stage below returned, a tensor or a tuple of them, made before its layer is stepped; the input
        (N, *in) for the first.  t: as ``targets`` makes it."""

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        """All stages, from the first up."""
        h, t = x, self.targets(y, len(x))
        for index, layer in enumerate(self.layers):
            h, loss = self.stage(index, h, t)
            if ready is not None:
                ready(layer)
        assert loss is not None
        return loss
