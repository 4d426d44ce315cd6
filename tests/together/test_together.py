"""Seeds side by side, held against the same seeds trained one after the other: rows, weights, optimizers and ends."""

import json
import os
import signal
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from run_helpers import assert_refused, rows, run_cli, toy_file
from safetensors.torch import load_file

from altprop import RULES
from altprop.limits import Interrupted, Notice
from altprop.run.experiment import begin, resume_run, run_recipe
from altprop.run.inputs import load_data
from altprop.run.isolated import isolated
from altprop.run.train import Diverged
from altprop.run.values import make_recipe
from altprop.study.outcomes import begun
from altprop.together.seats import together
from altprop.together.stack import Stack
from altprop.tracing import graph

SEEDS = (0, 4)
FEW = {
    "ep": {"arguments": {"free": 4, "nudged": 2}},
    "mezo": {"arguments": {"directions": 2}},
    "fzoo": {"arguments": {"directions": 2}},
}  # steps, which take a while to trace


def recipes(rule="bp", seeds=SEEDS, **settings):
    given = {"data": "toy.npz", "net": "6-5-3", "epochs": 2, "batch": 16, **settings}
    return [make_recipe(rule=rule, seed=seed, **given) for seed in seeds]


@isolated()
def side_by_side(of, paths=None, data=None):
    paths = [None] * len(of) if paths is None else paths
    data = [load_data(recipe) for recipe in of] if data is None else data
    known = [path is not None and begun(path) for path in paths]
    return together([partial(begin, *each) for each in zip(of, data, paths, known, strict=True)])


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)


@pytest.fixture
def steps(monkeypatch):
    """How many learners each joined step had."""
    found, step = [], Stack.step

    def counted(self, batches):
        found.append(len(batches))
        return step(self, batches)

    monkeypatch.setattr(Stack, "step", counted)
    return found


def assert_alike(one, other):
    """Rows, and all that the rule holds, within 1e-5."""
    assert len(one.metrics) == len(other.metrics)
    for left, right in zip(one.metrics, other.metrics, strict=True):
        assert left.keys() == right.keys()
        for key in left.keys() - {"seconds"}:
            assert left[key] == (right[key] and pytest.approx(right[key], abs=1e-5, rel=1e-5)), key
    states = one.rule.state_dict(), other.rule.state_dict()
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], atol=1e-5, rtol=1e-5, msg=key)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_ends_where_its_seeds_end_by_themselves(rule, steps):
    """A seed's weights, feedback, order of samples or noise that another seed gets."""
    of = recipes(rule, epochs=1, batch=30, measure=False, **FEW.get(rule, {}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = side_by_side(of)
    assert any("one by one" in str(each.message) for each in told) == (not steps)
    for recipe, result in zip(of, found, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_alike(result, run_recipe(recipe))


@pytest.mark.parametrize("settings", [
    {"optimizer": "adam", "weight_decay": 0.01, "schedule": "ramp"},
    {"optimizer": "rmsprop", "lr": 0.003, "class_weight": "balanced"},
    {"optimizer": "norm_sgd"},
    {"momentum": 0.9, "nesterov": True, "schedule": "cosine", "dropout": 0.3, "augment": "noise"},
    {"net": "6-norm-5-3", "val": 0.3, "freeze": 1, "measure": False},
], ids=["adam", "rmsprop", "norm_sgd", "noise", "batchnorm"])  # fmt: skip
def test_optimizers_noise_and_statistics_are_each_seeds_own(settings, steps):
    """Two epochs with a rest of 12 samples each, measured; the state of the optimizer must outlast that rest."""
    of = recipes(**settings)
    found = side_by_side(of)
    assert steps == [2] * len(steps) and len(steps) == 2 * (3 if "val" in settings else 4)
    for recipe, result in zip(of, found, strict=True):
        assert_alike(result, run_recipe(recipe))


def test_feedback_that_is_replaced_in_a_rest_is_that_of_the_stack(steps):
    """Mirrored feedback is another tensor after every step, and the last batch of an epoch is no joined one."""
    of = recipes("pepita", net="6-8-3", epochs=3, arguments={"mirror": True})
    for recipe, result in zip(of, side_by_side(of), strict=True):
        assert_alike(result, run_recipe(recipe))
    assert steps


def test_the_readout_is_stepped_together_too(steps):
    """Turns follow each other: unlabelled layers, then the last layer, on top of features that are each seed's own."""
    of = recipes("oja", readout={"epochs": 2})
    found = side_by_side(of)
    assert len(steps) == 2 * 4 + 2 * 1  # batches of 16, and of the readout's own size
    for recipe, result in zip(of, found, strict=True):
        assert_alike(result, run_recipe(recipe))


def test_a_seed_that_diverges_leaves_the_others_alone(steps):
    """What is not finite in one part of a stack must not keep the others from their step, nor end them."""
    of = recipes(seeds=(0, 4, 7), optimizer="adam")
    data = [load_data(recipe) for recipe in of]
    spoiled = data[1].x_train.clone()
    spoiled[0] = 1e30
    data[1] = replace(data[1], x_train=spoiled)
    first, diverged, last = side_by_side(of, data=data)
    assert isinstance(diverged, Diverged) and {2, 3} == set(steps)
    assert_alike(first, run_recipe(of[0]))
    assert_alike(last, run_recipe(of[2]))


def folders():
    return [Path(f"seed{seed}") for seed in SEEDS]


def test_a_stop_leaves_checkpoints_that_go_on_either_way(steps, monkeypatch):
    """A Ctrl-C in the second epoch, a seed that goes on by itself to its end, then the rest: two standing apart."""
    of, stop = recipes(optimizer="adam"), Stack.step

    def interrupted(self, batches):
        if len(steps) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return stop(self, batches)

    monkeypatch.setattr(Stack, "step", interrupted)
    with pytest.raises(Interrupted):
        side_by_side(of, folders())
    states = [json.loads((path / "checkpoint" / "state.json").read_text()) for path in folders()]
    assert [(state["epoch"], state["batch"]) for state in states] == [(1, 3)] * 2
    assert_alike(resume_run(folders()[0]), want := run_recipe(of[0]))
    for recipe, path, result in zip(of, folders(), side_by_side(of, folders()), strict=True):
        assert_alike(result, run_recipe(recipe))
        assert load_file(path / "model.safetensors").keys() == want.net.state_dict().keys()


def test_seeds_that_stand_apart_catch_up(steps, monkeypatch):
    """One of three was killed an epoch earlier: it is stepped by itself until the others' place."""
    monkeypatch.setattr("altprop.run.train.CHECKPOINT_SECONDS", 0.0)
    of = recipes(seeds=(0, 4, 7), epochs=3)
    paths = [Path(f"seed{recipe.seed}") for recipe in of]
    for recipe, path, epochs in zip(of, paths, (2, 1, 2), strict=True):
        with pytest.raises(Stopped):
            run_recipe(recipe, out=path, report=stopping_after(epochs))
    found = side_by_side(of, paths)
    assert steps == [3] * 4
    for recipe, result in zip(of, found, strict=True):
        assert_alike(result, run_recipe(recipe))


class Stopped(Exception):
    """A kill after an epoch."""


def stopping_after(epochs):
    def report(row):
        if row["epoch"] == epochs:
            raise Stopped

    return report


def test_what_cannot_be_put_together_is_said(monkeypatch):
    """Rules that a graph cannot hold are trained all the same, and never in silence."""
    monkeypatch.setattr(graph, "MOST", 5)
    with pytest.warns(Notice, match="the seeds of 'bp' are stepped one by one: its step takes .* than 5"):
        found = side_by_side(of := recipes(epochs=1))
    assert_alike(found[1], run_recipe(of[1]))


def test_a_graph_with_other_results_is_not_used(monkeypatch, steps):
    """A rule that counts its batches outside of its state: what was traced holds for its first one only."""

    class Counting(RULES["bp"]):
        calls = 0

        def credit(self, x, y, ready=None):
            Counting.calls += 1
            return super().credit(x * Counting.calls, y, ready)

    monkeypatch.setitem(RULES, "counting", Counting)
    with pytest.warns(Notice, match="other results than by itself"):
        side_by_side(recipes("counting", epochs=1, measure=False))
    assert steps == []


def test_compare_has_the_same_table(capsys):
    """The command, with a control beside; its runs are those of the command without."""
    options = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", 1, "--rules", "drtp", "--seeds", "0,4", "--json"]
    plain = run_cli(capsys, "compare", *options, "--out", "a").json
    joined = run_cli(capsys, "compare", *options, "--together", "--out", "b").json
    for one, other in zip(plain["rows"], joined["rows"], strict=True):
        assert other["test_accuracy_mean"] == pytest.approx(one["test_accuracy_mean"], abs=1e-5)
    for seed in SEEDS:
        assert rows(f"b/drtp-seed{seed}")[-1]["loss"] == pytest.approx(rows(f"a/drtp-seed{seed}")[-1]["loss"], abs=1e-5)
    outcome = run_cli(capsys, "compare", *options, "--together", "--jobs", 2, "--out", "c")
    assert_refused(outcome, "jobs = 2")
