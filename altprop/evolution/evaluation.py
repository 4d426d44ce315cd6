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
from contextlib import suppress
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


def answer(task: bytes, part: bytes, seed: int) -> Heard:
    """``asked`` on one thread of a process that has nothing of its own yet.

    As bytes and lists: tensors would go through memory that is shared with a process that may die."""
    torch.set_num_threads(1)
    return asked(pickle.loads(task), pickle.loads(part), seed)


def sent(task: Task) -> bytes:
    """A task as other processes get it; raises ``Refused`` for one that cannot be sent."""
    try:
        return pickle.dumps(task)
    except Exception as error:  # whatever a class of others may raise
        what = f"{type(task).__name__} cannot be sent to other processes ({shorten(error, 120)})"
        raise Refused(f"{what}: define it, and what it holds, at the top of a module, or evaluate here") from error


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
        self.drew = False  # whether the task drew anything when it was asked last

    def __call__(self, population: Population, generation: int) -> Tensor:
        drawn = (self.seed * 1_000_003 + generation + STREAM) % 2**63
        answers = self.all_of(divided(population, self.parts), drawn)
        why = next((one.why for one in answers if one.why), "")
        if why and not self.told:
            LOG.info("an individual could not be evaluated (%s): it counts as the worst of its generation", why)
        self.told = self.told or why
        self.drew = any(one.drew for one in answers)
        return torch.tensor([f for one in answers for f in one.fitness], dtype=torch.float64)

    @abstractmethod
    def all_of(self, parts: Sequence[Population], seed: int) -> list[Heard]:
        """What ``asked`` says of every part, in their order."""

    def close(self) -> None:  # noqa: B027  what holds nothing has nothing to let go
        """Let go of what it holds."""

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class Here(Evaluator):
    """In this process, one part after another."""

    def all_of(self, parts: Sequence[Population], seed: int) -> list[Heard]:
        return [asked(self.task, part, seed) for part in parts]


class Processes(Evaluator):
    """In so many processes of one thread each.  One that dies is replaced, and what it had is evaluated again."""

    def __init__(self, task: Task, seed: int, parts: int, workers: Workers) -> None:
        super().__init__(task, seed, parts)
        self.jobs = workers.jobs or 1
        self.pool = self._new()

    def all_of(self, parts: Sequence[Population], seed: int) -> list[Heard]:
        answers: dict[int, Heard] = {}
        for _ in range(self.tries):
            left = [place for place in range(len(parts)) if place not in answers]
            waiting = {}
            with suppress(BrokenProcessPool):
                for place in left:
                    waiting[place] = self.pool.submit(_work, pickle.dumps(parts[place]), seed)
            for place, future in waiting.items():
                with suppress(BrokenProcessPool):
                    answers[place] = future.result()
            if len(answers) == len(parts):
                return [answers[place] for place in range(len(parts))]
            LOG.info("a process died while it evaluated: it is replaced, and what it had is evaluated again")
            self.close()
            self.pool = self._new()
        raise Refused(f"{self.tries} times a process died that evaluated the same generation: mind its memory")

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        given = (sent(self.task), imported())
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


def _work(part: bytes, seed: int) -> Heard:
    return asked(_TASK[0], pickle.loads(part), seed)
