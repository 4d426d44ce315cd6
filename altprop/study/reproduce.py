"""Run what a paper's table still lacks, over several processes of one thread each; it can be stopped at any moment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from altprop.data import DataError
from altprop.evolution.build import prepare
from altprop.evolution.directory import SearchDirectory
from altprop.evolution.experiment import Evolved, evaluate_search, resume_search, run_search
from altprop.evolution.recipe import SearchRecipe
from altprop.limits import shorten
from altprop.run.directory.files import sweep, write_atomically
from altprop.run.directory.folder import environment
from altprop.run.directory.records import LAYERWISE
from altprop.run.directory.store import RunDirectory
from altprop.run.experiment import Result, resume_run, run_recipe
from altprop.run.machine import find_device
from altprop.run.recipe import RunError
from altprop.study import pool
from altprop.study.papers import RECIPES, RESULTS, Row, rows, status

RUNS = Path("runs") / "reproduce"


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
    failed = _run(queue, jobs, places, tell)
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


def _run(queue: list[Job], jobs: int, places: Places, tell: Callable[[str], None]) -> list[str]:
    """Until everything has run; returns those that failed."""
    by_name = {f"{job.row.id} seed {job.seed}": job for job in queue}
    done: list[str] = []
    failed: list[str] = []

    def ended(run: pool.Ended) -> None:
        (failed if run.status else done).append(run.job.name)
        if run.status:
            if run.death:
                tell(f"{run.job.name}: {run.death}")
            return
        row, seed, _ = by_name[run.job.name]
        told = row.results(places.results)[seed]
        accuracy = told["test_accuracy"][-1] if told["test_accuracy"] else None
        reached = "done" if accuracy is None else f"{100 * accuracy:.2f} %"
        reached = _of_search(told) if "search" in told["recipe"] else reached
        left = len(queue) - len(done) - len(failed)
        tell(f"{run.job.name}: {reached} after {duration(run.seconds / 60)}, {left} left")

    waiting = [pool.Job(name, work, (job.row, job.seed, places)) for name, job in by_name.items()]
    pool.in_processes(waiting, jobs, ended)
    return failed


def _check_writable(folder: Path, remedy: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        what = getattr(error, "strerror", None) or error
        raise RunError(f"cannot write in {shorten(folder, 120)}: {what}; {remedy}") from error


def work(row: Row, seed: int, places: Places) -> None:
    """One run, new or gone on with, and its result; a process ends here."""
    assert row.recipe is not None  # missing() leaves such rows out
    path = places.runs / row.id / f"seed{seed}-{row.hash}"
    try:
        if isinstance(row.recipe, SearchRecipe):
            _record_search(row, seed, _searched(row.recipe.with_(seed=seed, data_dir=places.data_dir), path), places)
            return
        recipe = row.recipe.with_(seed=seed, threads=1, data_dir=places.data_dir, device=places.device)
        if (path / "checkpoint" / "state.json").exists():
            result = resume_run(path)
        else:
            if path.exists():
                RunDirectory(path).remove()  # it was killed before its first checkpoint
            result = run_recipe(recipe, out=path)
        record(row, seed, result, places)
    except (RunError, DataError, ValueError, OSError) as error:
        print(f"altprop: {shorten(f'{row.id} seed {seed}: {error}')}", file=sys.stderr)
        sys.exit(2)


def _searched(recipe: SearchRecipe, path: Path) -> Evolved:
    """A search's run, new or gone on with."""
    if (path / "checkpoint" / "state.json").exists():
        return resume_search(path)
    if path.exists():
        SearchDirectory(path).remove()  # it was killed before its first generation
    return run_search(recipe, out=path)


def _record_search(row: Row, seed: int, result: Evolved, places: Places) -> None:
    """A search's run as a small JSON: what it was, where it ran, its fitness by generation, and its champion asked
    anew."""
    assert row.recipe is not None and result.path is not None
    last, anew = result.metrics[-1], evaluate_search(result.path)
    solved = prepare(result.recipe).task.solved
    _write_result(row, seed, places, {
        "row": row.id, "seed": seed, "recipe_hash": row.hash, "recipe": row.recipe.experiment(),
        "evaluations": last["evaluations"], "generations": last["generation"], "failed": last["failed"],
        "solved": result.fitness is not None and result.fitness >= solved, "fitness": anew["fitness"],
        "told": last.get("told") or {}, "seconds": round(last["seconds"], 1), "environment": environment("cpu"),
        "best": [_rounded(line["best"]) for line in result.metrics],
        "test_accuracy": [_rounded(line["test_accuracy"]) for line in result.metrics if "test_accuracy" in line],
    })  # fmt: skip


def _of_search(run: dict[str, Any]) -> str:
    return f"{'solved' if run['solved'] else 'not solved'} after {run['evaluations']} evaluations"


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
    _write_result(row, seed, places, run)


def _write_result(row: Row, seed: int, places: Places, run: dict[str, Any]) -> None:
    path = row.result_path(seed, places.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in run.items())
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
