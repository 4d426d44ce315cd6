"""So many processes, each with one job after another; they can be stopped at any moment."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from altprop.allocator import keep_freed_memory
from altprop.limits import Interrupted
from altprop.pool.pool import POLL, STOPPED, Ended, Job, Pool, begun_again, kill_as_ctrl_c, perform
from altprop.registry import imported
from altprop.run.stop import stop_with_parent


class Worker(NamedTuple):
    """A process, and our end of its pipe."""

    pipe: Connection
    process: BaseProcess


class Processes(Pool):
    """At most ``jobs`` of them.  They begin when there is work, and wait for more of it until the pool is closed."""

    def __init__(self, jobs: int, *shared: Any) -> None:
        super().__init__(*shared)
        self.jobs = jobs
        self.idle: list[Worker] = []
        self.running: dict[Connection, tuple[Worker, Job]] = {}

    def run(self, queue: Sequence[Job], ended: Callable[[Ended], None]) -> None:
        waiting = deque(queue)
        try:
            with kill_as_ctrl_c():
                while waiting or self.running:
                    while waiting and len(self.running) < self.jobs:
                        self._give(waiting.popleft())
                    for pipe in wait(list(self.running), POLL):
                        assert isinstance(pipe, Connection)
                        self._hear(pipe, waiting, ended)
        except KeyboardInterrupt:
            raise Interrupted(STOPPED) from None
        finally:
            self._stop()

    def close(self) -> None:
        for pipe, _ in self.idle:
            pipe.close()  # which ends a process that waits for more
        for _, process in self.idle:
            process.join()
        self.idle = []

    def _stop(self) -> None:
        """What is still running: it writes its checkpoint."""
        for (_, process), _ in self.running.values():
            process.terminate()
        for (pipe, process), _ in self.running.values():
            process.join()
            pipe.close()
        self.running = {}

    def _give(self, job: Job) -> None:
        """The next job to a process, which takes it when it has started."""
        self.idle = [worker for worker in self.idle if worker.process.is_alive()]
        worker = self.idle.pop() if self.idle else self._start()
        self.running[worker.pipe] = (worker, job)
        with suppress(ConnectionError):  # it has just died, of which we hear as of any death
            worker.pipe.send((job.work, job.arguments))

    def _start(self) -> Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, imported(), self.shared), daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
        theirs.close()  # so that the pipe ends with the process
        return Worker(ours, process)

    def _hear(self, pipe: Connection, waiting: deque[Job], ended: Callable[[Ended], None]) -> None:
        worker, job = self.running[pipe]
        again = None
        try:
            value, said, seconds = pipe.recv()
            told = Ended(job, value, int(bool(said)), seconds, said)
            self.idle.append(worker)
        except (EOFError, ConnectionError):  # it died
            pipe.close()
            worker.process.join()
            told = Ended(job, None, worker.process.exitcode or 1, 0.0)
            again = begun_again(told)
        del self.running[pipe]
        if again is None:
            ended(told)
        else:
            waiting.appendleft(again)


def _serve(pipe: Connection, files: list[Path], shared: tuple[Any, ...]) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a signal to the group reaches the parent alone, which then asks once
    stop_with_parent()
    keep_freed_memory()
    try:
        while True:
            work, arguments = pipe.recv()
            pipe.send(perform(files, work, (*shared, *arguments)))
    except EOFError:
        return
    except Interrupted:
        sys.exit(130)
    finally:
        pipe.close()


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
