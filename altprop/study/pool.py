"""So many processes, each with one run after another; they can be stopped at any moment."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, NamedTuple

from altprop.limits import Interrupted
from altprop.registry import import_rules, imported
from altprop.run.stop import stop_with_parent

POLL = 0.2  # seconds at most until a Ctrl-C is noticed


class Job(NamedTuple):
    """``work(*arguments)`` in a process of its own: a function of a module, since a spawned process must find it."""

    name: str  # in messages
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


class Ended(NamedTuple):
    """A job that has ended, and perhaps its process with it."""

    job: Job
    value: Any  # what its work returned, None where that never came
    status: int  # 0, or the exit status of its process, below 0 the signal that killed it
    seconds: float

    @property
    def death(self) -> str | None:
        """How its process died before it could say anything."""
        return f"killed by signal {-self.status}" if self.status < 0 else None


def in_processes(queue: Sequence[Job], jobs: int, ended: Callable[[Ended], None]) -> None:
    """Run every job, ``jobs`` of them at a time, and tell of each as it ends.

    Raises ``Interrupted`` after a Ctrl-C or a polite kill, when every run under way has written its checkpoint."""
    pool = _Pool(list(queue), jobs, ended)
    try:
        with _kill_as_ctrl_c():
            pool.work()
    except KeyboardInterrupt:
        raise Interrupted("stopped; go on with the same command") from None
    finally:
        pool.stop()


class _Pool:
    def __init__(self, waiting: list[Job], jobs: int, ended: Callable[[Ended], None]) -> None:
        self.waiting, self.jobs, self.ended = waiting, jobs, ended
        self.running: dict[Connection, tuple[BaseProcess, Job, float]] = {}

    def work(self) -> None:
        while self.waiting or self.running:
            while self.waiting and len(self.running) < self.jobs:
                self._start()
            for pipe in wait(list(self.running), POLL):
                assert isinstance(pipe, Connection)
                self._hear(pipe)

    def stop(self) -> None:
        """Of what is still running: it writes its checkpoint."""
        for process, _, _ in self.running.values():
            process.terminate()
        for process, _, _ in self.running.values():
            process.join()

    def _start(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, imported()), daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
            self._give(ours, process)
        theirs.close()  # so that the pipe ends with the process

    def _give(self, pipe: Connection, process: BaseProcess) -> None:
        """The next job to a process, which takes it when it has started."""
        job = self.waiting.pop(0)
        self.running[pipe] = (process, job, time.perf_counter())
        pipe.send((job.work, job.arguments))

    def _hear(self, pipe: Connection) -> None:
        process, job, start = self.running[pipe]
        try:
            value, status = pipe.recv(), 0
        except (EOFError, ConnectionError):  # it died
            process.join()
            value, status = None, process.exitcode or 1
        seconds = time.perf_counter() - start
        if self.waiting and not status:
            self._give(pipe, process)
        else:
            pipe.close()  # which ends a process that waits for more
            process.join()
            del self.running[pipe]
        self.ended(Ended(job, value, status, seconds))


def _serve(pipe: Connection, files: list[Path]) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a signal to the group reaches the parent alone, which then asks once
    stop_with_parent()
    for file in files:
        import_rules(file)
    try:
        while True:
            work, arguments = pipe.recv()
            pipe.send(work(*arguments))
    except EOFError:
        return
    except Interrupted:
        sys.exit(130)
    finally:
        pipe.close()


@contextmanager
def _kill_as_ctrl_c() -> Iterator[None]:
    """A polite kill stops as Ctrl-C does, even where Ctrl-C is ignored, as in the background of a script."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process that is started in here never hears Ctrl-C, not even while it imports: the parent hears it, after this,
    and asks every process once."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whose start would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
