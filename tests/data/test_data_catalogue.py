"""Data sets known by name, against their definitions, and `load`'s own arguments."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import refused
from sklearn.datasets import load_digits

from altprop.data import DATASETS, load

BUILT_IN = [name for name, entry in DATASETS.items() if not entry.downloadable]


@pytest.mark.parametrize("name", BUILT_IN)
def test_entries_tell_the_truth(name):
    data, entry = load(name), DATASETS[name]
    assert (data.name, data.shape, data.task, data.net) == (name, entry.shape, entry.task, entry.net)
    assert (len(data.classes), data.outputs) == (entry.classes, entry.outputs)
    assert (len(data.x_train), len(data.x_test)) == (entry.n_train, entry.n_test)
    assert data.x_train.dtype == torch.float32


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_do_not_depend_on_seeds(name):
    torch.manual_seed(1)
    np.random.seed(1)
    first = load(name, seed=0)
    torch.manual_seed(2)
    second = load(name, seed=7)
    for (_, x, y), (_, u, v) in zip(first.parts(), second.parts(), strict=True):
        assert torch.equal(x, u) and torch.equal(y, v)


@pytest.mark.parametrize("name", DATASETS)
def test_nets_fit(name):
    widths = [int(width) for width in DATASETS[name].net.split("-")]
    assert widths[0] == np.prod(DATASETS[name].shape) and widths[-1] == DATASETS[name].outputs
    assert len(DATASETS[name].source) > 20


def test_digits_are_all_there_and_split_by_class():
    data, (x, y) = load("digits"), load_digits(return_X_y=True)
    together = torch.cat([data.x_train, data.x_test]).reshape(-1, 64).numpy() * 16
    assert sorted(map(tuple, together)) == sorted(map(tuple, x))
    assert data.x_train.amin() == 0 and data.x_train.amax() == 1
    np.testing.assert_array_equal(torch.bincount(data.y_test), np.round(np.bincount(y) / 5))


def test_drtp_regression_is_the_cosine_of_the_mean():
    data = load("drtp_regression")
    for _, x, y in data.parts():
        phase = np.pi * (np.arange(10) - 4.5) / 9
        np.testing.assert_allclose(y, np.cos(x.double().mean(1, keepdim=True).numpy() + phase), atol=1e-5)
        assert x.std(1).mean() == pytest.approx(1, abs=0.01)
        mu = x.mean(1)
        assert mu.abs().max() < np.pi + 0.4 and mu.std() == pytest.approx(np.pi / np.sqrt(3), rel=0.05)


def test_drtp_classification_has_a_hypercube_of_clusters():
    data = load("drtp_classification")
    counts = torch.bincount(data.y_train)
    assert counts.min() > 2300 and counts.max() < 2700
    # Of the features, 128 are pure noise of deviation 1; the others spread between corners at +-4.5.
    spread = data.x_train.std(0).sort().values
    assert spread[:128].max() < 1.05 and spread[128:].min() > 3


def test_load_splits_before_it_scales():
    data = load("digits", val=0.25, scale="standard", seed=3)
    assert len(data.x_val) == pytest.approx(0.25 * 1438, abs=5) and len(data.x_val) + len(data.x_train) == 1438
    torch.testing.assert_close(data.x_train.mean((0, 2, 3)), torch.zeros(1), atol=1e-4, rtol=0)
    assert not torch.equal(data.x_val, load("digits", val=0.25, scale="standard", seed=4).x_val)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", ["'digit'", "did you mean 'digits'?", "cifar10, cifar100, digits"]),
        ("MNIST", ["did you mean 'mnist'?"]),
        ("fashion-mnist", ["did you mean 'fashion_mnist'?"]),
        ("xyzzy", ["'xyzzy' is unknown", "there are: cifar10"]),
        ("", ["'' is unknown"]),
        ("mnist.npy", ["mnist.npy", "no such file"]),
    ],
)
def test_unknown_names_are_refused(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    with refused(*words):
        load(name)


def test_bad_arguments_are_refused():
    with refused("validation fraction is 1.0"):
        load("digits", val=1.0)
    with refused("scale 'unity' is unknown", "did you mean 'unit'?"):
        load("digits", scale="unity")


def test_a_path_goes_to_the_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert load("digits").name == "digits"
    with refused("has no folders"):
        load(Path("digits"))


def test_import_is_quiet_and_light():
    code = "import sys, altprop.data; print([m for m in ('sklearn', 'pooch', 'requests') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
