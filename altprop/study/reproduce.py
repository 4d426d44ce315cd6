"""Run what a paper's table still lacks, over processes of one thread each, here or in a Ray cluster; it can be stopped
at any moment."""

from __future__ import annotations

import json
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
from altprop.pool.pool import Ended
from altprop.pool.pool import Job as Work
from altprop.pool.workers import Workers, run_jobs
from altprop.run.directory.files import sweep, write_atomically
from altprop.run.directory.folder import environment
from altprop.run.directory.records import LAYERWISE
from altprop.run.directory.store import RunDirectory
from altprop.run.experiment import Result, resume_run, run_recipe
from altprop.run.machine import find_device
from altprop.run.recipe import RunError
from altprop.study.papers import RECIPES, RESULTS, Row, rows, status

RUNS = Path("runs") / "reproduce"
TRIES = 3  # of a run whose process dies: it goes on from its checkpoint in another


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
    jobs: int | None = None,
    ray: str | None = None,
    places: Places = PLACES,
    tell: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run what is missing and return the status of every row; what stands in ``places.results`` is not run again.

    Raises ``Interrupted`` when it was stopped: every run under way has written its checkpoint, and the same call goes
    on.  Raises ``RunError`` before anything runs where its result could not be kept, and at the end for runs that
    failed.  jobs: processes [1]; ray: the address of a Ray cluster in their place, or "local" for a new one of them."""
    targets, workers = list(targets), Workers(jobs if jobs or ray else 1, ray)
    workers.check_device(places.device)
    find_device(places.device)
    queue = missing(targets, seeds, places)
    if queue:
        _check_writable(places.results, "choose another folder with --results, or allow writing there")
        _check_writable(places.runs, "start in a folder where checkpoints can be written")
    tell(plan(queue, workers))
    failed = _run(queue, workers, places, tell)
    if failed:
        raise RunError(f"{len(failed)} of {len(queue)} runs failed: {', '.join(failed)}; the reasons stand above")
    return [status(row, places.results) for row in rows(targets, places.recipes)]


def plan(queue: list[Job], workers: Workers) -> str:
    """How much there is to do, in a line."""
    if not queue:
        return "nothing to run: every result that this device can bring is there"
    jobs = workers.jobs or 1
    minutes = max(sum(job.minutes for job in queue) / jobs, max(job.minutes for job in queue))
    processes = "one process" if jobs == 1 else f"{jobs} processes"
    over = "" if workers.ray is None else f", over Ray at '{shorten(workers.ray, 60)}'"
    return f"{len(queue)} run{'s' * (len(queue) > 1)} to make, about {duration(minutes)} with {processes}{over}"


def duration(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _run(queue: list[Job], workers: Workers, places: Places, tell: Callable[[str], None]) -> list[str]:
    """Until everything has run; returns those that failed."""
    by_name = {f"{job.row.id} seed {job.seed}": job for job in queue}
    done: list[str] = []
    failed: list[str] = []

    def ended(run: Ended) -> None:
        wrong = run.death or run.value
        (failed if wrong else done).append(run.job.name)
        if wrong:
            tell(f"altprop: {shorten(f'{run.job.name}: {wrong}')}")
            return
        row, seed, _ = by_name[run.job.name]
        told = row.results(places.results)[seed]
        accuracy = told["test_accuracy"][-1] if told["test_accuracy"] else None
        reached = "done" if accuracy is None else f"{100 * accuracy:.2f} %"
        reached = _of_search(told) if "search" in told["recipe"] else reached
        left = len(queue) - len(done) - len(failed)
        tell(f"{run.job.name}: {reached} after {duration(run.seconds / 60)}, {left} left")

    run_jobs([Work(name, work, (job.row, job.seed, places), TRIES) for name, job in by_name.items()], workers, ended)
    return failed


def _check_writable(folder: Path, remedy: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        what = getattr(error, "strerror", None) or error
        raise RunError(f"cannot write in {shorten(folder, 120)}: {what}; {remedy}") from error


def work(row: Row, seed: int, places: Places) -> str:
    """One run, new or gone on with, and its result; returns what went wrong, or nothing."""
    assert row.recipe is not None  # missing() leaves such rows out
    path = places.runs / row.id / f"seed{seed}-{row.hash}"
    try:
        if isinstance(row.recipe, SearchRecipe):
            _record_search(row, seed, _searched(row.recipe.with_(seed=seed, data_dir=places.data_dir), path), places)
            return ""
        recipe = row.recipe.with_(seed=seed, threads=1, data_dir=places.data_dir, device=places.device)
        if (path / "checkpoint" / "state.json").exists():
            result = resume_run(path)
        else:
            if path.exists():
                RunDirectory(path).remove()  # it was killed before its first checkpoint
            result = run_recipe(recipe, out=path)
        record(row, seed, result, places)
    except (RunError, DataError, ValueError, OSError) as error:
        return str(error)
    return ""


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
