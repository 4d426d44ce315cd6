"""Run what a paper's table still lacks, over several processes of one thread each; it can be stopped at any moment."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from threading import Thread, current_thread, main_thread
from typing import Any, NamedTuple

from altprop.data import DataError
from altprop.limits import shorten
from altprop.run.directory.files import sweep
from altprop.run.directory.records import LAYERWISE
from altprop.run.directory.store import RunDirectory, environment, write_atomically
from altprop.run.experiment import Result, resume_run, run_recipe
from altprop.run.machine import find_device
from altprop.run.recipe import RunError
from altprop.run.train import Interrupted
from altprop.study.papers import RECIPES, RESULTS, Row, rows, status

RUNS = Path("runs") / "reproduce"
POLL = 0.2  # seconds between two looks at the processes


class Job(NamedTuple):
    """One run that is missing."""

    row: Row
    seed: int
    minutes: float  # expected


class Places(NamedTuple):
    """Where things lie, and the device that works."""

    results: Path = RESULTS
    runs: Path = RUNS
    data_dir: str | None = None
    device: str = "cpu"
    recipes: Path = RECIPES


PLACES = Places()


def missing(targets: Iterable[str], seeds: int, places: Places = PLACES) -> list[Job]:
    """The runs that the rows under ``targets`` lack of that many seeds; each once, though several rows read it."""
    everything = {row.id: row for row in rows((), places.recipes)}
    jobs: dict[tuple[str, int], Job] = {}
    for row in rows(targets, places.recipes):
        source = everything.get(row.runs_of, row)
        done = source.results(places.results)
        minutes = median(run["seconds"] for run in done.values()) / 60 if done else source.minutes
        for seed in range(seeds):
            if seed not in done and source.recipe and (source.needs == "cpu" or places.device != "cpu"):
                jobs.setdefault((source.id, seed), Job(source, seed, minutes))
    return list(jobs.values())


def reproduce(
    targets: Iterable[str],
    *,
    seeds: int = 3,
    jobs: int = 1,
    places: Places = PLACES,
    tell: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run what is missing and return the status of every row; what stands in ``places.results`` is not run again.

    Raises ``Interrupted`` when it was stopped: every run under way has written its checkpoint, and the same call goes
    on.  Raises ``RunError`` before anything runs where its result could not be kept, and at the end for runs that
    failed."""
    targets = list(targets)
    find_device(places.device)
    queue = missing(targets, seeds, places)
    if queue:
        _check_writable(places.results, "choose another folder with --results, or allow writing there")
        _check_writable(places.runs, "start in a folder where checkpoints can be written")
    tell(plan(queue, jobs))
    failed = _Pool(queue, jobs, places, tell).work()
    if failed:
        raise RunError(f"{len(failed)} of {len(queue)} runs failed: {', '.join(failed)}; the reasons stand above")
    return [status(row, places.results) for row in rows(targets, places.recipes)]


def plan(queue: list[Job], jobs: int) -> str:
    """How much there is to do, in a line."""
    if not queue:
        return "nothing to run: every result that this device can bring is there"
    minutes = max(sum(job.minutes for job in queue) / jobs, max(job.minutes for job in queue))
    processes = "one process" if jobs == 1 else f"{jobs} processes"
    return f"{len(queue)} run{'s' * (len(queue) > 1)} to make, about {duration(minutes)} with {processes}"


def duration(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


class _Pool:
    """So many processes, each with one run at a time."""

    def __init__(self, queue: list[Job], jobs: int, places: Places, tell: Callable[[str], None]) -> None:
        self.waiting = list(queue)
        self.jobs, self.places, self.tell = jobs, places, tell
        self.running: dict[BaseProcess, tuple[Job, float]] = {}
        self.failed: list[str] = []

    def work(self) -> list[str]:
        """Until everything has run; returns those that failed."""
        try:
            with _kill_as_ctrl_c():
                while self.waiting or self.running:
                    while self.waiting and len(self.running) < self.jobs:
                        self._start(self.waiting.pop(0))
                    time.sleep(POLL)
                    for process in [process for process in self.running if process.exitcode is not None]:
                        self._end(process)
        except KeyboardInterrupt:
            raise Interrupted("stopped; go on with the same command") from None
        finally:
            for process in self.running:
                process.terminate()  # which lets it write its checkpoint
            for process in self.running:
                process.join()
        return self.failed

    def _start(self, job: Job) -> None:
        process = get_context("spawn").Process(target=work, args=(job.row, job.seed, self.places), daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
            self.running[process] = (job, time.perf_counter())

    def _end(self, process: BaseProcess) -> None:
        job, start = self.running.pop(process)
        if process.exitcode:
            self.failed.append(f"{job.row.id} seed {job.seed}")
            if process.exitcode < 0:  # it had no time to say anything
                self.tell(f"{job.row.id} seed {job.seed}: killed by signal {-process.exitcode}")
        else:
            run = job.row.results(self.places.results)[job.seed]
            minutes = (time.perf_counter() - start) / 60
            reached = f"{100 * run['test_accuracy'][-1]:.2f} %" if run["test_accuracy"][-1] is not None else "done"
            left = len(self.waiting) + len(self.running)
            self.tell(f"{job.row.id} seed {job.seed}: {reached} after {duration(minutes)}, {left} left")


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


def _check_writable(folder: Path, remedy: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        what = getattr(error, "strerror", None) or error
        raise RunError(f"cannot write in {shorten(folder, 120)}: {what}; {remedy}") from error


def work(row: Row, seed: int, places: Places) -> None:
    """One run, new or gone on with, and its result; a process ends here."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a signal to the group reaches the parent alone, which then asks once
    _stop_with_parent()
    assert row.recipe is not None  # missing() leaves such rows out
    path = places.runs / row.id / f"seed{seed}-{row.hash}"
    recipe = row.recipe.with_(seed=seed, threads=1, data_dir=places.data_dir, device=places.device)
    try:
        if (path / "checkpoint" / "state.json").exists():
            result = resume_run(path)
        else:
            if path.exists():
                RunDirectory(path).remove()  # it was killed before its first checkpoint
            result = run_recipe(recipe, out=path)
        record(row, seed, result, places)
    except Interrupted:
        sys.exit(130)
    except (RunError, DataError, ValueError, OSError) as error:
        print(f"altprop: {shorten(f'{row.id} seed {seed}: {error}')}", file=sys.stderr)
        sys.exit(2)


def _stop_with_parent() -> None:
    """Ask this process to stop as soon as its parent is gone, so that no run goes on that nobody waits for."""
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=follow, daemon=True).start()


def record(row: Row, seed: int, result: Result, places: Places) -> None:
    """The run as a small JSON: what it was, where it ran, and its curves."""
    assert row.recipe is not None
    curves = ("test_accuracy", "train_accuracy", "test_loss", "loss")
    metrics = result.metrics
    run: dict[str, Any] = {
        "row": row.id, "seed": seed, "recipe_hash": row.hash, "recipe": row.recipe.experiment(),
        "lr": result.recipe.rate_used, "act": result.recipe.act, "classes": result.rule.classes,
        "seconds": round(metrics[-1]["seconds"], 1), "environment": environment(places.device),
    }  # fmt: skip
    run |= {key: [_rounded(line[key]) for line in metrics] for key in curves}
    run |= {
        key: {layer: [_rounded((line.get(key) or {}).get(layer), 1) for line in metrics] for layer in metrics[-1][key]}
        for key in LAYERWISE
        if metrics[-1].get(key)
    }
    path = row.result_path(seed, places.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in run.items())
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
