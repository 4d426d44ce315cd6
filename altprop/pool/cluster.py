"""The workers of a Ray cluster: each job is a task of one processor, and what a dead worker had goes to another."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from altprop.allocator import keep_freed_memory
from altprop.limits import Interrupted, shorten
from altprop.pool.pool import POLL, STOPPED, Answer, Ended, Job, Pool, begun_again, kill_as_ctrl_c, perform
from altprop.registry import imported
from altprop.run.directory.files import RunError

LOCAL = "local"  # an address: a cluster of this machine, which ends with the pool
SAVING = 60.0  # seconds that a job has to end its step and write its checkpoint
Running = dict[Any, Job]  # by Ray's reference to the task


class OnRay(Pool):
    """On the cluster at that address, "auto" for the one that this machine belongs to, "local" for a new one here.

    jobs: processes of a new one.  Raises ``RunError`` where there is no Ray, or no such cluster."""

    def __init__(self, address: str, jobs: int | None, *shared: Any) -> None:
        super().__init__()
        self.ray = _ray()
        self.ours = not self.ray.is_initialized()
        if self.ours:
            _connect(self.ray, address, jobs)
        self.shared_there = self.ray.put(shared)
        self.perform = self.ray.remote(_perform_there).options(num_cpus=1, max_retries=0)

    def run(self, queue: Sequence[Job], ended: Callable[[Ended], None]) -> None:
        running: Running = {}
        try:
            with kill_as_ctrl_c():
                for job in queue:
                    self._begin(job, running)
                while running:
                    for reference in self.ray.wait(list(running), timeout=POLL)[0]:
                        self._hear(reference, running, ended)
        except KeyboardInterrupt:
            raise Interrupted(STOPPED) from None
        finally:
            self._stop(running)

    def close(self) -> None:
        if self.ours:
            self.ray.shutdown()

    def _begin(self, job: Job, running: Running) -> None:
        running[self.perform.remote(self.shared_there, imported(), Path.cwd(), job.work, job.arguments)] = job

    def _hear(self, reference: Any, running: Running, ended: Callable[[Ended], None]) -> None:
        job = running.pop(reference)
        (value, said, seconds), died = self._answer(reference)
        told = Ended(job, value, int(bool(said)), seconds, said)
        again = begun_again(told) if died else None
        if again is None:
            ended(told)
        else:
            self._begin(again, running)

    def _answer(self, reference: Any) -> tuple[Answer, bool]:
        """What a task has to say, and whether its worker has died."""
        try:
            return Answer(*self.ray.get(reference)), False
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause  # it could not be read there, or its machine asked it to stop
            return Answer(None, shorten(f"{type(cause).__name__}: {cause}", 160)), isinstance(cause, Interrupted)
        except self.ray.exceptions.RayError as error:
            return Answer(None, f"its worker died ({type(error).__name__})"), True

    def _stop(self, running: Running) -> None:
        """What is still running: it writes its checkpoint."""
        for reference in running:
            self.ray.cancel(reference)
        if running:
            self.ray.wait(list(running), num_returns=len(running), timeout=SAVING)


def _perform_there(
    shared: tuple[Any, ...], files: list[Path], folder: Path, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> Answer:
    """A job on a worker of the cluster, in the folder of the command."""
    keep_freed_memory()
    try:
        os.chdir(folder)
    except OSError as error:
        what = f"the folder {shorten(folder, 80)} is not there on a machine of the cluster ({error.strerror})"
        return Answer(None, f"{what}: give the cluster shared storage")
    return perform(files, work, (*shared, *arguments))


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise RunError("--ray needs a package that is missing: pip install 'altprop[ray]'") from error
    return ray


def _connect(ray: Any, address: str, jobs: int | None) -> None:
    given: Mapping[str, Any] = {"num_cpus": jobs} if address == LOCAL else {"address": address}
    try:
        with _signals_kept():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **given)
    except (ConnectionError, ValueError, RuntimeError) as error:
        what = f"no Ray cluster could be had at '{shorten(address, 60)}' ({shorten(error, 100)})"
        raise RunError(f"{what}: give its address, or 'local' for one of this machine") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray would end this process at a polite kill, before anything is kept."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, before)
