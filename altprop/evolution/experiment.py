"""One run of a search from end to end: ``evolve`` runs it, ``resume_search`` goes on, ``load_search`` gives it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from altprop.core import Search
from altprop.data import Dataset
from altprop.evolution.build import build_net, genome_of, inner_recipe, prepare
from altprop.evolution.champion import Alone, Answer, net_of, text_of
from altprop.evolution.directory import SearchDirectory
from altprop.evolution.evaluation import Evaluator
from altprop.evolution.evolving import Evolving
from altprop.evolution.recipe import CUSTOM, SearchRecipe, make_search_recipe
from altprop.limits import Interrupted, shorten
from altprop.pool.workers import ALONE, Workers
from altprop.run.directory.files import RunError, read_text
from altprop.run.directory.folder import check_free
from altprop.run.directory.store import describe
from altprop.run.directory.tensors import fill, read_tensors
from altprop.run.experiment import check_same_data, dataset_of
from altprop.run.isolated import isolated
from altprop.run.machine import within_memory
from altprop.run.model import Model
from altprop.run.stop import interruptible
from altprop.searches import SEARCHES
from altprop.searches.ground import Ground
from altprop.tasks import Task

FRESH = int.from_bytes(b"anew", "big")  # parts what a champion is asked anew from what it was chosen by
Report = Callable[[dict[str, Any]], None]  # hears of every generation's row of metrics


@dataclass(frozen=True)
class Evolved:
    """A finished run of a search.  ``net, model = evolved`` unpacks these two."""

    recipe: SearchRecipe
    net: nn.Module  # the champion, in eval mode
    model: Model  # from raw samples to outputs
    fitness: float | None  # of the champion
    metrics: list[dict[str, Any]]  # one row a generation
    path: Path | None
    search: Search[Any] | None = None  # of a run that has just ended
    genome: str | None = None  # the champion as JSON, where it is a graph or a tree

    def __iter__(self) -> Iterator[Any]:
        return iter((self.net, self.model))

    def summary(self) -> dict[str, Any]:
        """What ``altprop train --json`` prints."""
        last = self.metrics[-1]
        keys = ("generation", "evaluations", "failed", "best", "seconds")
        tested = {key: value for key, value in last.items() if key.startswith("test_")}
        recipe = self.recipe
        return {
            "search": recipe.search, "task": recipe.task, "data": recipe.data, "net": recipe.net, "seed": recipe.seed,
            **{key: last[key] for key in keys}, **tested, "told": last.get("told") or None,
            "watch": last["watch"] or None, "run": None if self.path is None else str(self.path),
        }  # fmt: skip


def evolve(
    search: str, task: str | Task | None = None, *, data: Any = None, net: str | nn.Module | None = None,
    out: str | Path | None = None, jobs: int | None = None, ray: str | None = None, report: Report | None = None,
    **settings: Any,
) -> Evolved:  # fmt: skip
    """Run one search on one task, as ``altprop train SEARCH --task TASK`` does.

    task: a name of ``altprop.tasks.TASKS`` or a ``Task``; data in its place: what ``fit`` takes.  net: a spec string or
    a module whose parameters are searched.  jobs: processes that evaluate a generation; ray: the address of a Ray
    cluster that does, or "local" for a new one of so many processes; the numbers are the same whatever their number.
    report: called after every generation with its row.  settings: the other keys of ``SearchRecipe``: generations,
    seed, arguments, ...
    Raises one-line errors, and ``Interrupted``."""
    own, named = task if isinstance(task, Task) else None, isinstance(data, str | Path)
    module = net if isinstance(net, nn.Module) else None
    recipe = make_search_recipe(
        search=search, task=CUSTOM if own is not None else task,
        data=str(data) if named else None if data is None else CUSTOM, net=net if module is None else None,
        **settings,
    )  # fmt: skip
    with isolated() as lend:
        given = None if named or data is None else dataset_of(data, inner_recipe(recipe))
        return run_search(recipe, own, module, given, out=out, workers=Workers(jobs, ray), report=lend(report))


@within_memory()
@isolated()
def run_search(
    recipe: SearchRecipe, task: Task | None = None, net: nn.Module | None = None, data: Dataset | None = None, *,
    out: str | Path | None = None, workers: Workers = ALONE, report: Report | None = None,
) -> Evolved:  # fmt: skip
    """``evolve`` for a recipe."""
    if out is not None:
        check_free(Path(out))
    evolving = prepare(recipe, task, net, data, shared=bool(workers))
    run = None if out is None else SearchDirectory.create(Path(out), evolving.recipe, evolving.task, evolving.data)
    try:
        return _run(evolving, run, [], workers, report)
    finally:
        if run is not None and not (run.checkpoint / "state.json").exists():
            run.remove()  # it failed before its first generation


@within_memory()
@isolated()
def resume_search(
    path: str | Path, *, task: Task | None = None, net: nn.Module | None = None, data: Any = None,
    workers: Workers = ALONE, report: Report | None = None,
) -> Evolved:  # fmt: skip
    """Go on with a run that was stopped, to the bit, by any number of processes; one that has ended is only read.

    task, net, data: those of a run that was given them from Python."""
    run = SearchDirectory.open(Path(path))
    if run.ended:
        return load_search(path, net=net)
    tensors, state = run.restore()
    recipe = run.recipe()
    given = None if data is None else dataset_of(data, inner_recipe(recipe))
    evolving = prepare(recipe, task, net, given)
    if evolving.data is not None:
        check_same_data(run.data() or {}, evolving.data)
    try:
        evolving.load(tensors)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        what = f"the checkpoint in {shorten(run.path, 80)} does not fit its recipe ({shorten(error, 120)})"
        raise RunError(f"{what}: start the run anew") from error
    evolving.seconds = state["seconds"]
    return _run(evolving, run, run.metrics(state["step"]), workers, report)


def _run(
    evolving: Evolving, run: SearchDirectory | None, rows: list[dict[str, Any]], workers: Workers, report: Report | None
) -> Evolved:
    torch.set_num_threads(evolving.recipe.threads or 1)
    with interruptible() as stop, _evaluator(evolving, workers) as evolving.evaluator:
        while not evolving.done:
            evolving.step()
            rows.append(evolving.row())
            if run is not None:
                run.log(rows[-1])
                run.save(evolving.state(), {"step": evolving.search.generation, "seconds": evolving.seconds})
            if report is not None:
                report(rows[-1])
            if stop.is_set() and not evolving.done:
                raise Interrupted
    net, genome = evolving.champion(), None if evolving.best is None else text_of(evolving.best)
    if run is not None:
        evolving.task.film(Alone(net, len(evolving.task.inputs)), run.path / "champion.gif")
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in net.state_dict().items()}
        run.finish(safetensors.torch.save(state), {} if genome is None else {"champion.json": genome})
    path = None if run is None else run.path
    told = _described(evolving.task.inputs) if evolving.data is None else describe(evolving.data)
    model = _model(evolving.recipe, told, net)
    return Evolved(evolving.recipe, net, model, evolving.reached, rows, path, evolving.search, genome)


def load_search(path: str | Path, *, net: nn.Module | None = None) -> Evolved:
    """Champion and model of a run that has ended.  net: an untrained copy of one that was given from Python.

    Raises ``RunError`` for a path that is no run of a search, or a damaged or an unfinished one."""
    run = SearchDirectory.open(Path(path))
    recipe, asked, genome = run.recipe(), run.asked(), None
    if not run.ended:
        raise RunError(f"{run.path} has not ended: go on with it by altprop train --resume {run.path}")
    tensors, rows = read_tensors(run.path / "model.safetensors"), run.metrics()
    if genome_of(recipe.search) != "vector":
        genome = read_text(run.path / "champion.json", "the champion's genome")
        ground = Ground(prod(asked["inputs"]), asked["outputs"], recipe.seed)
        search = SEARCHES[recipe.search].on(ground, **recipe.arguments)  # type: ignore[attr-defined]
        net = net_of(search.individual(search.read(genome)))
    elif recipe.net is None:
        net = Answer(torch.zeros(tensors["vector"].shape if "vector" in tensors else 0))
    elif net is None:
        net = build_net(recipe, tuple(asked["inputs"]), asked["outputs"])
    fill(net.eval(), tensors, run.path)
    model = _model(recipe, run.data() or _described(asked["inputs"]), net)
    return Evolved(recipe, net, model, rows[-1]["best"] if rows else None, rows, run.path, genome=genome)


@within_memory()
@isolated()
def evaluate_search(path: str | Path, times: int = 20) -> dict[str, Any]:
    """The champion of a run asked anew: its mean fitness over so many draws of its task, none of which it was chosen
    by, what it does, and on data how it does on the test part."""
    loaded = load_search(path)
    evolving = prepare(loaded.recipe)
    task, alone = evolving.task, Alone(loaded.net, len(evolving.task.inputs))
    anew = [task.fitness(alone, torch.Generator().manual_seed(FRESH + time)) for time in range(times)]
    fitness = torch.cat([f.detach().cpu().double() for f in anew])  # (times,)
    unseen = {} if evolving.unseen is None else evolving.unseen.told(alone)
    return {
        "run": str(path), "search": loaded.recipe.search, "task": loaded.recipe.task, "data": loaded.recipe.data,
        "fitness": float(fitness.mean()), "fitness_std": float(fitness.std(correction=0)), "times": times,
        **task.told(alone), **{f"test_{key}": value for key, value in unseen.items()},
    }  # fmt: skip


def _evaluator(evolving: Evolving, workers: Workers) -> Evaluator:
    return Evaluator(evolving.task, evolving.recipe.seed, evolving.recipe.parts or 1, workers)


def _model(recipe: SearchRecipe, description: dict[str, Any], net: nn.Module) -> Model:
    """From raw samples to outputs."""
    core = net if genome_of(recipe.search) == "vector" else nn.Sequential(nn.Flatten(), net)
    return Model(core, description, recipe.loss or "mse").eval()


def _described(inputs: Sequence[int]) -> dict[str, Any]:
    """What is known of samples that no data have shown."""
    return {"shape": list(inputs), "classes": [], "scaling": None}
