"""Floors by their hand-counted products, ways by float64, spreads by numpy; nothing is timed to pass."""

import json

import numpy as np
import pytest
import torch
from run_helpers import assert_refused, run_cli
from torch import nn

from altprop import RULES, Backprop
from altprop.bench import timing
from altprop.bench.bench import optimizer_of
from altprop.bench.cases import case_of, cases, usual
from altprop.bench.floor import floor
from altprop.bench.products import Product, operands, products, ways

N, X, H, C = 7, 6, 5, 3  # samples, inputs, hidden units, classes
SIZES = {  # of the factors: forward, e or t projected (or W_2), gradients
    "bp": [(N, X, H), (N, H, C), (C, N, H), (N, C, H), (H, N, X)],
    "dfa": [(N, X, H), (N, H, C), (C, N, H), (N, C, H), (H, N, X)],
    "drtp": [(N, X, H), (N, C, H), (H, N, X), (N, H, C), (C, N, H)],
}


def case(name, kind="dense"):
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(X, H), nn.ReLU(), nn.Linear(H, C))
    images = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, C))
    net, x = (dense, torch.rand(N, X)) if kind == "dense" else (images, torch.rand(N, 2, 4, 4))
    return RULES[name](net, example=x[:1]), x, torch.arange(N) % C


@pytest.mark.parametrize("name", SIZES)
def test_the_products_of_a_floor_are_those_of_the_equations(name):
    """One more or one less and every ratio to the floor is another."""
    found = [operands(product) for product in products(*case(name))]
    assert sorted((*x.shape, W.shape[1]) for x, W in found) == sorted(SIZES[name])


class Twice(Backprop):
    """Computes the first layer's product two times more from the same tensors, and once from others."""

    def credit(self, x, y, ready=None):
        with torch.no_grad():
            W = self.net[0].weight
            for _ in range(2):
                x @ W.T
            (x + 1) @ W.T
        return super().credit(x, y, ready)


def test_what_is_computed_twice_stands_once():
    """A rule that wastes products would move its own floor."""
    rule, x, y = case("bp")
    wasteful = Twice(rule.net, example=x[:1])
    assert len(products(wasteful, x, y)) == len(products(rule, x, y)) + 2  # addmm is not mm


@pytest.mark.parametrize("name,kind", [("bp", "dense"), ("ep", "dense"), ("es", "dense"), ("bp", "images")])
@torch.no_grad()
def test_every_way_computes_the_product(name, kind):
    """In float64 by torch; a faster way that computes something else would be no floor.  What is added is left out."""
    for product in products(*case(name, kind)):
        pair = operands(product)
        if pair is not None:
            want = pair[0].double() @ pair[1].double()
        elif "baddbmm" in str(product.function) or "bmm" in str(product.function):
            want = product.arguments[-2].double() @ product.arguments[-1].double()
        else:
            doubled = [each.double() if isinstance(each, torch.Tensor) else each for each in product.arguments]
            want = product.function(*doubled)
        for way in ways(product).values():
            for got, right in zip(_flat(way()), _flat(want), strict=True):
                torch.testing.assert_close(got.double(), right, rtol=1e-4, atol=1e-5)


def _flat(result):
    return [each for each in (result if isinstance(result, tuple) else (result,)) if each is not None]


def test_both_libraries_stand_beside_each_other():
    """A large product that torch calls by oneDNN is offered to MKL too."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    x, W = torch.rand(4, 3), torch.rand(2, 3)
    product = Product(torch.ops.mkldnn._linear_pointwise.default, (x, W, None, "none", [], ""), {})
    found = ways(product)
    assert set(found) == {"mkl", "onednn"}
    for way in found.values():
        torch.testing.assert_close(way(), x @ W.T)


@pytest.mark.parametrize("kind", ["dense", "images"])
def test_a_floor_leaves_the_rule_as_it_was(kind):
    """Weights that its update moves are its own."""
    rule, x, y = case("pepita", kind)
    before = {key: value.clone() for key, value in rule.state_dict().items()}
    found = floor(rule, x, y, optimizer_of)
    found.step()
    assert sum(found.ways.values()) == len(products(rule, x, y))
    assert all(torch.equal(value, before[key]) for key, value in rule.state_dict().items())
    assert all(parameter.grad is None for parameter in rule.parameters())


def test_a_floor_ends_in_the_optimizers_step():
    """Without it a floor is lower than anything that learns: W - lr g after its first step, by hand."""
    rule, x, y = case("bp")
    rule.credit(x, y)
    moved = []

    def sgd(parameters):
        moved.extend(parameters)
        return torch.optim.SGD(parameters, lr=0.5)

    floor(rule, x, y, sgd).update()
    for parameter, copy in zip(rule.parameters(), moved, strict=True):
        torch.testing.assert_close(copy.detach(), (parameter - 0.5 * parameter.grad).detach())


def test_spreads_are_those_of_numpy():
    values, others = [5.0, 1.0, 4.0, 2.0], [1.0, 2.0, 8.0, 1.0]
    want = np.percentile(values, [50, 25, 75])
    np.testing.assert_allclose(timing.spread(values, 10), 10 * want)
    np.testing.assert_allclose(timing.ratio(values, others), np.percentile([5, 0.5, 0.5, 2], [50, 25, 75]))


def test_everything_has_its_turn_in_every_round(monkeypatch):
    """Timed one after the other, a machine that grows busy would slow the last."""
    calls = []
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    times = timing.rounds({name: lambda name=name: calls.append(name) for name in "abc"}, 4)
    assert calls[-12:] == list("abc" * 4) and {len(each) for each in times.values()} == {4}


def test_cases_are_those_asked_for():
    """A net begins with its features, or takes the shape that is given."""
    assert case_of("784-10", 64, ["bp"], (3, 4, 4)).shape == (784,)
    assert case_of("conv2k3-10", 64, ["bp"], (3, 4, 4)).shape == (3, 4, 4)
    assert [each.net for each in cases()] == [each.net for each in usual()]
    assert {each.rules for each in cases(rules=["dfa"])} == {("dfa",)} and cases(batch=5)[0].batch == 5
    assert {rule for each in usual() for rule in each.rules} <= set(RULES)
    x, y = case_of("conv2k3-7", 5, [], (3, 4, 4)).data()
    assert x.shape == (5, 3, 4, 4) and y.shape == (5,) and 0 <= int(y.min()) <= int(y.max()) < 7


def test_bench_prints_what_scripts_rely_on(capsys, monkeypatch):
    """A rule that refuses the net stands there with its reason; threads are as before."""
    monkeypatch.setattr(timing, "SECONDS", 1e-4)
    threads = torch.get_num_threads()
    words = ["bench", "--net", "norm-conv2k3-3", "--shape", "2x4x4", "--rules", "bp,pepita", "--batch", "4"]
    told = json.loads(run_cli(capsys, *words, "--rounds", "2", "--json").out)
    (timed,) = told["cases"]
    assert (timed["net"], timed["shape"], timed["batch"]) == ("norm-conv2k3-3", [2, 4, 4], 4)
    bp, refused = timed["rows"]
    assert refused["rule"] == "pepita" and "BatchNorm" in refused["refused"]
    for key in ("ms", "to_autograd", "floor_ms", "products_ms", "to_floor", "to_products"):
        assert 0 < bp[key]["low"] <= bp[key]["median"] <= bp[key]["high"]
    assert told["machine"]["threads"] == 1 and told["machine"]["torch"] == torch.__version__
    assert torch.get_num_threads() == threads
    table = run_cli(capsys, *words, "--rounds", "2").out
    assert "x autograd" in table and "x floor" in table and "pepita: " in table


def test_bench_refuses_in_one_line(capsys):
    """What came, what was expected."""
    assert_refused(run_cli(capsys, "bench", "--rules", "drpt"), "unknown rule 'drpt'")
    assert_refused(run_cli(capsys, "bench", "--shape", "3,4"), "--shape 3,4 came: give the sizes of one sample")
