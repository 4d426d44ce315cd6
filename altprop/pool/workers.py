"""Who works, as a command line says it, and the pool for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from altprop.limits import shorten
from altprop.pool.cluster import OnRay
from altprop.pool.pool import Ended, Here, Job, Pool
from altprop.pool.processes import Processes
from altprop.run.directory.files import RunError


class Workers(NamedTuple):
    """So many processes, those of a Ray cluster at an address, or, where neither is said, this one."""

    jobs: int | None = None
    ray: str | None = None  # "local": a new cluster of ``jobs`` processes on this machine

    def __bool__(self) -> bool:
        return self.jobs is not None or self.ray is not None

    @property
    def follow(self) -> bool:
        """Whether runs may follow each other in this process: one worker needs no other."""
        return self in (Workers(), Workers(jobs=1))

    def __str__(self) -> str:
        return f"ray = '{shorten(self.ray, 60)}'" if self.jobs is None else f"jobs = {self.jobs}"

    def threads(self, asked: int | None, device: str = "cpu") -> int | None:
        """Of each job: one, where workers share the cores, so that the numbers do not depend on how many they are.

        Raises ``RunError`` for other threads, fewer workers than one, and a device that they do not see."""
        self.check_device(device)
        if not self:
            return asked
        if (self.jobs is not None and self.jobs < 1) or asked not in (None, 1):
            beside = f" beside threads = {asked}" if asked else ""
            raise RunError(f"{self} came{beside}: give 1 or more, and each has one thread, so leave --threads out")
        return 1

    def check_device(self, device: str) -> None:
        """Raises ``RunError`` for one that the jobs of a cluster do not see."""
        if self.ray is not None and device != "cpu":
            what = f"device '{shorten(device, 40)}' came beside ray, where each job has one processor and nothing else"
            raise RunError(f"{what}: leave --device out, or take --jobs in place of --ray")


ALONE = Workers()


def open_pool(workers: Workers, *shared: Any) -> Pool:
    """The pool of these workers, to be closed.  Raises ``RunError`` for a cluster that is not there."""
    if workers.ray is not None:
        return OnRay(workers.ray, workers.jobs, *shared)
    return Here(*shared) if workers.jobs is None else Processes(workers.jobs, *shared)


def run_jobs(queue: Sequence[Job], workers: Workers, ended: Callable[[Ended], None]) -> None:
    """Run every job, and tell of each as it ends, as ``Pool.run`` does."""
    with open_pool(workers) as pool:
        pool.run(queue, ended)
