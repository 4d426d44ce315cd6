"""A sweep: trials of one recipe over a space of values, in one study of Optuna's, over processes and machines.

The same command goes on with a study that was stopped or killed, and takes part in one that runs elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altprop.data import Dataset
from altprop.pool.workers import ALONE, Workers
from altprop.run.build import prepare, resolve
from altprop.run.directory.files import failed_write, write_atomically
from altprop.run.directory.folder import check_free
from altprop.run.isolated import isolated
from altprop.run.machine import within_memory
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import make_recipe
from altprop.study.keys import changes, started, value_in
from altprop.study.sampler import optuna, silent
from altprop.study.space import Dimension, check_ends, edges, parse_space
from altprop.study.sweeping import DATABASE, Task, Tell, begun, run_all, told_of, url_of
from altprop.study.trials import UNWATCHED, Samples, share

BEST = "best.toml"  # the recipe with the best values
TRIALS, SHOWN = 20, 10  # by default; in the table


@dataclass(frozen=True, repr=False)
class Sweep:
    """What a sweep has found; printed it is its table."""

    content: dict[str, Any]  # what ``altprop sweep --json`` prints
    recipe: Recipe | None  # with the best values, for the whole training part; None where no trial has ended
    path: Path | None

    @property
    def best(self) -> dict[str, Any] | None:
        """The best values."""
        return self.content["best"]

    def __repr__(self) -> str:
        from altprop.reports.terminal import sweep_text  # with rich, which only a table needs

        return sweep_text(self.content)


def sweep(
    rule: str,
    net: str | None = None,
    data: Any = "digits",
    *,
    space: str | Mapping[str, Any] = "lr=log:1e-4:1",
    trials: int = TRIALS,
    storage: str | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    prune: bool = True,
    out: str | Path | None = None,
    progress: Tell | None = None,
    **recipe: Any,
) -> Sweep:
    """Search the settings of one rule, as ``altprop sweep`` does; the test part of the data is not looked at.

    data: as ``fit`` takes them.  space: see ``altprop.study.space``, such as {"lr": "log:1e-4:1", "batch": [32, 64]}.
    trials: of the whole study, those of other processes on it and of earlier calls among them.  storage: any URL of
    Optuna's.  jobs: processes of one thread each, in a script below ``if __name__ == "__main__":``.  ray: the address
    of a Ray cluster in their place.  prune: whether a trial ends that is below the median of those before it at the
    same epoch.  out: a directory for the study, where
    ``storage`` names none, and for best.toml; a study in it is gone on with.  progress: hears of every trial.
    recipe: the other keys of ``Recipe``; val is .1 where it is not given, seed that of the sampler too.
    Raises one-line errors as ``fit`` does, and ``Interrupted``."""
    named = isinstance(data, str | Path)
    if net is not None and not isinstance(net, str):
        what = f"net of type {type(net).__name__} came"
        raise RunError(f"{what}: give a spec such as '784-256-10', each trial builds its own")
    base = make_recipe(rule=rule, net=net, data=str(data) if named else "custom", **recipe)
    given, path = None if named else data, None if out is None else Path(out)
    return run_sweep(base, parse_space(space), trials, path, storage, Workers(jobs, ray), prune, given, progress)


@within_memory()
@isolated()
def run_sweep(
    base: Recipe, space: Mapping[str, Dimension], trials: int, out: Path | None, storage: str | None = None,
    workers: Workers = ALONE, prune: bool = True, given: Any = None, progress: Tell | None = None,
) -> Sweep:  # fmt: skip
    """``sweep`` for a recipe and a space."""
    optuna()  # which says at once that it is not there
    task, decided, data = _checked(base, space, trials, workers, prune, given)
    if workers and out is None and storage is None:
        raise RunError(f"{workers} came without out or storage: name a folder or a URL that the processes share")
    task = task._replace(storage=_own_storage(out, storage))

    def tell(trial: dict[str, Any], done: int, total: int) -> None:
        _kept(task, study, decided, data, out)
        if progress is not None:
            progress(trial, done, total)

    with silent():
        study = begun(task, out)
        run_all(task, study, workers, tell)
        return _kept(task, study, decided, data, out)


def study_name(recipe: Recipe, space: Mapping[str, Dimension]) -> str:
    """Of what decides the trials, so that the same command finds its study, and no other does."""
    decided = {**recipe.experiment(), "seed": recipe.seed, "space": {key: one.text for key, one in space.items()}}
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:8]
    return f"sweep-{Path(recipe.data).stem}-{recipe.rule}-seed{recipe.seed}-{digest}"


def _checked(
    base: Recipe, space: Mapping[str, Dimension], trials: int, workers: Workers, prune: bool, given: Any
) -> tuple[Task, Recipe, Dataset]:
    """(What every trial is made of, the recipe for the whole training part, the data of the trials); raises what the
    first trial would."""
    if trials < 1 or not space:
        what = "an empty space" if not space else f"trials = {trials}"
        raise RunError(f"{what} came: give 1 trial or more, and a space such as lr=log:1e-4:1")
    threads = workers.threads(base.threads, base.device)
    recipe = base.with_(val=share(base, given), threads=threads, **UNWATCHED)
    check_ends(recipe, space)
    data = Samples(given).of(recipe)
    first = {key: one.ends[0] for key, one in space.items() if value_in(recipe, key) is None}
    prepare(recipe.with_(**changes(recipe, first)), data)
    epochs = resolve(base, data).epochs  # which would be others for the whole training part, where that is larger
    start = {key: started(resolve(recipe, data), key) for key in space}
    held = all(one.holds(start[key]) for key, one in space.items())
    task = Task(
        recipe.with_(epochs=epochs), space, start if held else None, trials, None, study_name(base, space), prune, given
    )
    return task, base.with_(val=0.0, epochs=epochs), data


def _own_storage(out: Path | None, storage: str | None) -> str | None:
    """The URL of the study, in the folder where nobody names another."""
    if out is None:
        return storage
    if not (out / DATABASE).is_file() and not (out / BEST).is_file():
        check_free(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failed_write(out, error) from error
    return storage or url_of(out)


def _kept(task: Task, study: Any, decided: Recipe, data: Dataset, out: Path | None) -> Sweep:
    """What there is so far, and in the folder its best recipe and its trials."""
    trials = [told_of(trial) for trial in study.get_trials(deepcopy=False)]
    ended = sorted((one for one in trials if one["value"] is not None), key=lambda one: (-one["value"], one["number"]))
    best, recipe = (ended[0]["values"] if ended else None), None
    if best is not None:
        own = task.recipe.with_(**changes(task.recipe, best))
        whole = resolve(own, data)
        recipe = whole.with_(**{key: getattr(decided, key) for key in ("val", "threads", "measure", "probe")})
    content = _content(task, trials, ended, recipe, out)
    if out is not None and recipe is not None:
        write_atomically(out / BEST, recipe.toml())
        write_atomically(out / "sweep.json", json.dumps(content, indent=1))
    return Sweep(content, recipe, out)


def _content(
    task: Task, trials: list[dict[str, Any]], ended: list[dict[str, Any]], recipe: Recipe | None, out: Path | None
) -> dict[str, Any]:
    best = ended[0] if ended else None
    states = Counter(one["told"].split(" ")[0] if one["told"] else one["state"] for one in trials)
    taken_up = sum(one["after_death"] for one in trials)
    edge = [*edges(task.space, best["values"], (one["values"] for one in trials))] if best else []
    notes = [f"{key} = {best['values'][key]} lies near an end of its range: widen it" for key in edge] if best else []
    notes += [f"trial {one['number']}: {one['told']}" for one in trials if one["told"]]
    notes += [f"{taken_up} trials were taken up again after their process had died"] * bool(taken_up)
    left = None if out is None or best is None else str(out / BEST)
    notes += [f"go on with: altprop train --config {left}"] * (left is not None)
    shown = recipe or task.recipe
    return {
        "study": task.name, "rule": shown.rule, "data": shown.data, "net": shown.net, "epochs": task.recipe.epochs,
        "val": task.recipe.val, "seed": task.recipe.seed, "trials": task.trials, "counts": dict(states),
        "space": {key: one.text for key, one in task.space.items()}, "best": best and best["values"],
        "value": best and best["value"], "edge": edge, "best_trials": ended[:SHOWN], "notes": notes,
        "recipe": left,
    }  # fmt: skip
