"""How a generation is evaluated: in parts, by whatever workers, with the same numbers wherever each part was.

A part that cannot be evaluated is asked one by one, so that who fails is known; who fails has no fitness, nan.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from altprop.core import Population, Refused
from altprop.limits import shorten
from altprop.pool.pool import Ended, Job
from altprop.pool.workers import ALONE, Workers, open_pool
from altprop.tasks import Task

LOG = logging.getLogger("altprop")
STREAM = int.from_bytes(b"task", "big")  # parts what a task draws from what a search of the same seed draws


def divided(population: Population, parts: int) -> list[Population]:
    """The population in so many parts of like size, in its order; whole where it cannot be divided."""
    part = getattr(population, "part", None)
    if part is None or parts == 1:
        return [population]
    size = -(-len(population) // parts)
    return [part(slice(first, first + size)) for first in range(0, len(population), size)]


class Heard(NamedTuple):
    """What was found of a part."""

    fitness: list[float]  # nan for who failed
    why: str  # the first of them did; empty where none has
    drew: bool  # whether the task has drawn anything, so that another draw might say otherwise


def asked(task: Task, part: Population, seed: int) -> Heard:
    """The fitness of a part.  Raises ``Refused`` as the task does: what no individual can answer ends the run."""
    generator = torch.Generator().manual_seed(seed)
    before = generator.get_state()
    try:
        f = torch.as_tensor(task.fitness(part, generator)).detach().to("cpu", torch.float64)
        if f.shape != (len(part),):
            what = f"the task gave a fitness of shape {tuple(f.shape)} for {len(part)} individuals"
            raise Refused(f"{what}: give one number each, ({len(part)},)")
        return Heard(f.tolist(), "", not torch.equal(before, generator.get_state()))
    except Refused:
        raise
    except Exception as error:  # whatever a fitness of others may raise
        why = shorten(f"{type(error).__name__}: {error}", 160)
        if len(part) == 1 or not hasattr(part, "part"):
            return Heard([torch.nan] * len(part), why, False)
    each = [asked(task, part.part(slice(row, row + 1)), seed) for row in range(len(part))]
    first = next((one.why for one in each if one.why), why)
    return Heard([f for one in each for f in one.fitness], first, any(one.drew for one in each))


def answer(task: bytes, part: bytes, seed: int) -> Heard | Refused:
    """``asked`` on one thread of another process.

    As bytes and lists: tensors would go through memory that is shared with a process that may die."""
    torch.set_num_threads(1)
    try:
        return asked(_received(task), pickle.loads(part), seed)
    except Refused as error:
        return error


@lru_cache(1)
def _received(task: bytes) -> Task:
    """The task, of which a process hears again with every part."""
    received: Task = pickle.loads(task)
    return received


def sent(task: Task) -> bytes:
    """A task as other processes get it; raises ``Refused`` for one that cannot be sent."""
    try:
        return pickle.dumps(task)
    except Exception as error:  # whatever a class of others may raise
        what = f"{type(task).__name__} cannot be sent to other processes ({shorten(error, 120)})"
        raise Refused(f"{what}: define it, and what it holds, at the top of a module, or evaluate here") from error


class Evaluator:
    """``evaluator(population, generation)`` -> fitness (P,) in float64.  seed: of what the task draws.

    A part whose process dies is evaluated again in another; what kills every process would do so for ever, and is
    refused."""

    tries = 5  # of a part

    def __init__(self, task: Task, seed: int, parts: int, workers: Workers = ALONE) -> None:
        self.task, self.seed, self.parts = task, seed, parts
        self.told: str = ""  # why the first individual failed, once one has
        self.drew = False  # whether the task drew anything when it was asked last
        self.apart = bool(workers)
        self.pool = open_pool(workers, sent(task) if self.apart else task)

    def __call__(self, population: Population, generation: int) -> Tensor:
        drawn = (self.seed * 1_000_003 + generation + STREAM) % 2**63
        answers = self._all_of(divided(population, self.parts), drawn)
        why = next((one.why for one in answers if one.why), "")
        if why and not self.told:
            LOG.info("an individual could not be evaluated (%s): it counts as the worst of its generation", why)
        self.told = self.told or why
        self.drew = any(one.drew for one in answers)
        return torch.tensor([f for one in answers for f in one.fitness], dtype=torch.float64)

    def _all_of(self, parts: Sequence[Population], seed: int) -> list[Heard]:
        """What ``asked`` says of every part, in their order."""
        heard: dict[str, Heard] = {}

        def ended(part: Ended) -> None:
            if part.death:
                tries = f"{self.tries - part.job.tries + 1} of {self.tries} tries"
                what = f"{part.job.name} of a generation could not be evaluated in {tries} ({part.death})"
                raise Refused(f"{what}: mind the memory of its processes")
            if isinstance(part.value, Refused):
                raise part.value
            heard[part.job.name] = part.value

        queue = [self._job(f"part {number}", part, seed) for number, part in enumerate(parts)]
        self.pool.run(queue, ended)
        return [heard[job.name] for job in queue]

    def _job(self, name: str, part: Population, seed: int) -> Job:
        if self.apart:
            return Job(name, answer, (pickle.dumps(part), seed), self.tries)
        return Job(name, asked, (part, seed))

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *error: Any) -> None:
        self.pool.close()
