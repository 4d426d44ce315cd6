"""Fair tuning: every rule of a comparison gets as many trials, of one sampler, epochs, samples and seed.

A rule's trials run one after another, so that their numbers do not depend on how many rules run side by side; each
rule keeps them in ``tuning/RULE.json``, and a tuning that was stopped goes on from there to the same values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from altprop.data import Dataset
from altprop.limits import nearest, shorten
from altprop.run.directory.compared import Tried
from altprop.run.directory.files import failed_write, read_json, write_atomically
from altprop.run.learner import Learner
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import check_arguments, rule_arguments
from altprop.study.keys import started
from altprop.study.plan import SHARED, Plan
from altprop.study.sampler import drawn, silent
from altprop.study.space import Dimension, check_ends, parse_space
from altprop.study.trials import UNWATCHED, WORST, Judged, Samples, judged

DECADES = 3.0  # of learning rates, as many below as above that of the rule
FIRST_SEED = 1_000_000  # from which the seed of all trials is sought, since nobody compares that many


class Tuning(NamedTuple):
    """How every rule of a comparison is tuned."""

    trials: int
    space: Mapping[str, Dimension]  # of rules that have such keys; the learning rate is always searched


class Task(NamedTuple):
    """The tuning of one rule, as a process gets it."""

    rule: str
    recipe: Recipe
    space: Mapping[str, Dimension]
    start: Mapping[str, Any] | None  # the first trial: the recipe as it is, where the space holds that
    trials: int
    path: Path | None  # of its file


def make_tuning(trials: int, space: str | Mapping[str, Any] | None, rules: Sequence[str]) -> Tuning:
    """Raises ``RunError`` for a number of trials below 1, for what a comparison holds fixed, and for an argument that
    none of the rules has."""
    if trials < 1:
        raise RunError(f"tune = {trials} came: give how many trials every rule gets, such as 10")
    found = parse_space(space or {})
    for key in found:
        name = key.partition(".")[2]
        if key in SHARED:
            raise RunError(f"--space {key}=... came, but a comparison has one {key} for all rules: leave it out")
        known = [one for rule in rules for one in rule_arguments(rule)]
        if not any(_takes(rule, key, found[key]) for rule in rules):
            raise RunError(
                f"--space {shorten(key, 60)}=... came, but no rule has it{nearest(name, dict.fromkeys(known))}"
            )
    return Tuning(trials, found)


def tuning_seed(seeds: Sequence[int]) -> int:
    """That of all trials of all rules: none that the rules are then compared by."""
    return next(seed for seed in range(FIRST_SEED, FIRST_SEED + len(seeds) + 1) if seed not in seeds)


def make_task(plan: Plan, tuning: Tuning, rule: str, learner: Learner, val: float, out: Path | None) -> Task:
    """The trials of one rule.  Raises ``RunError`` for a space with values that its recipe does not take."""
    seed, told = tuning_seed(plan.seeds), learner.recipe
    recipe = plan.recipe(rule, seed).with_(val=val, epochs=told.epochs, **UNWATCHED)
    own = {key: one for key, one in tuning.space.items() if _takes(rule, key, one)}
    space = {**({} if "lr" in own else rates(told.lr or 0.01)), **own}
    check_ends(recipe, space)
    start = {key: started(told, key) for key in space}
    held = all(space[key].holds(value) for key, value in start.items())
    return Task(rule, recipe, space, start if held else None, tuning.trials, _file(out, rule))


def _file(out: Path | None, rule: str) -> Path | None:
    return None if out is None else out / "tuning" / f"{rule}.json"


def _takes(rule: str, key: str, dimension: Dimension) -> bool:
    """Whether a rule has such an argument, of that kind; every other key is of all."""
    head, _, name = key.partition(".")
    try:
        check_arguments(rule, {name: dimension.ends[0]} if head == "arguments" else {})
    except RunError:
        return False
    return True


def rates(lr: float) -> dict[str, Dimension]:
    """The learning rate on a logarithmic scale of ``DECADES``, around this one."""
    factor = 10 ** (DECADES / 2)
    return parse_space({"lr": f"log:{lr / factor:.3g}:{lr * factor:.3g}"})


def tune(task: Task, data: Dataset) -> dict[str, Any]:
    """The trials of one rule, those in its file among them: what ``Tried`` takes."""
    content = _begun(task)
    samples = _Fixed(data)
    with silent() as package:
        study = package.create_study(direction="maximize", pruner=package.pruners.NopPruner())
        for trial in content["trials"]:
            study.add_trial(_known(package, trial, task))
        if task.start is not None and not content["trials"]:
            study.enqueue_trial(dict(task.start))

        def objective(trial: Any) -> float:
            values = drawn(trial, task.space, task.recipe.seed)
            reached = judged(task.recipe, values, samples)
            content["trials"].append(_told(values, reached))
            if task.path is not None:
                write_atomically(task.path, json.dumps(content, indent=1))
            return reached.value

        study.optimize(objective, n_trials=max(0, task.trials - len(content["trials"])))
    return {**content, "trials": content["trials"][: task.trials]}


class _Fixed(Samples):
    """The same data for all trials."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self.data = data

    def of(self, recipe: Recipe) -> Dataset:
        return self.data


def _begun(task: Task) -> dict[str, Any]:
    """What stands in the file of a tuning that was stopped, or its beginning; raises ``RunError`` for one of another
    recipe or space."""
    decided = json.dumps(task.recipe.model_dump(exclude={"device", "threads", "data_dir"}), sort_keys=True)
    fresh: dict[str, Any] = {
        "rule": task.rule, "recipe": hashlib.sha256(decided.encode()).hexdigest()[:16],
        "space": {key: one.text for key, one in task.space.items()}, "seed": task.recipe.seed,
        "start": None if task.start is None else dict(task.start), "trials": [],
    }  # fmt: skip
    if task.path is None:
        return fresh
    if not task.path.exists():
        try:
            task.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise failed_write(task.path.parent, error) from error
        return fresh
    found = read_json(task.path, Tried, "remove it, and the rule is tuned anew")
    if any(found.get(key) != fresh[key] for key in ("rule", "recipe", "space", "seed", "start")):
        raise RunError(f"{task.path} holds trials of another recipe or space: choose another --out")
    return found


def _known(package: Any, trial: Mapping[str, Any], task: Task) -> Any:
    """A trial of the file as Optuna has it: judged at the place where it was."""
    value = WORST if trial["value"] is None else trial["value"]
    distributions = {key: one.distribution(package) for key, one in task.space.items()}
    return package.create_trial(params=dict(trial["values"]), distributions=distributions, value=value)


def _told(values: Mapping[str, Any], reached: Judged) -> dict[str, Any]:
    value = None if reached.value == WORST else reached.value
    return {"values": dict(values), "value": value, "told": reached.told, "epochs": reached.epochs}


def best_of(trials: Sequence[Mapping[str, Any]]) -> int | None:
    """The place of the best trial, the first of equal ones; None where none has ended."""
    ended = [place for place, trial in enumerate(trials) if trial["value"] is not None]
    return max(ended, key=lambda place: (trials[place]["value"], -place), default=None)
