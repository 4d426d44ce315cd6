"""Jobs, how they end, and what runs them: ``Pool``, and the one that runs them in this process."""

from __future__ import annotations

import logging
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, NamedTuple

from altprop.limits import Interrupted, shorten
from altprop.registry import import_rules

LOG = logging.getLogger("altprop")
POLL = 0.2  # seconds at most until a Ctrl-C is noticed
STOPPED = "stopped; go on with the same command"


class Job(NamedTuple):
    """``work(*shared, *arguments)``, shared being the pool's: a function of a module, since another process must find
    it."""

    name: str  # in messages
    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    tries: int = 1  # processes at most that it may kill: above 1 where it goes on, or may be done anew


class Ended(NamedTuple):
    """A job that has ended, and perhaps its process with it."""

    job: Job
    value: Any  # what its work returned, None where that never came
    status: int  # 0, or the exit status of its process, below 0 the signal that killed it
    seconds: float  # 0 where its process died
    said: str = ""  # what went wrong, where that is known in words

    @property
    def death(self) -> str | None:
        """How it ended without a value."""
        if self.status == 0:
            return None
        killed = f"killed by signal {-self.status}" if self.status < 0 else ""
        return self.said or killed or f"its process ended with status {self.status}"


class Pool(ABC):
    """Runs jobs, side by side or not.  shared: the first arguments of every job, sent to each worker once."""

    def __init__(self, *shared: Any) -> None:
        self.shared = shared

    @abstractmethod
    def run(self, queue: Sequence[Job], ended: Callable[[Ended], None]) -> None:
        """Run every job, and tell of each as it ends; one whose process dies begins again in another, ``job.tries``
        times in all.

        Raises ``Interrupted`` after a Ctrl-C or a polite kill, when every job under way has been asked to stop, and a
        run among them has written its checkpoint."""

    def close(self) -> None:  # noqa: B027  what holds nothing has nothing to let go
        """Let go of what it holds."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class Here(Pool):
    """In this process, one after another; what a job raises is raised."""

    def run(self, queue: Sequence[Job], ended: Callable[[Ended], None]) -> None:
        for job in queue:
            start = time.perf_counter()
            ended(Ended(job, job.work(*self.shared, *job.arguments), 0, time.perf_counter() - start))


class Answer(NamedTuple):
    """What comes back from another process."""

    value: Any
    said: str = ""  # what was raised in place of a value
    seconds: float = 0.0


def perform(files: Sequence[Path], work: Callable[..., Any], arguments: Sequence[Any]) -> Answer:
    """A job in another process, which first imports these files of rules."""
    start = time.perf_counter()
    try:
        for file in files:
            import_rules(file)
        return Answer(work(*arguments), "", time.perf_counter() - start)
    except Interrupted:
        raise
    except Exception as error:  # a mistake in the job's own code: told where it waits, and in full where it happened
        traceback.print_exc()
        return Answer(None, shorten(f"{type(error).__name__}: {error}", 160))


def begun_again(ended: Ended) -> Job | None:
    """The job of a process that died, if it may begin again."""
    if ended.job.tries < 2:
        return None
    LOG.info("%s: %s; it begins again in another process", ended.job.name, ended.death)
    return ended.job._replace(tries=ended.job.tries - 1)


@contextmanager
def kill_as_ctrl_c() -> Iterator[None]:
    """A polite kill stops as Ctrl-C does, even where Ctrl-C is ignored, as in the background of a script; where
    somebody waits for one already, that stays as it is."""
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
