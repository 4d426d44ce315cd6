"""One run from end to end: ``fit`` trains, ``load`` gives it back, ``evaluate_run`` and ``predict`` use it."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from altprop.core import Layer, RuleWarning
from altprop.data import Dataset, advice, from_torch
from altprop.run.build import build_net, build_rule, prepare
from altprop.run.course import Course, Position, Stopping, alone
from altprop.run.directory.files import write_atomically
from altprop.run.directory.folder import check_free
from altprop.run.directory.store import RunDirectory, describe
from altprop.run.directory.tensors import fill
from altprop.run.head import scratch_of
from altprop.run.inputs import example_of, load_data, preprocessed, suited_data
from altprop.run.isolated import borrowed, isolated
from altprop.run.learner import Learner
from altprop.run.machine import find_device, within_memory
from altprop.run.metrics import judge, standard, test_scores, units_of
from altprop.run.model import Model, inference
from altprop.run.recipe import Recipe, RunError
from altprop.run.result import Loaded, Result
from altprop.run.team import ALONE, Team
from altprop.run.train import CHECKPOINT_SECONDS, Diverged, Progress, course, resume
from altprop.run.values import make_recipe
from altprop.suits import RULE

Report = Callable[[dict[str, Any]], None]  # hears of every epoch's row of metrics


def fit(
    rule: str = RULE,
    net: str | nn.Module | None = None,
    data: Any = "digits",
    *,
    cuts: Sequence[Layer] | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
    sample_weight: Any = None,
    **settings: Any,
) -> Result:
    """Train one net by one rule, as ``altprop train`` does.  The net comes back in eval mode; random state and threads
    are as they were, and ``progress`` and ``report`` run in the caller's own.

    net: a spec string, an ``nn.Sequential``, a module whose forward is a chain, or any other with ``cuts``, its layers.
    data: a name, a path, a ``Dataset``, or what ``data.from_torch`` takes: a pair (x, y) of arrays, lists or frames, a
    dict of x and y, a frame with a column ``label``, a torch Dataset or DataLoader, or two of these as
    {"train": ..., "test": ...}.  out: the run directory, if one is wanted.
    report: called after every epoch with its row of metrics, a dict with epoch, step, losses and accuracies.
    sample_weight (N,): what each sample counts, all of the training part that was given.  settings: the other keys of
    ``Recipe``, such as class_weight ("balanced", one number a class, or {class: number}).
    Raises one-line errors as ``prepare`` does, and ``Interrupted``."""
    beside = sorted({"act", "dropout", "bias", "init"} & settings.keys())
    if isinstance(net, nn.Module) and beside:
        raise RunError(f"{beside[0]} came beside a net that is built already: build it so, or give a spec string")
    if cuts is not None and not isinstance(net, nn.Module):
        raise RunError("cuts came without the net that they are made of: give it beside them, as net=module")
    named = isinstance(data, str | Path)
    spec, module = (net, None) if isinstance(net, str) else (None, net)
    recipe = make_recipe(rule=rule, net=spec, data=str(data) if named else "custom", **settings)
    if named and sample_weight is not None:
        raise RunError(f"sample_weight came for data that '{data}' names: give arrays, or class_weight instead")
    with isolated() as lend:
        dataset = None if named else dataset_of(data, recipe, sample_weight)
        return run_recipe(recipe, dataset, module, cuts=cuts, out=out, progress=lend(progress), report=lend(report))


@within_memory()
@isolated()
def run_recipe(
    recipe: Recipe,
    data: Dataset | None = None,
    net: nn.Module | None = None,
    *,
    cuts: Sequence[Layer] | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
    team: Team = ALONE,
) -> Result:
    """``fit`` for a recipe; ``data`` and ``net``, cut as ``cuts`` say, stand in for those that it names.

    team: who trains; the run directory is that of the process that leads."""
    if out is not None:
        check_free(Path(out))
    with borrowed(net):
        learner = prepare(recipe, data, net, cuts=cuts)
        run = None if out is None else RunDirectory.create(Path(out), learner.recipe, learner.data)
        return alone(_train(learner, run, team.interruptible, progress, report, team))


@isolated()
def resume_run(
    path: str | Path,
    progress: Progress | None = None,
    report: Report | None = None,
    net: nn.Module | None = None,
    data: Any = None,
    sample_weight: Any = None,
    cuts: Sequence[Layer] | None = None,
    team: Team = ALONE,
) -> Result:
    """Go on with a run that was stopped, to the bit; one that has ended is only read.

    net, data, sample_weight, cuts: those of a run that was given them from Python."""
    run = RunDirectory.open(Path(path))
    run.restore()  # a damaged checkpoint is told before the data are loaded
    recipe = run.recipe()
    dataset = _given(recipe, data, run.data(), sample_weight) or load_data(recipe, run.table())
    return resume_recipe(run.path, dataset, net, progress, report, cuts, team)


@within_memory()
@isolated()
def resume_recipe(
    path: Path,
    data: Dataset | None = None,
    net: nn.Module | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
    cuts: Sequence[Layer] | None = None,
    team: Team = ALONE,
) -> Result:
    """``resume_run`` with data that are split and scaled already."""
    with borrowed(net):
        learner, run = _reopened(path, data, net, cuts)
        return alone(_train(learner, run if team.leads else None, team.interruptible, progress, report, team, run))


def _reopened(
    path: Path, data: Dataset | None, net: nn.Module | None = None, cuts: Sequence[Layer] | None = None
) -> tuple[Learner, RunDirectory]:
    run = RunDirectory.open(path)
    learner = prepare(run.recipe(), data, net, cuts=cuts)
    check_same_data(run.data(), learner.data)
    weighted = learner.data.weights is not None
    if run.data().get("weighted", False) != weighted:
        what = f"{path} was trained {'without' if weighted else 'with'} weights of its samples"
        raise RunError(f"{what}: go on with the same, as sample_weight=...")
    return learner, run


def begin(recipe: Recipe, data: Dataset, out: Path | None, begun: bool, stopping: Stopping) -> Course[Result]:
    """``run_recipe``, or ``resume_recipe`` where a run was ``begun`` in ``out``, as a course that somebody else steps:
    who does keeps the random state of each, and isolates all of them."""
    if out is not None and begun:
        learner, run = _reopened(out, data)
        return (yield from _train(learner, run, stopping, begun=run))
    if out is not None:
        check_free(out)
    learner = prepare(recipe, data)
    made = None if out is None else RunDirectory.create(out, learner.recipe, learner.data)
    return (yield from _train(learner, made, stopping))


def _train(
    learner: Learner, run: RunDirectory | None, stopping: Stopping, progress: Any = None, report: Any = None,
    team: Team = ALONE, begun: RunDirectory | None = None,
) -> Course[Result]:  # fmt: skip
    """Train what ``begun`` holds of a run to its end, or all of it; ``run`` is written, where this process does so."""
    position, fresh, learner.team = Position(), begun is None, team
    try:
        if begun is not None and begun.ended:
            fill(learner.rule, begun.finished(), begun.path)
            position.rows = begun.metrics()
        else:
            with scratch_of(learner, run) if any(turn.head for turn in learner.turns) else nullcontext():
                position = position if begun is None else resume(learner, begun)
                fresh = position.step == 0
                team.join(learner)
                yield from course(learner, position, run, stopping, progress, report)
            learner.let_all_learn()
            if run is not None:
                run.finish(learner.net.state_dict(), learner.rule.state_dict())
        if run is not None and not (run.path / "measures.json").exists():
            from altprop.panels import look  # whose pictures read matplotlib, which nothing else here needs

            measures = look(learner.rule, learner.data, position.rows, everything=learner.recipe.probe)
            measures |= {name: {"refused": why} for name, why in position.refused.items()}
            if measures:
                write_atomically(run.path / "measures.json", json.dumps(measures))
    except Diverged:
        if run is not None and fresh and position.seconds < CHECKPOINT_SECONDS:
            run.remove()  # going on with it would end there again, as soon
        raise
    finally:
        if run is not None and not (run.checkpoint / "state.json").exists():
            run.remove()  # it failed before its first checkpoint: nothing in it could be used
    learner.hand_back()
    path, last = (None if run is None else run.path), position.rows[-1]
    held_against = standard(last["test_accuracy"], learner.data.y_test)
    learned, whitening = inference(learner.rule), learner.data.whitening
    model = Model(learned, describe(learner.data), learner.recipe.loss or "", whitening).eval()
    scores = test_scores(learner.rule, learner.data)
    return Result(learner.recipe, learner.net, learner.rule, position.rows, path, model, scores, held_against)


@within_memory()
@isolated()
def load(run: str | Path, net: nn.Module | None = None, cuts: Sequence[Layer] | None = None) -> Loaded:
    """Net, rule and model of a run directory, on the CPU in eval mode.  ``net``: an untrained copy of a net given from
    Python, and ``cuts`` its layers, where they were given too.

    Raises ``RunError`` for a path that is no run, or a damaged one."""
    directory = RunDirectory.open(Path(run))
    recipe, data = directory.recipe(), directory.data()
    tensors, whitening = directory.finished(), directory.whitening()
    try:
        net = build_net(recipe, tuple(data["shape"]), data["outputs"]) if net is None else net
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuleWarning)  # said when it was trained
            rule = build_rule(recipe, net, example_of(data["shape"], net), cuts)
        fill(rule, tensors, directory.path)
        model = Model(inference(rule), data, recipe.loss or "", whitening).eval()
    except (KeyError, TypeError, RuntimeError) as error:
        what = f"{directory.path} does not fit its recipe ({str(error).splitlines()[0]})"
        raise RunError(f"{what}: it is damaged, train it anew") from error
    rule.eval()
    return Loaded(net, rule, model)


@within_memory()
@isolated()
def evaluate_run(
    path: str | Path, device: str = "cpu", data: Any = None, net: nn.Module | None = None
) -> dict[str, Any]:
    """Loss and accuracy of a run on the test part of its data; data, net: those that were given from Python."""
    directory = RunDirectory.open(Path(path))
    recipe = directory.recipe()
    rule = load(path, net).rule.to(find_device(device))
    dataset = _given(recipe, data, directory.data()) or load_data(recipe, directory.table())
    check_same_data(directory.data(), dataset)
    dataset = suited_data(dataset, rule.net).to(device)
    reached = judge(rule, dataset.x_test, dataset.y_test, units_of(dataset))
    return {
        "run": str(path), "rule": recipe.rule, "data": recipe.data, "net": recipe.net, "samples": len(dataset.x_test),
        **{f"test_{name}": value for name, value in reached._asdict().items()},
        **{f"test_{key}": value for key, value in test_scores(rule, dataset).items()},
        **standard(reached.accuracy, dataset.y_test)._asdict(),
    }  # fmt: skip


@within_memory()
@isolated()
def predict(path: str | Path, x: Any, net: nn.Module | None = None) -> tuple[Tensor, list[str]]:
    """What a run's model says of raw x (N, *shape): (y_hat (N, C), class names).

    x: an array, tensor, list or frame.  y_hat are probabilities for a classifier (of sigmoid or mse outputs: their
    shares of the row's sum), the probability of each label for multi-hot ones, and the values themselves, in their own
    units, for a regression.  net: an untrained copy of one given from Python.
    Raises ``DataError`` for samples of another shape than in training, ``RunError`` as ``load`` does."""
    model = load(path, net).model
    return model.predict_proba(x) if model.has_labels else model.outputs(x), list(model.classes)


def check_same_data(then: dict[str, Any], data: Dataset) -> None:
    """Raises ``RunError`` where the data are no longer those that a run described."""
    now = describe(data)
    named = ("features",) if then.get("features") and now["features"] else ()
    for key in ("shape", "classes", "samples", *named):
        if then[key] != now[key]:
            todo = advice((0, *now[key]), tuple(then[key])) if key == "shape" else "give it the same data"
            raise RunError(f"{data.name} has {key} {now[key]}, but the run saw {then[key]}: {todo}")


def default_path(rule: str, data: str, seed: int) -> Path:
    """runs/<data>-<rule>-seed<k>-<time>; of a search its task, and its name."""
    return Path("runs") / f"{Path(data).stem}-{rule}-seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}"


def _given(recipe: Recipe, data: Any, seen: dict[str, Any], sample_weight: Any = None) -> Dataset | None:
    if recipe.data == "custom" and data is None:
        raise RunError("the run was trained on data given from Python: give them again, as data=...")
    if data is None and sample_weight is not None:
        raise RunError("sample_weight came for data that the run names: it was trained without, leave it out")
    return None if data is None else dataset_of(data, recipe, sample_weight, seen.get("features") or ())


def dataset_of(data: Any, recipe: Recipe, sample_weight: Any = None, features: Sequence[str] = ()) -> Dataset:
    """``data`` split and scaled as the recipe says, its columns in the order of these names if both have names."""
    if not isinstance(data, Dataset):
        data = from_torch(data, label=recipe.label, sample_weight=sample_weight, seed=recipe.seed, task=recipe.task)
    elif sample_weight is not None:
        raise RunError("sample_weight came beside a Dataset: make the Dataset with weights=...")
    idle = next((key for key in ("categories", "encoding", "missing") if getattr(recipe, key)), None)
    if idle is not None:
        raise RunError(f"{idle} came beside data given from Python: it is for .csv files; leave it out")
    if recipe.task not in (None, data.task):
        raise RunError(f"task '{recipe.task}' came for data of {data.task}: leave it out, or give data that fit")
    return preprocessed(data.aligned(features).split_validation(recipe.val, recipe.seed), recipe)
