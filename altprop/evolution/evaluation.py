"""How a generation is evaluated: in parts, here or in processes, with the same numbers wherever each part was.

A part that cannot be evaluated is asked one by one, so that who fails is known; who fails has no fitness, nan.
"""

from __future__ import annotations

import logging
import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from altprop.core import Population, Refused
from altprop.limits import shorten
from altprop.registry import import_rules, imported
from altprop.run.stop import stop_with_parent
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


def asked(task: Task, part: Population, seed: int) -> tuple[Tensor, str]:
    """The fitness (P,) of a part, in float64 on the CPU, nan for who failed, and why the first of them did.

    Raises ``Refused`` as the task does: what no individual can answer ends the run."""
    try:
        f = task.fitness(part, torch.Generator().manual_seed(seed))
        return f.detach().to("cpu", torch.float64), ""
    except Refused:
        raise
    except Exception as error:  # whatever a fitness of others may raise
        why = shorten(f"{type(error).__name__}: {error}", 160)
        if len(part) == 1 or not hasattr(part, "part"):
            return torch.full((len(part),), torch.nan, dtype=torch.float64), why
    each = [asked(task, part.part(slice(row, row + 1)), seed) for row in range(len(part))]
    return torch.cat([f for f, _ in each]), next((said for _, said in each if said), why)


def answered(task: Task, part: bytes, seed: int) -> tuple[list[float], str]:
    """What ``asked`` says, in another process: as bytes and lists, since tensors would go through memory that is shared
    with a process that may die."""
    f, why = asked(task, pickle.loads(part), seed)
    return f.tolist(), why


def answer(task: bytes, part: bytes, seed: int) -> tuple[list[float], str]:
    """The same on one thread of a process that has nothing of its own yet."""
    torch.set_num_threads(1)
    return answered(pickle.loads(task), part, seed)


class Workers(NamedTuple):
    """Who evaluates: so many processes, those of a Ray cluster at an address, or, where neither is said, this one."""

    jobs: int | None = None
    ray: str | None = None

    def __bool__(self) -> bool:
        return self.jobs is not None or self.ray is not None


class Evaluator(ABC):
    """``evaluator(population, generation)`` -> fitness (P,) in float64.  seed: of what the task draws."""

    tries = 5  # of one generation: what kills every process that evaluates it would do so for ever

    def __init__(self, task: Task, seed: int, parts: int) -> None:
        self.task, self.seed, self.parts = task, seed, parts
        self.told: str = ""  # why the first individual failed, once one has

    def __call__(self, population: Population, generation: int) -> Tensor:
        drawn = (self.seed * 1_000_003 + generation + STREAM) % 2**63
        answers = self.all_of(divided(population, self.parts), drawn)
        self.told = self.told or next((why for _, why in answers if why), "")
        return torch.cat([f for f, _ in answers])

    @abstractmethod
    def all_of(self, parts: Sequence[Population], seed: int) -> list[tuple[Tensor, str]]:
        """What ``asked`` says of every part, in their order."""

    def close(self) -> None:  # noqa: B027  what holds nothing has nothing to let go
        """Let go of what it holds."""

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class Here(Evaluator):
    """In this process, one part after another."""

    def all_of(self, parts: Sequence[Population], seed: int) -> list[tuple[Tensor, str]]:
        return [asked(self.task, part, seed) for part in parts]


class Processes(Evaluator):
    """In so many processes of one thread each.  One that dies is replaced, and what it had is evaluated again."""

    def __init__(self, task: Task, seed: int, parts: int, workers: Workers) -> None:
        super().__init__(task, seed, parts)
        self.jobs = workers.jobs or 1
        self.pool = self._new()

    def all_of(self, parts: Sequence[Population], seed: int) -> list[tuple[Tensor, str]]:
        answers: dict[int, tuple[Tensor, str]] = {}
        for _ in range(self.tries):
            left = [place for place in range(len(parts)) if place not in answers]
            waiting = [(place, self.pool.submit(_work, pickle.dumps(parts[place]), seed)) for place in left]
            for place, future in waiting:
                try:
                    f, why = future.result()
                    answers[place] = torch.tensor(f, dtype=torch.float64), why
                except BrokenProcessPool:
                    pass
            if len(answers) == len(parts):
                return [answers[place] for place in range(len(parts))]
            LOG.info("a process died while it evaluated: it is replaced, and what it had is evaluated again")
            self.close()
            self.pool = self._new()
        raise Refused(f"{self.tries} times a process died that evaluated the same generation: mind its memory")

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        given = (pickle.dumps(self.task), imported())
        return ProcessPoolExecutor(self.jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=given)


_TASK: list[Task] = []  # of a process that evaluates: sent once, not with every part


def _begin(task: bytes, files: list[Path]) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches the parent alone, which ends the generation first
    stop_with_parent()
    torch.set_num_threads(1)
    for file in files:
        import_rules(file)
    _TASK[:] = [pickle.loads(task)]


def _work(part: bytes, seed: int) -> tuple[list[float], str]:
    return answered(_TASK[0], part, seed)
