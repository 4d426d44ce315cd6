"""Where a sweep keeps its trials: a database of Optuna's, and what became of trials whose process has died.

A trial that runs tells of itself by its heartbeat, and by the machine and process that it runs in.  One that is dead
is marked as failed, and its values wait for the next process; one that has killed so many is the worst, and is left.
"""

from __future__ import annotations

import os
import platform
import uuid
from typing import Any

from altprop.limits import shorten
from altprop.run.recipe import RunError
from altprop.study.sampler import AGAIN, optuna
from altprop.study.trials import WORST

BEAT, GRACE = 30, 120  # seconds between two heartbeats, and without one until a trial on another machine is dead
DEATHS = 3  # of one trial's processes, after which it is not tried again
PROCESS, TOLD, DEAD, SURPLUS, STOPPED = "process", "told", "deaths", "surplus", "stopped"  # attributes of a trial
HERE = f"{platform.node()} {uuid.getnode():x}"


def open_storage(url: str) -> Any:
    """The database at a URL such as sqlite:///study.db; raises ``RunError`` where it cannot be reached."""
    package = optuna()
    engine = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}  # while another process writes
    try:
        return package.storages.RDBStorage(url, engine_kwargs=engine, heartbeat_interval=BEAT, grace_period=GRACE)
    except Exception as error:  # of a URL, a driver or a server, each of another package
        what = f"storage {shorten(url, 80)} cannot be used ({shorten(str(error).splitlines()[0], 110)})"
        raise RunError(f"{what}: give a URL of Optuna's, such as sqlite:///study.db, with its driver") from error


def finished(study: Any) -> list[Any]:
    """The trials that have ended, pruned ones among them."""
    states = optuna().trial.TrialState
    return study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))


def taken(study: Any, before: int | None = None) -> int:
    """How many trials have ended or run, all of them or those of a smaller number: each counts once, however often
    its process died."""
    states = optuna().trial.TrialState
    trials = study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.RUNNING))
    return sum(before is None or one.number < before for one in trials)


def take_up(study: Any) -> list[int]:
    """Let the values of every dead trial wait for the next process, once; returns the numbers of those trials."""
    package = optuna()
    states = package.trial.TrialState
    package.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        if _gone(trial.user_attrs.get(PROCESS, "")):
            _fail(study, trial)
    trials = study.get_trials(deepcopy=False)
    known = {one.user_attrs[AGAIN] for one in trials if AGAIN in one.user_attrs}
    dead = [one for one in trials if one.state == states.FAIL and SURPLUS not in one.user_attrs]
    dead = [one for one in dead if one.number not in known]
    for trial in dead:
        _again(study, trial)
    return [trial.number for trial in dead]


def _gone(process: str) -> bool:
    """Whether it ran on this machine, and runs no more; a sweep that begins runs none itself."""
    where, _, number = process.rpartition(" ")
    if where != HERE or os.name != "posix":
        return False  # its heartbeat tells
    if int(number) == os.getpid():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's, which it is
        return False
    return False


def _fail(study: Any, trial: Any) -> None:
    try:
        study.tell(trial.number, state=optuna().trial.TrialState.FAIL)
    except ValueError:  # another process was first
        return


def _again(study: Any, trial: Any) -> None:
    deaths = trial.user_attrs.get(DEAD, 0) + (STOPPED not in trial.user_attrs)
    told = {AGAIN: trial.number, DEAD: deaths}
    if deaths < DEATHS:
        study.enqueue_trial(trial.params, user_attrs=told)
        return
    told[TOLD] = f"its process died {deaths} times"
    kept = {"params": trial.params, "distributions": trial.distributions, "user_attrs": told}
    study.add_trial(optuna().create_trial(value=WORST, **kept))
