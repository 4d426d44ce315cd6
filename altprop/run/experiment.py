"""One run from end to end: ``fit`` trains, ``load`` gives it back, ``evaluate_run`` and ``predict`` use it."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Rule, RuleWarning
from altprop.data import Dataset, as_float, batches, from_torch
from altprop.run.checks import check_units
from altprop.run.learner import Learner, build_net, build_rule, find_device, load_data, prepare, whitened
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
            "never_win": next((row["never_win"] for row in reversed(self.metrics) if "never_win" in row), None),
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
    **settings: Any,
) -> Result:
    """Train one net by one rule, as ``altprop train`` does.

    net: a spec string or an ``nn.Sequential``.  data: a name, a path, a ``Dataset``, a torch Dataset or DataLoader, a
    pair of tensors (x, y), or two of these as {"train": ..., "test": ...}.  out: the run directory, if one is
    wanted.  settings: the other keys of ``Recipe``.
    Raises one-line errors as ``prepare`` does, and ``Interrupted``."""
    beside = sorted({"act", "dropout", "bias", "init"} & settings.keys())
    if isinstance(net, nn.Module) and beside:
        raise RunError(f"{beside[0]} came beside a net that is built already: build it so, or give a spec string")
    named = isinstance(data, str | Path)
    spec, module = (net, None) if isinstance(net, str) else (None, net)
    recipe = make_recipe(rule=rule, net=spec, data=str(data) if named else "custom", **settings)
    dataset = None if named else _dataset(data, recipe)
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
) -> Result:
    """Go on with a run that was stopped, to the bit; one that has ended is only read.

    net, data: those of a run that was given them from Python."""
    run = RunDirectory.open(Path(path))
    run.restore()  # a damaged checkpoint is told before the data are loaded
    return resume_recipe(run.path, _given(run.recipe(), data), net, progress, report)


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
    return _train(learner, resume(learner, run), run, progress, report)


def _train(learner: Learner, position: Position, run: RunDirectory | None, progress: Any, report: Any) -> Result:
    accuracy = None
    try:
        if run is not None and run.ended:
            learner.rule.load_state_dict(run.finished())
            position.rows = run.metrics()
        else:
            train(learner, position, run, progress, report)
            position.rows[-1] |= check_units(learner.rule, learner.data.x_train)
            if run is not None:
                run.log(position.rows)
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuleWarning)  # said when it was trained
            rule = build_rule(recipe, net, torch.zeros(1, *data["shape"]))
        rule.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{directory.path} does not fit its recipe ({str(error).splitlines()[0]}): it is damaged, train it anew"
        ) from error
    rule.eval()
    return Loaded(net, rule)


def evaluate_run(path: str | Path, device: str = "cpu", data: Any = None) -> dict[str, Any]:
    """Loss and accuracy of a run on the test part of its data."""
    directory = RunDirectory.open(Path(path))
    recipe = directory.recipe()
    rule = load(path).rule.to(find_device(device))
    dataset = _given(recipe, data) or load_data(recipe)
    check_same_data(directory, dataset)
    dataset = dataset.to(device)
    loss, accuracy = evaluate(rule, dataset.x_test, dataset.y_test)
    return {
        "run": str(path), "rule": recipe.rule, "data": recipe.data, "net": recipe.net, "samples": len(dataset.x_test),
        "test_loss": loss, "test_accuracy": accuracy,
    }  # fmt: skip


def predict(path: str | Path, x: Tensor) -> tuple[Tensor, list[str]]:
    """What a run's net says of x (N, *shape), scaled as its training data were: (y_hat (N, C), class names).

    y_hat are probabilities for a classifier (of sigmoid or mse outputs: their shares of the row's sum), and the outputs
    themselves for a regression."""
    directory = RunDirectory.open(Path(path))
    description, recipe = directory.data(), directory.recipe()
    if recipe.whiten is not None:
        raise RunError(
            f"{path} was trained on whitened inputs, which predict cannot make of others: train without whiten"
        )
    rule = load(path).rule
    if list(x.shape[1:]) != description["shape"]:
        raise RunError(
            f"samples of shape {tuple(x.shape[1:])} came, but the run's net takes {tuple(description['shape'])}: "
            "give the same features as in training"
        )
    if description["scaling"] is not None:
        offset, spread = (torch.tensor(part) for part in description["scaling"])
        x = (as_float(x) - offset) / spread
    with torch.no_grad():
        z = torch.cat([rule(inputs) for inputs, _ in batches(x, torch.zeros(len(x)), EVALUATION_BATCH)])
    return PROBABILITIES[recipe.loss or ""](z) if description["classes"] else z, description["classes"]


def check_same_data(run: RunDirectory, data: Dataset) -> None:
    """Raises ``RunError`` where the data are no longer those of the run."""
    then, now = run.data(), describe(data)
    for key in ("shape", "classes", "samples"):
        if then[key] != now[key]:
            raise RunError(f"{data.name} has {key} {now[key]}, but the run saw {then[key]}: give it the same data")


def default_path(recipe: Recipe) -> Path:
    """runs/<data>-<rule>-seed<k>-<time>."""
    return Path("runs") / f"{Path(recipe.data).stem}-{recipe.rule}-seed{recipe.seed}-{time.strftime('%Y%m%d-%H%M%S')}"


def _given(recipe: Recipe, data: Any) -> Dataset | None:
    if recipe.data == "custom" and data is None:
        raise RunError("the run was trained on data given from Python: give them again, as data=...")
    return None if data is None else _dataset(data, recipe)


def _dataset(data: Any, recipe: Recipe) -> Dataset:
    if not isinstance(data, Dataset):
        train, test = (data["train"], data.get("test")) if isinstance(data, dict) else (data, None)
        data = from_torch(train, test, seed=recipe.seed)
    return whitened(data.split_validation(recipe.val, recipe.seed).scaled(recipe.scale), recipe.whiten)
