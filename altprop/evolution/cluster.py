"""A generation over a Ray cluster: its parts are tasks of the cluster, and what a dead worker had goes to another."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from typing import Any

from altprop.core import Population, Refused
from altprop.evolution.evaluation import Evaluator, Heard, Workers, answer, sent
from altprop.limits import shorten
from altprop.run.directory.files import RunError
from altprop.tasks import Task

LOCAL = "local"  # an address: a cluster of this machine, which ends with the run


class OnRay(Evaluator):
    """On the cluster at that address, "auto" for the one that this machine belongs to, "local" for a new one here.

    jobs: processes of a new one.  Raises ``RunError`` where there is no Ray, or no such cluster."""

    def __init__(self, task: Task, seed: int, parts: int, workers: Workers) -> None:
        super().__init__(task, seed, parts)
        self.ray, address = (ray := _ray()), workers.ray or LOCAL
        self.ours = not ray.is_initialized()
        if self.ours:
            try:
                given: dict[str, Any] = {"num_cpus": workers.jobs} if address == LOCAL else {"address": address}
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **given)
            except (ConnectionError, ValueError, RuntimeError) as error:
                what = f"no Ray cluster could be had at '{shorten(address, 60)}' ({shorten(error, 100)})"
                raise RunError(f"{what}: give its address, or 'local' for one of this machine") from error
        self.task_there = ray.put(sent(task))
        self.work = ray.remote(answer).options(num_cpus=1, max_retries=self.tries)

    def all_of(self, parts: Sequence[Population], seed: int) -> list[Heard]:
        asked = [self.work.remote(self.task_there, pickle.dumps(part), seed) for part in parts]
        try:
            told = self.ray.get(asked)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Refused) else error from error
        except self.ray.exceptions.WorkerCrashedError as error:
            raise Refused(f"{self.tries} times a worker died that evaluated the same part: mind its memory") from error
        return list(told)

    def close(self) -> None:
        if self.ours:
            self.ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise RunError("--ray needs a package that is missing: pip install 'altprop[ray]'") from error
    return ray
