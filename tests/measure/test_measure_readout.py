"""Readouts against scikit-learn on the same features; depth against the modules run by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from altprop import RULES, Refused
from altprop.measure import READOUTS, by_depth, linear, nearest, readout, ridge, svc


def clouds(n, features, seed=0, classes=4, shape=None):
    """Overlapping clouds of unlike sizes and scales, the classes unlike in number, one feature constant."""
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n, p=np.array([0.4, 0.3, 0.2, 0.1][:classes]) / sum([0.4, 0.3, 0.2, 0.1][:classes]))
    centres = np.random.default_rng(9).normal(0, 0.3, (classes, features))
    x = (centres[y] + rng.normal(0, 1, (n, features))) * np.linspace(0.1, 5, features) + 2
    x[:, 0] = 0.1
    return torch.from_numpy(x.reshape(n, *(shape or (features,)))), torch.from_numpy(y)


def both(features, n=150, **options):
    return *clouds(n, features, **options), *clouds(400, features, seed=1, **options)


def scored(model, x, y, x_test, y_test):
    arrays = [part.flatten(1).numpy() for part in (x, x_test)]
    return float((model.fit(arrays[0], y.numpy()).predict(arrays[1]) == y_test.numpy()).mean())


@pytest.mark.parametrize("features", [12, 150, 260])
@pytest.mark.parametrize("strength", [0.1, 1.0, 300.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_ridge_is_that_of_scikit_learn(monkeypatch, features, strength, classes):
    """Fewer features than samples, as many, more; means, deviations or the strength forgotten on one of the ways."""
    monkeypatch.setattr(linear, "CHUNK", 50)
    data = both(features, classes=classes)
    want = scored(make_pipeline(StandardScaler(), RidgeClassifier(alpha=strength)), *data)
    assert ridge(*data, strength=strength) == pytest.approx(want, abs=1e-12) and 1 / classes < want < 1


DISTANCES = {
    "cosine": lambda a, b: 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)),
    "euclid": lambda a, b: np.linalg.norm(a - b),
}


@pytest.mark.parametrize("k", [1, 4, 15])
@pytest.mark.parametrize("metric", DISTANCES)
def test_nearest_is_that_of_a_sorted_list(k, metric):
    """The farthest, one neighbour too many, ties that go elsewhere: one pair at a time, in NumPy."""
    x, y, x_test, y_test = (part.numpy() for part in both(12))
    right = 0
    for sample, label in zip(x_test, y_test, strict=True):
        near = sorted(range(len(x)), key=lambda n: DISTANCES[metric](sample, x[n]))[:k]
        right += np.bincount(y[near]).argmax() == label
    got = nearest(*both(12), k=k, metric=metric)
    assert got == pytest.approx(right / len(x_test), abs=1e-12) and got < 0.9


def test_distances_survive_far_from_the_origin():
    """|x|^2 - 2 x x' in float32 forgets differences of 1 between numbers of 10 000."""
    x, y, x_test, y_test = both(6)
    want = nearest(x, y, x_test, y_test, metric="euclid")
    far = [(part + 1e4).float() for part in (x, x_test)]
    assert nearest(far[0], y, far[1], y_test, metric="euclid") == pytest.approx(want, abs=0.02)


@pytest.mark.parametrize("strength", [0.2, 50.0])
def test_svc_is_that_of_scikit_learn(strength):
    """Features as they are, and C in place of 1 / C."""
    data = both(12)
    want = scored(make_pipeline(StandardScaler(), LinearSVC(C=1 / strength, dual="auto", random_state=0)), *data)
    assert svc(*data, strength=strength) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("name", READOUTS)
def test_clouds_far_apart_are_read_without_error(name):
    """Any readout does that, from images and float32 too; 0 is chance for labels shifted by one."""
    x, y = clouds(90, 24, shape=(2, 3, 4))
    x = (x + 100 * torch.eye(24, dtype=x.dtype)[y + 3].view(x.shape)).float()
    assert READOUTS[name](x[:60], y[:60], x[60:], y[60:]) == 1.0
    assert READOUTS[name](x[:60], y[:60], x[60:], (y[60:] + 1) % 4) == 0.0


def net():
    torch.manual_seed(0)
    white = nn.BatchNorm2d(2, affine=False)
    white.running_var.copy_(torch.tensor([0.1, 30.0]))
    return nn.Sequential(
        white, nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 4),
    ).double()  # fmt: skip


def parts():
    x, y = clouds(120, 128, shape=(2, 8, 8))
    return (x[:80], y[:80]), (x[80:], y[80:])


@pytest.mark.parametrize("name", ["bp", "shallow", "dfa"])
def test_depth_reads_what_the_next_synapse_gets(monkeypatch, name):
    """Before the pooling, before the activation, in train mode, one layer off, the test part for the training part."""
    monkeypatch.setattr(readout, "CHUNK", 32)
    model, ((x, y), (x_test, y_test)) = net(), parts()
    rule = RULES[name](model, example=x)
    model.train()
    found = by_depth(rule, (x, y), (x_test, y_test))
    assert all(module.training for module in model)
    model.eval()
    want = {}
    for place, modules in (("input", model[:0]), ("1", model[:7]), ("7", model[:10])):
        with torch.no_grad():
            data = modules(x.clone()), y, modules(x_test.clone()), y_test
        want[place] = {
            "ridge": scored(make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)), *data),
            "nearest": scored(KNeighborsClassifier(5, metric="cosine", algorithm="brute"), *data),
        }
    assert list(found) == list(want)
    assert all(found[place] == pytest.approx(want[place], abs=1e-12) for place in want)
    assert len({read["ridge"] for read in want.values()}) == 3, "places that nobody could tell apart"


def test_pooled_features_are_averages():
    """At most 2 x 2 positions where there are 8 x 8, and what is no image as it is."""
    train, test = parts()
    model = nn.Sequential(nn.Conv2d(2, 5, 1), nn.ReLU(), nn.Conv2d(5, 4, 8), nn.Flatten(), nn.Linear(4, 4)).double()
    with torch.no_grad():
        means = [model[:2](x).unflatten(3, (2, 4)).unflatten(2, (2, 4)).mean((3, 5)) for x, _ in (train, test)]
    got, full = (by_depth(model, train, test, ("ridge",), pool=pool) for pool in (2, 8))
    assert got["0"]["ridge"] == ridge(means[0], train[1], means[1], test[1]) != full["0"]["ridge"]
    assert full == by_depth(model, train, test, ("ridge",)) == by_depth(model, train, test, ("ridge",), pool=20)
    assert got["2"] == full["2"] and got["input"] == full["input"]


def test_depth_leaves_no_trace():
    """Statistics of norms, modes, random state, gradients, the data under an in-place module."""
    train, test = parts()
    model = nn.Sequential(nn.ReLU(inplace=True), *net())
    rule, data = RULES["bp"](model, example=train[0]), [train[0].clone(), test[0].clone()]
    rule.train()
    model[1].eval()
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    modes, random = {m: m.training for m in rule.modules()}, torch.get_rng_state()
    by_depth(rule, train, test, ("ridge", "svc", "nearest"))
    assert all(torch.equal(state[key], value) for key, value in rule.state_dict().items())
    assert modes == {m: m.training for m in rule.modules()} and torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(train[0], data[0]) and torch.equal(test[0], data[1])


def refusals():
    x, y, x_test, y_test = both(6, n=20)
    nan = torch.full_like(x, math.nan)
    return {
        "targets": ((x, torch.zeros(20, 4), x_test, y_test), {}, "class labels"),
        "lengths": ((x, y[1:], x_test, y_test), {}, "20 training samples and 19 labels"),
        "no test": ((x, y, x_test[:0], y_test[:0]), {}, "0 test samples"),
        "nan": ((nan, y, x_test, y_test), {}, "training features hold nan"),
        "widths": ((x, y, x_test[:, 1:], y_test), {}, "6 features and test samples of 5"),
    }


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("case", refusals())
def test_what_cannot_be_read_is_refused(name, case):
    """One line that says what came, in place of an error from within a solver, or a figure that is wrong."""
    data, options, message = refusals()[case]
    with pytest.raises(Refused, match=message):
        READOUTS[name](*data, **options)


def test_settings_without_sense_are_refused():
    """A strength of 0 has no unique solution; the message names the value."""
    data = both(6, n=20)
    for read in (ridge, svc):
        for strength in (0.0, -1.0, math.inf, math.nan):
            with pytest.raises(Refused, match="strength"):
                read(*data, strength=strength)
    for k in (0, 21):
        with pytest.raises(Refused, match=f"k is {k}; .* 20 training"):
            nearest(*data, k=k)
    with pytest.raises(Refused, match="unknown metric 'manhattan'; there are cosine, euclid"):
        nearest(*data, metric="manhattan")
    with pytest.raises(Refused, match="one class"):
        svc(data[0], 0 * data[1], *data[2:])


def test_depth_refuses_by_name():
    """Which layer diverged, which readout there is not."""
    train, test = parts()
    model = net()
    for readouts in ((), ("ridge", "lasso")):
        with pytest.raises(Refused, match="at least one of ridge, svc, nearest"):
            by_depth(model, train, test, readouts)
    with pytest.raises(Refused, match="pool is 0"):
        by_depth(model, train, test, pool=0)
    with torch.no_grad():
        model[7].weight[0, 0] = math.nan
    with pytest.raises(Refused, match="at '7': the training features hold nan"):
        by_depth(model, train, test)
