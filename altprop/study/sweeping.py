"""The trials of a sweep: each asked of the study, run, and told to it, here or in processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from altprop.core import Refused
from altprop.data import DataError
from altprop.limits import Interrupted, shorten
from altprop.pool.pool import Ended, Job
from altprop.pool.workers import Workers, run_jobs
from altprop.run.recipe import Recipe, RunError
from altprop.study.sampler import drawn, optuna, silent
from altprop.study.space import Dimension
from altprop.study.storage import DEAD, HERE, PROCESS, STOPPED, SURPLUS, TOLD, finished, open_storage, take_up, taken
from altprop.study.trials import WORST, Samples, judged

STARTED = 5  # trials that end before any is pruned
DATABASE = "study.db"  # of a sweep in a folder of its own
Tell = Callable[[dict[str, Any], int, int], None]  # hears (a trial that has ended, how many have, of how many)


class Task(NamedTuple):
    """What a process must know to run a trial of a sweep."""

    recipe: Recipe  # with a validation part, and the epochs of all trials
    space: Mapping[str, Dimension]
    start: Mapping[str, Any] | None  # the first trial: the recipe as it is, where the space holds that
    trials: int
    storage: str | None  # None: in memory
    name: str  # of the study
    prune: bool
    given: Any  # data from Python


class Surplus(RunError):
    """A trial that was begun when another process had begun the last one."""


def opened(task: Task) -> Any:
    """The study, which is made where there is none of its name."""
    package = optuna()
    spared = 1 + max(1, (task.recipe.epochs or 1) // 5)  # the first epoch by which a trial may end
    kind = package.pruners.MedianPruner(STARTED, spared) if task.prune else package.pruners.NopPruner()
    storage = None if task.storage is None else open_storage(task.storage)
    return package.create_study(
        storage=storage, study_name=task.name, direction="maximize", pruner=kind, load_if_exists=True
    )


def begun(task: Task, out: Path | None) -> Any:
    """The study with its first trial; raises ``RunError`` where its folder holds another one."""
    if out is not None and (out / DATABASE).is_file():
        names = optuna().get_all_study_names(open_storage(task.storage or ""))
        if [name for name in names if name != task.name] and task.storage == url_of(out):
            raise RunError(f"{shorten(out, 100)} holds the study of another recipe or space: choose another --out")
    study = opened(task)
    if task.start is not None and not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(task.start), skip_if_exists=True)
    return study


def url_of(out: Path) -> str:
    return f"sqlite:///{(out / DATABASE).resolve()}"


def run_all(task: Task, study: Any, workers: Workers, tell: Tell) -> None:
    """Until so many trials have ended or run elsewhere; those of processes that have died are taken up again."""
    deaths: list[str] = []
    samples, before = Samples(task.given), -1
    while True:
        dead = take_up(study)
        left, count = task.trials - taken(study), len(finished(study))
        if left <= 0 or (count == before and not dead):
            break
        before = count
        if not workers:
            for _ in range(left):
                _tell_all(_one(task, study, samples), task, study, tell)
            continue

        def ended(process: Ended) -> None:
            if isinstance(process.value, RunError):
                raise process.value
            if process.death:
                deaths.append(process.death)
            _tell_all(process.value, task, study, tell)

        run_jobs([Job(f"trial {number}", work, (task,)) for number in range(left)], workers, ended)
    if deaths and taken(study) < task.trials:
        raise RunError(f"{len(deaths)} processes died, {deaths[-1]}: go on with the same command, with fewer --jobs")


def _tell_all(number: int | None, task: Task, study: Any, tell: Tell) -> None:
    """Of one trial, by its number; None of one that nobody asked for."""
    if number is not None:
        trial = next(one for one in study.get_trials(deepcopy=False) if one.number == number)
        tell(told_of(trial), len(finished(study)), task.trials)


def work(task: Task) -> int | RunError | None:
    """A trial in a process of its own."""
    try:
        with silent():
            return _one(task, opened(task), Samples(task.given))
    except (RunError, Refused, DataError, OSError) as error:
        return RunError(str(error))


def _one(task: Task, study: Any, samples: Samples) -> int | None:
    """The number of the next trial, when it has ended; None where there was none left to begin."""
    numbers: list[int] = []

    def objective(trial: Any) -> float:
        trial.set_user_attr(PROCESS, f"{HERE} {os.getpid()}")
        if taken(study, before=trial.number) >= task.trials:
            trial.set_user_attr(SURPLUS, True)
            raise Surplus("every trial has begun elsewhere")
        numbers.append(trial.number)
        values = drawn(trial, task.space, task.recipe.seed)

        def report(value: float, epoch: int) -> None:
            trial.report(value, epoch)
            trial.set_user_attr("epochs", epoch)
            if trial.should_prune():
                raise optuna().TrialPruned

        try:
            reached = judged(task.recipe, values, samples, report)
        except (Interrupted, KeyboardInterrupt):
            trial.set_user_attr(STOPPED, True)
            raise
        trial.set_user_attr("epochs", reached.epochs)
        if reached.told:
            trial.set_user_attr(TOLD, reached.told)
        return reached.value

    try:
        study.optimize(objective, n_trials=1, catch=(Surplus,))
    except optuna().exceptions.StorageInternalError as error:
        what = f"the study's storage failed ({shorten(error, 120)})"
        raise RunError(f"{what}: check it, and go on with the same command") from error
    return numbers[0] if numbers else None


def told_of(trial: Any) -> dict[str, Any]:
    """A trial as a table and JSON have it; of one that was pruned no value, since its epochs are fewer."""
    complete = trial.state == optuna().trial.TrialState.COMPLETE and trial.value != WORST
    return {
        "number": trial.number, "values": dict(trial.params), "value": trial.value if complete else None,
        "state": trial.state.name.lower(), "told": trial.user_attrs.get(TOLD, ""),
        "epochs": trial.user_attrs.get("epochs", 0), "after_death": trial.user_attrs.get(DEAD, 0) > 0,
    }  # fmt: skip
