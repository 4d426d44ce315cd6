"""What a run is to who steps it: a course, which hands out every batch and is sent its loss, so that the same one is
stepped alone or beside others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

from torch import Tensor

from altprop.run.learner import Learner


@dataclass
class Position:
    """Where a run stands: everything of its state that is not a tensor."""

    phase: int = 0  # the turn that is under way, or has just ended
    epoch: int = 0  # finished, those of the turns before too
    batch: int = 0  # done of the epoch that is under way
    step: int = 0
    loss_sum: float = 0.0  # over the samples of this epoch
    seconds: float = 0.0  # spent in training, without evaluation
    rows: list[dict[str, Any]] = field(default_factory=list)  # of metrics.jsonl
    first: float = 0.0  # the loss of the first batch
    refused: dict[str, str] = field(default_factory=dict)  # measures that could not be taken, and why


class Batch(NamedTuple):
    """What is to be stepped next; who steps it adds the seconds that it took to the position."""

    at: Learner
    position: Position  # of which phase, epoch and batch are this one's
    x: Tensor
    y: Any
    last: bool  # of its epoch


R = TypeVar("R")
Course: TypeAlias = Generator[Batch, float, R]
Stopping = Callable[[], AbstractContextManager[threading.Event]]


def alone(course: Course[R]) -> R:
    """Step every batch of a course, and return what it returns."""
    with closing(course):
        try:
            batch = next(course)
            while True:
                batch = course.send(_stepped(batch))
        except StopIteration as end:
            result: R = end.value
            return result


def _stepped(batch: Batch) -> float:
    start = time.perf_counter()
    loss = batch.at.step(batch.x, batch.y)
    batch.position.seconds += time.perf_counter() - start
    return loss
