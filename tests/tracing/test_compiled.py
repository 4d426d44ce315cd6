"""Compiled steps against the steps as they are written: the graph to the bit, what the compiler makes of it to 1e-5."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from helpers import cnn
from run_helpers import toy_tensors
from torch import nn

import altprop
from altprop import RULES
from altprop.core import Ready
from altprop.limits import Notice
from altprop.parallel.shared import begin_alike
from altprop.pool.workers import Workers
from altprop.rules import Backprop
from altprop.run.compiling import Compiling
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe
from altprop.study.plan import make_plan
from altprop.study.together import check_together
from altprop.tracing import graph
from altprop.tracing.compiled import Compiled
from altprop.tracing.graph import Apart, Step

DATA = {"train": toy_tensors(), "test": toy_tensors(30, seed=1)}  # 60 samples: the last batch of an epoch is short


def fit(rule="bp", net="6-5-3", data=DATA, **settings):
    """(rows, all that the rule holds, what was said of compiling)"""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = altprop.fit(rule, net, data, **{"epochs": 2, "batch": 16, "measure": False, **settings})
    told = [str(each.message) for each in said if each.category is Notice and "compile" in str(each.message)]
    return result.metrics, result.rule.state_dict(), told


def assert_same(one, other, **tolerance):
    for key, value in one[1].items():
        torch.testing.assert_close(other[1][key], value, msg=key, **tolerance)
    losses = [[row["loss"] for row in each[0]] for each in (one, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.fixture
def as_traced(monkeypatch):
    """The graph itself in the compiler's place; how often it ran."""
    ran = []

    def compiler(traced, **options):
        def run(*given):
            ran.append(len(given))
            return traced(*given)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    return ran


@pytest.mark.parametrize("name", RULES)
def test_the_graph_of_every_rule_is_its_step(name, as_traced):
    """To the bit, what it draws and the short last batch included; whose steps are no graphs, says so."""
    plain, compiled = fit(name), fit(name, compile=True)
    assert_same(plain, compiled, rtol=0, atol=0)
    assert bool(as_traced) != bool(compiled[2])


VARIANTS = {
    "dropout": {"rule": "bp", "dropout": 0.3, "net": "6-8-3"},
    "feedback that is replaced in every step": {"rule": "pepita", "arguments": {"mirror": True}, "net": "6-8-3"},
    "bfloat16": {"rule": "dfa", "precision": "bf16"},
    "a frozen layer": {"rule": "bp", "freeze": 1, "net": "6-5-4-3"},
    "a weight for each class": {"rule": "fa", "class_weight": "balanced"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_a_step_reads_draws_and_changes_is_its_graphs(name, as_traced):
    """To the bit again."""
    plain, compiled = fit(**VARIANTS[name]), fit(**VARIANTS[name], compile=True)
    assert_same(plain, compiled, rtol=0, atol=0)
    assert as_traced and not compiled[2]


@pytest.mark.parametrize("name", ["bp", "pepita"])
def test_what_the_compiler_makes_of_it_is_the_step(name):
    """A convolution and two dense layers, in float32, to 1e-5."""
    x = torch.rand(40, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    data = {"train": (x, torch.arange(40) % 3), "test": (x[:9], torch.arange(9) % 3)}
    plain, compiled = (fit(name, cnn().float(), data, compile=each, threads=1) for each in (False, True))
    assert_same(plain, compiled, rtol=1e-5, atol=1e-6)
    assert not compiled[2]


class Branching(Backprop):
    """Another step from its second one on, which no graph of the first can know."""

    taken = 0

    def credit(self, x, y, ready: Ready | None = None):
        loss = super().credit(x, y, ready)
        self.taken += 1
        if self.taken > 1:
            self.net[0].weight.grad.mul_(2)
        return loss


def test_a_graph_with_other_results_is_not_used(as_traced):
    """It is the second time that the rule takes a step when it is traced."""
    net, x, y = nn.Sequential(nn.Linear(6, 3)), *toy_tensors()
    rule = Branching(net, example=x[:1])
    with pytest.raises(Apart, match="compiled it has other results than as it is written"):
        Compiled(Step(rule, list(net.parameters()), rule.credit, (x, y)))


def test_gradients_are_added_to_those_that_are_there(as_traced):
    """As ``loss.backward()`` does."""
    net, x, y = nn.Sequential(nn.Linear(6, 3)), *toy_tensors()
    rule = Backprop(net, example=x[:1])
    compiled = Compiled(Step(rule, list(net.parameters()), rule.credit, (x, y)))
    rule.zero_grad()
    compiled((x, y))
    once = net[0].weight.grad.clone()
    compiled((x, y))
    torch.testing.assert_close(net[0].weight.grad, 2 * once)


def test_a_step_of_too_many_operations_is_taken_as_it_is_written(monkeypatch, as_traced):
    """Tracing it would cost more than it saves; the run goes on, and says why."""
    monkeypatch.setattr(graph, "MOST", 3)
    plain, compiled = fit(), fit(compile=True)
    assert_same(plain, compiled, rtol=0, atol=0)
    assert len(compiled[2]) == 1 and "the steps of Backprop are not compiled: its step takes" in compiled[2][0]


def test_a_short_batch_is_never_the_one_that_is_compiled(as_traced):
    """Else a run that goes on at the end of an epoch would be another one than without its stop."""
    net, x, y = nn.Sequential(nn.Linear(6, 3)), *toy_tensors()
    rule = Backprop(net, example=x[:1])
    steps = Compiling(rule, list(net.parameters()), rule.credit, 16, streaming=False)
    steps(x[:12], y[:12])
    assert not as_traced and steps.compiled is None
    steps(x[:16], y[:16])
    assert len(as_traced) == 2 and steps.compiled is not None  # once to be held against the rule
    steps(x[:12], y[:12])
    assert len(as_traced) == 2


def test_layers_that_are_stepped_at_once_are_told():
    """They are taken one by one, so that there is no step to compile."""
    _, _, told = fit(stream=True, compile=True)
    assert told == [
        "compile came, but the steps of Backprop are not compiled: each layer is stepped as soon as it can be"
    ]


def test_who_takes_a_step_apart_refuses_it():
    """Several processes, and seeds side by side."""
    recipe = make_recipe(rule="bp", net="6-5-3", data="custom", compile=True)
    with pytest.raises(RunError, match=r"compile came for several processes.*: leave one of them out"):
        begin_alike(None, SimpleNamespace(recipe=recipe))
    with pytest.raises(RunError, match=r"together came beside compile: .*, leave one out"):
        check_together(make_plan(["bp"], 2, recipe, {}), Workers(1, None))


def test_the_key_is_written_down_where_it_says_something():
    """Recipes of runs before there was such a key stay what they are; the numbers are others in their last digits."""
    plain, compiled = make_recipe(rule="bp"), make_recipe(rule="bp", compile=True)
    assert "compile" not in plain.toml() and "compile = true\n" in compiled.toml()
    assert compiled.experiment() == {**plain.experiment(), "compile": True}
