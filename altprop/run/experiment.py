"""One run from end to end: ``fit`` trains, ``load`` gives it back, ``evaluate_run`` and ``predict`` use it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Rule
from altprop.data import Dataset, advice, as_float, batches, from_torch, read_samples
from altprop.run.inputs import example_of, suited, suited_data, whitened
from altprop.run.learner import Learner, build_net, build_rule, find_device, load_data, prepare
from altprop.run.phases import read_out
from altprop.run.probes import probe
from altprop.run.recipe import Recipe, RunError, make_recipe
from altprop.run.store import RunDirectory, check_free, describe, write_atomically
from altprop.run.train import EVALUATION_BATCH, Position, Progress, evaluate, resume, train

Report = Callable[[dict[str, Any]], None]  # hears of every epoch's row of metrics


def _shares(y_hat: Tensor) -> Tensor:
    """Rows that sum to one and are largest where y_hat is."""
    positive = y_hat - y_hat.amin(1, keepdim=True).clamp(max=0) + 1e-12
    return positive / positive.sum(1, keepdim=True)


PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": lambda z: z.softmax(1),
    "binary_cross_entropy": lambda z: _shares(z.sigmoid()),
    "mse": _shares,
}


@dataclass(frozen=True)
class Result:
    """A finished run."""

    recipe: Recipe
    net: nn.Module
    rule: Rule
    metrics: list[dict[str, Any]]  # one row an epoch
    train_accuracy: float | None  # on the whole training part
    path: Path | None

    @property
    def test_accuracy(self) -> float | None:
        return self.metrics[-1]["test_accuracy"]

    def summary(self) -> dict[str, Any]:
        """What ``altprop train --json`` prints; accuracies are fractions, the loss is the last epoch's mean."""
        last = self.metrics[-1]
        return {
            "rule": self.recipe.rule, "data": self.recipe.data, "net": self.recipe.net, "activation": self.recipe.act,
            "lr": self.recipe.rate_used, "epochs": self.recipe.epochs, "seed": self.recipe.seed,
            "loss": last["loss"], "train_accuracy": self.train_accuracy, "test_accuracy": last["test_accuracy"],
            "test_loss": last["test_loss"], "val_accuracy": last.get("val_accuracy"), "seconds": last["seconds"],
            "run": None if self.path is None else str(self.path),
        }  # fmt: skip


class Loaded(NamedTuple):
    net: nn.Module
    rule: Rule


def fit(
    rule: str = "bp",
    net: str | nn.Module | None = None,
    data: Any = "digits",
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
    sample_weight: Any = None,
    **settings: Any,
) -> Result:
    """Train one net by one rule, as ``altprop train`` does.

    net: a spec string or an ``nn.Sequential``.  data: a name, a path, a ``Dataset``, or what ``data.from_torch`` takes:
    a pair (x, y) of arrays, lists or frames, a dict of x and y, a frame with a column ``label``, a torch Dataset or
    DataLoader, or two of these as {"train": ..., "test": ...}.  out: the run directory, if one is wanted.
    sample_weight (N,): what each sample counts, all of the training part that was given.  settings: the other keys of
    ``Recipe``, such as class_weight ("balanced", one number a class, or {class: number}).
    Raises one-line errors as ``prepare`` does, and ``Interrupted``."""
    beside = sorted({"act", "dropout", "bias", "init"} & settings.keys())
    if isinstance(net, nn.Module) and beside:
        raise RunError(f"{beside[0]} came beside a net that is built already: build it so, or give a spec string")
    named = isinstance(data, str | Path)
    spec, module = (net, None) if isinstance(net, str) else (None, net)
    recipe = make_recipe(rule=rule, net=spec, data=str(data) if named else "custom", **settings)
    if named and sample_weight is not None:
        raise RunError(f"sample_weight came for data that '{data}' names: give arrays, or class_weight instead")
    dataset = None if named else _dataset(data, recipe, sample_weight)
    return run_recipe(recipe, dataset, module, out=out, progress=progress, report=report)


def run_recipe(
    recipe: Recipe,
    data: Dataset | None = None,
    net: nn.Module | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
) -> Result:
    """``fit`` for a recipe; ``data`` and ``net`` stand in for those that it names."""
    if out is not None:
        check_free(Path(out))
    learner = prepare(recipe, data, net)
    run = None if out is None else RunDirectory.create(Path(out), learner.recipe, learner.data)
    return _train(learner, Position(), run, progress, report)


def resume_run(
    path: str | Path,
    progress: Progress | None = None,
    report: Report | None = None,
    net: nn.Module | None = None,
    data: Any = None,
    sample_weight: Any = None,
) -> Result:
    """Go on with a run that was stopped, to the bit; one that has ended is only read.

    net, data, sample_weight: those of a run that was given them from Python."""
    run = RunDirectory.open(Path(path))
    run.restore()  # a damaged checkpoint is told before the data are loaded
    return resume_recipe(run.path, _given(run.recipe(), data, sample_weight), net, progress, report)


def resume_recipe(
    path: Path,
    data: Dataset | None = None,
    net: nn.Module | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
) -> Result:
    """``resume_run`` with data that are split and scaled already."""
    run = RunDirectory.open(path)
    learner = prepare(run.recipe(), data, net)
    check_same_data(run, learner.data)
    if run.data().get("weighted", False) != (learner.data.weights is not None):
        raise RunError(f"{path} was trained {'without' if learner.data.weights is not None else 'with'} weights of its "
                       "samples: go on with the same, as sample_weight=...")  # fmt: skip
    return _train(learner, resume(learner, run), run, progress, report)


def _train(learner: Learner, position: Position, run: RunDirectory | None, progress: Any, report: Any) -> Result:
    accuracy = None
    try:
        if run is not None and run.ended:
            learner.rule.load_state_dict(run.finished())
            position.rows = run.metrics()
        else:
            train(learner, position, run, progress, report)
            accuracy = read_out(learner, position, run, progress, report) if learner.hidden else None
            if run is not None:
                run.finish(learner.net.state_dict(), learner.rule.state_dict())
        if run is not None and learner.recipe.probe and not (run.path / "measures.json").exists():
            measures = probe(learner.rule, learner.data, position.rows)
            write_atomically(run.path / "measures.json", json.dumps(measures))
    finally:
        if run is not None and not (run.checkpoint / "state.json").exists():
            run.remove()  # it failed before its first checkpoint: nothing in it could be used
    if accuracy is None:
        accuracy = evaluate(learner.rule, learner.data.x_train, learner.data.y_train)[1]
    path = None if run is None else run.path
    return Result(learner.recipe, learner.net, learner.rule, position.rows, accuracy, path)


def load(run: str | Path, net: nn.Module | None = None) -> Loaded:
    """(net, rule) of a run directory, on the CPU in eval mode.  ``net``: an untrained copy of a net given from Python.

    Raises ``RunError`` for a path that is no run, or a damaged one."""
    directory = RunDirectory.open(Path(run))
    recipe, data = directory.recipe(), directory.data()
    tensors = directory.finished()
    try:
        net = build_net(recipe, tuple(data["shape"]), data["outputs"]) if net is None else net
        rule = build_rule(recipe, net, example_of(data["shape"], net))
        rule.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{directory.path} does not fit its recipe ({str(error).splitlines()[0]}): it is damaged, train it anew"
        ) from error
    rule.eval()
    return Loaded(net, rule)


def evaluate_run(
    path: str | Path, device: str = "cpu", data: Any = None, net: nn.Module | None = None
) -> dict[str, Any]:
    """Loss and accuracy of a run on the test part of its data; data, net: those that were given from Python."""
    directory = RunDirectory.open(Path(path))
    recipe = directory.recipe()
    rule = load(path, net).rule.to(find_device(device))
    dataset = _given(recipe, data) or load_data(recipe)
    check_same_data(directory, dataset)
    dataset = suited_data(dataset, rule.net).to(device)
    loss, accuracy = evaluate(rule, dataset.x_test, dataset.y_test)
    return {
        "run": str(path), "rule": recipe.rule, "data": recipe.data, "net": recipe.net, "samples": len(dataset.x_test),
        "test_loss": loss, "test_accuracy": accuracy,
    }  # fmt: skip


def predict(path: str | Path, x: Any, net: nn.Module | None = None) -> tuple[Tensor, list[str]]:
    """What a run's net says of x (N, *shape), scaled as its training data were: (y_hat (N, C), class names).

    x: an array, tensor, list or frame.  y_hat are probabilities for a classifier (of sigmoid or mse outputs: their
    shares of the row's sum), the probability of each label for multi-hot ones, and the outputs themselves for a
    regression.  net: an untrained copy of one given from Python.
    Raises ``DataError`` for samples of another shape than in training, ``RunError`` as ``load`` does."""
    directory = RunDirectory.open(Path(path))
    description, recipe = directory.data(), directory.recipe()
    if recipe.whiten is not None:
        raise RunError(
            f"{path} was trained on whitened inputs, which predict cannot make of others: train without whiten"
        )
    rule = load(path, net).rule
    x = read_samples(x, "x", tuple(description["shape"]), description.get("features") or ())
    if description["scaling"] is not None:
        offset, spread = (torch.tensor(part) for part in description["scaling"])
        x = (as_float(x) - offset) / spread
    x = suited(x, rule.net, "x")
    with torch.no_grad():
        z = torch.cat([rule(inputs) for inputs, _ in batches(x, torch.zeros(len(x)), EVALUATION_BATCH)])
    if not description["classes"]:
        return z.sigmoid() if recipe.loss == "binary_cross_entropy" else z, []
    return PROBABILITIES[recipe.loss or ""](z), description["classes"]


def check_same_data(run: RunDirectory, data: Dataset) -> None:
    """Raises ``RunError`` where the data are no longer those of the run."""
    then, now = run.data(), describe(data)
    for key in ("shape", "classes", "samples"):
        if then[key] != now[key]:
            todo = advice((0, *now[key]), tuple(then[key])) if key == "shape" else "give it the same data"
            raise RunError(f"{data.name} has {key} {now[key]}, but the run saw {then[key]}: {todo}")


def default_path(recipe: Recipe) -> Path:
    """runs/<data>-<rule>-seed<k>-<time>."""
    return Path("runs") / f"{Path(recipe.data).stem}-{recipe.rule}-seed{recipe.seed}-{time.strftime('%Y%m%d-%H%M%S')}"


def _given(recipe: Recipe, data: Any, sample_weight: Any = None) -> Dataset | None:
    if recipe.data == "custom" and data is None:
        raise RunError("the run was trained on data given from Python: give them again, as data=...")
    if data is None and sample_weight is not None:
        raise RunError("sample_weight came for data that the run names: it was trained without, leave it out")
    return None if data is None else _dataset(data, recipe, sample_weight)


def _dataset(data: Any, recipe: Recipe, sample_weight: Any = None) -> Dataset:
    if not isinstance(data, Dataset):
        data = from_torch(data, label=recipe.label, sample_weight=sample_weight, seed=recipe.seed)
    elif sample_weight is not None:
        raise RunError("sample_weight came beside a Dataset: make the Dataset with weights=...")
    return whitened(data.split_validation(recipe.val, recipe.seed).scaled(recipe.scale), recipe.whiten)
