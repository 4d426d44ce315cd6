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
