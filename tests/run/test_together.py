"""Seeds side by side, held against the same seeds trained one after the other: rows, weights, optimizers and ends."""

import json
import math
import os
import signal
import warnings

import pytest
import torch
from run_helpers import assert_refused, rows, run_cli, toy_file, toy_tensors
from safetensors.torch import load_file

import altprop
from altprop import RULES
from altprop.limits import Interrupted, Notice
from altprop.run import stack, tracing
from altprop.run.experiment import begin, run_recipe
from altprop.run.inputs import load_data
from altprop.run.isolated import isolated
from altprop.run.stack import Stack
from altprop.run.together import together
from altprop.run.train import Diverged
from altprop.run.values import make_recipe

APART = {"updates": lambda claims: claims.updates > 1}
SEEDS = (0, 4)


def recipes(rule="bp", seeds=SEEDS, **settings):
    given = {"data": "toy.npz", "net": "6-5-3", "epochs": 2, "batch": 16, **settings}
    return [make_recipe(rule=rule, seed=seed, **given) for seed in seeds]


@isolated()
def side_by_side(of, paths=None):
    paths = [None] * len(of) if paths is None else paths
    data = [load_data(recipe) for recipe in of]
    return together([
        lambda stopping, recipe=recipe, own=own, path=path: begin(recipe, own, path, stopping)
        for recipe, own, path in zip(of, data, paths, strict=True)
    ])  # fmt: skip


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
            assert left[key] == pytest.approx(right[key], abs=1e-5, rel=1e-5), key
    states = one.rule.state_dict(), other.rule.state_dict()
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], atol=1e-5, rtol=1e-5, msg=key)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_ends_where_its_seeds_end_by_themselves(rule, steps):
    """A seed's weights, feedback, order of samples or noise that another seed gets."""
    pytest.importorskip("snntorch") if RULES[rule].requires else None
    of = recipes(rule, epochs=1, batch=25, measure=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = side_by_side(of)
    apart = [str(each.message) for each in told if "one by one" in str(each.message)]
    assert bool(apart) == (not steps)
    for recipe, result in zip(of, found, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_alike(result, run_recipe(recipe))
