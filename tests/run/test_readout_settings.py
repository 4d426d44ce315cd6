"""What a recipe may ask of the readout, against what it then does or says in refusing."""

from types import SimpleNamespace

import pytest
import torch
from run_helpers import toy_recipe, toy_tensors

import altprop
from altprop.core import Refused
from altprop.data import from_torch
from altprop.run.build import prepare
from altprop.run.experiment import run_recipe
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe, read_recipe
from altprop.study.rows import epoch_seconds

UNTAUGHT = [name for name, rule in altprop.RULES.items() if not rule.claims.labels]


def classes():
    return from_torch(toy_tensors(), toy_tensors(30, seed=1))


def cosines():
    """Targets (N, 2) that are no classes."""
    torch.manual_seed(0)
    x = torch.randn(200, 6)
    pair = (x, torch.stack([x.sum(1).cos(), x[:, 0]], 1))
    return from_torch(pair, pair)


def softhebb(**settings):
    return toy_recipe(**{"rule": "softhebb", "net": "6-norm-8-3", "epochs": 1, **settings})


@pytest.mark.parametrize("given", [None, "None"])
def test_none_reaches_a_rule_that_means_something_else_by_itself(tmp_path, given):
    """softhebb's scale is 'max' by itself; None, through the file too, is the mean of the batch."""
    recipe = softhebb(arguments={"scale": given})
    (tmp_path / "recipe.toml").write_text(recipe.toml())
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    assert prepare(recipe, classes()).rule.scale is None
    assert prepare(softhebb(), classes()).rule.scale == "max"
    with pytest.raises(RunError, match="rule 'softhebb' has no argument 'scall'"):
        make_recipe(rule="softhebb", arguments={"scall": None})


@pytest.mark.parametrize("rule", UNTAUGHT)
def test_regression_by_the_defaults_stays_finite(rule):
    """The layers below see no error, so that theirs is the rate of classes; features are as large as they please."""
    pytest.importorskip("snntorch") if rule == "stdp" else None
    data = cosines()
    result = altprop.fit(rule, "6-norm-64-2", data, epochs=5)
    assert result.recipe.lr == altprop.RULES[rule].suits.lr and result.recipe.readout.optimizer == "adam"
    first, last = result.metrics[0]["test_loss"], result.metrics[-1]["test_loss"]
    assert last < first < 1e3


def test_a_readout_that_diverges_is_told_what_reaches_it():
    """--lr is of the layers below."""
    with pytest.raises(RunError, match=r"lower lr in the recipe's table \[readout\], or give it optimizer = 'adam'"):
        altprop.fit("softhebb", "6-norm-64-2", cosines(), epochs=20, readout={"optimizer": "sgd", "lr": 10.0})


def test_rates_are_told_in_the_place_of_lr():
    """lr is not what the layers stepped by."""
    assert run_recipe(softhebb(rates=[0.04]), classes()).summary()["lr"] == [0.04]
    assert run_recipe(softhebb(lr=0.04), classes()).summary()["lr"] == 0.04
    solved = run_recipe(softhebb(rates=[0.04], readout={"by": "ridge"}), classes())
    assert [row["lr"] for row in solved.metrics] == [0.04, None]


def test_an_epoch_is_one_of_the_layers_below():
    """Epochs of the readout, on features that are there already, would be most of the median."""
    told = [(2.0, None), (5.0, None), (5.1, 0.3), (5.2, 0.2)]
    run = SimpleNamespace(metrics=[{"seconds": seconds, "test_loss": loss} for seconds, loss in told])
    beside = SimpleNamespace(metrics=[{"seconds": 1.0, "test_loss": 0.3}, {"seconds": 3.0, "test_loss": 0.2}])
    assert epoch_seconds([run]) == [2.0, 3.0] and epoch_seconds([beside]) == [1.0, 2.0]


AFTER = {"epochs": 2}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"net": "6-3", "readout": AFTER}, "is all there is: put one below, or use bp"),
        ({"net": "6-3", "readout": AFTER, "layerwise": True}, "is all there is: put one below, or use bp"),
        ({"net": "6-3", "readout": {"by": "ridge"}}, "is all there is: put one below, or use bp"),
        ({"readout": AFTER, "arguments": {"supervised": True}}, "give it by = 'hebbian' instead"),
    ],
    ids=str,
)
def test_what_would_be_ignored_is_refused(settings, words):
    with pytest.raises(RunError, match=words):
        prepare(softhebb(**settings), classes())


@pytest.mark.parametrize("settings", [{"readout": {"by": "hebbian", "epochs": 2}}, {"arguments": {"supervised": True}}])
def test_a_hebbian_readout_is_of_classes(settings):
    """A negative target would push its unit away."""
    with pytest.raises(RunError, match="a Hebbian readout came for targets that are no classes"):
        prepare(softhebb(**{"net": "6-norm-8-2", **settings}), cosines())


def test_features_too_large_for_their_type_are_no_bad_data():
    """float16 ends at 65504."""
    x, y = toy_tensors()
    data = from_torch((x * 1e5, y), (x * 1e5, y))
    recipe = softhebb(net="6-8-3", act="relu", init="radius25", epochs=1)
    with pytest.raises(RunError, match=r"features of samples from 0 of train on are too large for float16"):
        run_recipe(recipe.with_(readout={"epochs": 1, "dtype": "float16"}), data)


@pytest.mark.parametrize("arguments", [{"thresholds": True}, {}], ids=str)
def test_an_empty_batch_moves_no_threshold(arguments):
    """A mean over no samples is not a number, and a threshold would keep it for good."""
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    rule = altprop.HardWTA(net, example=torch.zeros(1, 6), **arguments)
    with pytest.raises(Refused, match="a batch without samples came"):
        rule.credit(torch.zeros(0, 6))
    assert all(bool(theta.isfinite().all()) for theta in rule.theta)
