"""Who takes the steps of a run: this process alone, or several that were started together."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from math import isfinite
from typing import TYPE_CHECKING, Any

from torch import Tensor

from altprop.run.stop import interruptible

if TYPE_CHECKING:
    from altprop.run.learner import Learner


class Team(ABC):
    """``leads``: whether this process writes the run down."""

    leads = True

    @abstractmethod
    def join(self, learner: Learner) -> None:
        """Before the first step, when the learner stands where the run begins or goes on; raises ``RunError``."""

    @abstractmethod
    def step(self, learner: Learner, x: Tensor, y: Any) -> float:
        """Credit of one batch and the optimizers' step; y None where the turn is given no labels.  Returns its loss."""

    @abstractmethod
    def settle(self, learner: Learner, position: Any) -> None:
        """After the last step of an epoch: learner and position (``run.course.Position``) are those of one process."""

    @abstractmethod
    def interruptible(self) -> AbstractContextManager[threading.Event]:
        """What is set once the run is asked to stop, in the same step of all."""


class Alone(Team):
    """This process."""

    def join(self, learner: Learner) -> None:
        """There is nobody to wait for."""

    def step(self, learner: Learner, x: Tensor, y: Any) -> float:
        if learner.streaming:
            return learner.credit(x, y, learner.update).item()
        learner.zero_grad()
        loss = learner.credit(x, y).item()
        if isfinite(loss):  # else the weights are left as they are, so that the layer that broke can be told
            learner.descend()
        return loss

    def settle(self, learner: Learner, position: Any) -> None:
        """They are."""

    def interruptible(self) -> AbstractContextManager[threading.Event]:
        return interruptible()


ALONE = Alone()
