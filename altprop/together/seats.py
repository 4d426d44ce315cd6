"""Seeds of one recipe in one process: each has its seat, and those that stand at the same batch are stepped as one."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, nullcontext
from typing import Any

from altprop.core import Refused
from altprop.limits import Interrupted, Notice
from altprop.measure.missing import reason
from altprop.run.compiling import as_tensors
from altprop.run.course import Batch, Course, R, Stopping
from altprop.run.recipe import RunError
from altprop.run.stop import interruptible
from altprop.together.stack import Random, Stack, step_alone
from altprop.tracing.graph import Apart

FAILURES = (Refused, RunError, RuntimeError)  # which end a run, and not those beside it


def together(begin: Sequence[Callable[[Stopping], Course[R]]]) -> list[R | Exception]:
    """Courses of one recipe that differ in their seeds, stepped together wherever they stand at the same batch; those
    behind are stepped first.  Returns what each returns, or the error that ended it.

    Raises ``Interrupted`` after a Ctrl-C, when each has written its checkpoint."""
    stop = threading.Event()
    seats = [Seat(each(lambda: nullcontext(stop))) for each in begin]
    with interruptible() as asked, ExitStack() as opened:
        for seat in seats:
            opened.enter_context(closing(seat.course))
            with seat.random.taken():
                seat.go_on()
        group = Group([])
        while waiting := [seat for seat in seats if seat.batch is not None]:
            behind = min(seat.place for seat in waiting)
            present = [seat for seat in waiting if seat.place == behind]
            if not group.holds(present):
                group.settle()
                group = Group(present)
            group.step(asked, stop)
        if asked.is_set():
            raise Interrupted
    return [seat.result if seat.error is None else seat.error for seat in seats]


class Seat:
    """One course among others, with a random state of its own; it may fail while they go on."""

    def __init__(self, course: Course[Any]) -> None:
        self.course, self.random = course, Random()
        self.batch: Batch | None = None  # which waits for its step
        self.result: Any = None
        self.error: Exception | None = None

    @property
    def waiting(self) -> Batch:
        assert self.batch is not None
        return self.batch

    @property
    def place(self) -> tuple[int, int, int]:
        position = self.waiting.position
        return position.phase, position.epoch, position.batch

    def go_on(self, loss: float | None = None) -> None:
        """To the next batch, or to the end; without a loss the course begins."""
        try:
            self.batch = next(self.course) if loss is None else self.course.send(loss)
        except StopIteration as end:
            self.batch, self.result = None, end.value
        except Interrupted:
            self.batch = None
        except FAILURES as error:
            self.batch, self.error = None, error

    def fail(self, error: Exception) -> None:
        self.course.close()
        self.batch, self.error = None, error


class Group:
    """Seats that stand at the same batch."""

    def __init__(self, seats: Sequence[Seat]) -> None:
        self.seats, self.stack = seats, None  # type: Sequence[Seat], Stack | None
        self.learners = [seat.waiting.at for seat in seats]
        self.turns = [learner.turn for learner in self.learners]
        self.fresh = True

    def holds(self, seats: Sequence[Seat]) -> bool:
        """Whether these are its seats, and none has gone on to another turn."""
        if len(seats) != len(self.seats):
            return False
        return all(
            seat.waiting.at is learner and learner.turn is turn
            for seat, learner, turn in zip(seats, self.learners, self.turns, strict=True)
        )

    def step(self, asked: threading.Event, stop: threading.Event) -> None:
        """One batch of each.  Where it is ``asked`` for meanwhile, all are told to ``stop``, before one goes on."""
        start, waiting = time.perf_counter(), [seat.waiting for seat in self.seats]
        batches = [as_tensors(batch.x, batch.y if batch.at.turn.labels else None) for batch in waiting]
        if self.fresh:
            self.stack, self.fresh = self._stacked(batches), False
        losses = self._losses(batches)
        if asked.is_set():
            stop.set()
        settle = stop.is_set() or any(batch.last for batch in waiting)  # who looks finds all that is a learner's
        if settle:
            self.settle()
        seconds = (time.perf_counter() - start) / len(waiting)
        for seat, batch, loss in zip(self.seats, waiting, losses, strict=True):
            batch.position.seconds += seconds
            if isinstance(loss, Exception):
                seat.fail(loss)
                continue
            with seat.random.taken() if settle else nullcontext():
                seat.go_on(loss)

    def settle(self) -> None:
        if self.stack is not None:
            self.stack.settle()

    def _losses(self, batches: Any) -> Sequence[float | Exception]:
        if self.stack is not None:
            try:
                return self.stack.step(batches)
            except FAILURES as error:
                return [error] * len(batches)
        losses: list[float | Exception] = []
        for seat, batch in zip(self.seats, batches, strict=True):
            try:
                losses.append(step_alone(seat.waiting.at, batch, seat.random))
            except FAILURES as error:
                losses.append(error)
        return losses

    def _stacked(self, batches: Any) -> Stack | None:
        """None where they cannot be stepped as one; why is told."""
        if len(self.seats) == 1:
            return None
        try:
            return Stack(self.learners, [seat.random for seat in self.seats], batches)
        except Apart as error:
            why = str(error)
        except Exception as error:  # whatever torch cannot trace or batch, each can be stepped by itself
            why = f"torch cannot batch it ({reason(error)})"
        name = self.learners[0].recipe.rule
        warnings.warn(Notice(f"together came, but the seeds of '{name}' are stepped one by one: {why}"), stacklevel=2)
        return None
