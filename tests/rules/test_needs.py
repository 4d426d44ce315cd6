"""What is said of nets that lack what competing units need, of inputs that a rule would cut off, of broken runs."""

import warnings
from dataclasses import replace

import pytest
import torch
from run_helpers import run_cli, toy_tensors
from torch import nn

import altprop
from altprop import RULES
from altprop.core import RuleWarning
from altprop.data import Dataset
from altprop.measure import silent
from altprop.nets import build
from altprop.run.build import prepare
from altprop.run.checks import check_domain, check_units
from altprop.run.values import make_recipe

WORDS = {"norm": "a norm before layer", "radius": "long weight vectors", "triangle": "a triangle behind layer"}
IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def said(call):
    """(what call returns, the RuleWarnings)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(warning.message) for warning in caught if issubclass(warning.category, RuleWarning)]


def lacking(name, net, x, **options):
    """Which needs the rule names, of that net."""
    _, messages = said(lambda: RULES[name](net, example=x, **options))
    assert len(messages) <= 1 and all(len(message) <= 300 and "\n" not in message for message in messages)
    return {need for need, words in WORDS.items() if any(words in message for message in messages)}


NETS = [  # spec, activation, initialiser, what is lacking
    ("64-centre-32-10", "triangle", "radius25", set()),
    ("64-norm-32-10", "softmax5", "radius2", set()),
    ("64-2000-10", "softmax5", "positive35", set()),  # published without a norm
    ("64-32-10", "triangle", "radius25", {"norm"}),
    ("64-norm-32-10", "triangle", "he_uniform", {"radius"}),
    ("64-norm-32-10", "relu", "radius25", {"triangle"}),
    ("64-norm-32-10", "identity", "radius25", {"triangle"}),
    ("conv4k3-pool2-conv6k3-10", "relu", "torch", {"norm", "radius", "triangle"}),
    ("norm-conv4k3r1-pool2-norm-conv6k3r1-pool2-10", "triangle0.7,triangle1.4", "radius2", set()),
    ("norm-conv4k3r1-pool2-conv6k3r1-pool2-10", "triangle", "radius25", {"norm"}),  # the second alone
]


@pytest.mark.parametrize("name", ["softhebb", "hard_wta"])
@pytest.mark.parametrize(("spec", "act", "init", "want"), NETS)
def test_what_the_net_lacks_is_named(name, spec, act, init, want):
    """Silence, or a word of what is there."""
    assert lacking(name, build(spec, (1, 8, 8), 10, act=act, init=init), IMAGES) == want


def test_the_layer_is_named_and_many_are_cut_short():
    """A net of a hundred layers has no message of a page."""
    net = build("norm-conv4k3r1-pool2-conv6k3r1-pool2-10", (1, 8, 8), 10, act="triangle", init="radius25")
    assert "before layer 4 (" in said(lambda: altprop.SoftHebb(net, example=IMAGES))[1][0]
    deep = build("-".join(["64", *["8"] * 99, "10"]), (1, 8, 8), 10)
    assert "1, 3, 5, ..." in said(lambda: altprop.SoftHebb(deep, example=IMAGES))[1][0]


def test_inputs_that_are_centred_need_no_norm():
    """Standardised ones come with both signs; of zeros nothing is known; a norm behind the layer below serves."""
    net = build("64-32-10", (64,), 10, act="triangle", init="radius25")
    assert lacking("softhebb", net, torch.randn(1, 64)) == set() == lacking("softhebb", net, torch.zeros(1, 64))
    assert lacking("softhebb", net, torch.ones(1, 64)) == {"norm"}
    first, second, last = (nn.Linear(*sizes) for sizes in ((64, 8), (8, 8), (8, 10)))
    for layer in (first, second):
        nn.init.normal_(layer.weight)
    triangle = next(module for module in net if type(module).__name__ == "Triangle")
    net = nn.Sequential(first, triangle, nn.BatchNorm1d(8, affine=False), second, triangle, last)
    assert "norm" not in lacking("softhebb", net, torch.randn(1, 64))


def test_only_layers_that_learn_are_looked_at():
    """Frozen layers compete no more, the readout never does, and thresholds give every unit its share."""
    net = build("64-32-10", (1, 8, 8), 10, act="relu", init="torch")
    assert lacking("hard_wta", net, IMAGES, thresholds=True) == set()
    assert not altprop.HardWTA(net, example=IMAGES, thresholds=True).competes
    net[1].weight.requires_grad_(False)
    assert lacking("softhebb", net, IMAGES) == set()
    assert lacking("softhebb", nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), IMAGES) == set()


def test_looking_moves_nothing():
    """Statistics, modes and the random state are the net's and the user's."""
    net = nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 8), nn.Dropout(0.5), nn.ReLU(True), nn.Linear(8, 10)
    )
    net[1].requires_grad_(False)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state, x = torch.get_rng_state(), IMAGES.clone()
    assert "triangle" in lacking("softhebb", net, x)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and net.training and torch.equal(x, IMAGES)


def uncentred(n=300):
    """Positive samples that point one way, so that one unit wins them all."""
    x, y = toy_tensors(n)
    return x * 0.1 + 5, y


def test_a_run_that_collapses_says_so(tmp_path):
    """One line on the run, the count beside the last epoch, and nothing more when the run is read again."""
    result, messages = said(lambda: altprop.fit("softhebb", "6-20-3", uncentred(), epochs=2, out=tmp_path / "r"))
    (collapsed,) = [message for message in messages if "collapsed" in message]
    dead = result.metrics[-1]["never_win"]["0"]
    assert dead > 10 and f"{dead} of 20 units of layer '0' never win" in collapsed and len(collapsed) <= 300
    assert result.summary()["never_win"] == {"0": dead} and "never_win" not in result.metrics[0]
    assert [message for message in messages if "lacks a norm before layer 0" in message]
    loaded, messages = said(lambda: altprop.load(tmp_path / "r"))
    assert loaded.rule is not None and messages == []


def test_what_a_net_lacks_is_not_said_again_when_its_run_is_read(tmp_path):
    """A net without a triangle: whether it has one does not hang on the samples, which a run does not keep."""
    train = said(lambda: altprop.fit("softhebb", "6-20-3", uncentred(), epochs=1, act="relu", out=tmp_path / "r"))[1]
    assert any(WORDS["triangle"] in message for message in train)
    assert said(lambda: altprop.load(tmp_path / "r"))[1] == []


def test_a_run_that_does_well_says_nothing():
    """A default that warns of itself would be turned off."""
    x, y = uncentred()
    for rule in ("softhebb", "hard_wta", "hebb", "som"):
        result, messages = said(lambda rule=rule: altprop.fit(rule, data=(x, y), epochs=10))
        assert messages == [], messages
        assert ("never_win" in result.metrics[-1]) == result.rule.competes


def test_the_command_line_says_it(capsys, tmp_path, monkeypatch):
    """In words that name what is missing."""
    monkeypatch.chdir(tmp_path)
    outcome = run_cli(capsys, "train", "softhebb", "--net", "64-32-10", "--epochs", "1", "--json")
    result = outcome.json
    assert "lacks a norm before layer 1" in outcome.err
    assert set(result["never_win"]) == {"1"}


def test_units_that_answer_all_samples_alike():
    """Counted by hand: one whose ReLU is shut, one whose weights are zero; a map whose every position is alike."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
        net[0].bias.copy_(torch.tensor([0.0, 2.0, -9.0]))
        net[2].weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
    x = torch.tensor([[1.0, 1.0]] * 200 + [[2.0, 0.0]])
    assert silent(net, x) == {"0": 2, "2": 1}
    assert silent(net, x[:200]) == {"0": 3, "2": 2}
    for first in (0.0, 2.0):  # below or above all of the chunks that follow
        assert silent(net, torch.cat((torch.tensor([[first, 1.0]]), x[:200]))) == {"0": 2, "2": 1}
    with pytest.raises(altprop.Refused, match="1 samples came"):
        silent(net, x[:1])
    conv = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        conv[0].weight.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
    images = torch.zeros(3, 1, 2, 2)
    images[0, 0, 1, 1] = 1  # one position varies
    assert silent(conv, images)["0"] == 1


def test_mute_layers_are_told_of_any_rule_without_labels():
    """A net whose ReLUs are all shut trains to chance, whatever the rule."""
    x, _ = toy_tensors(60)
    for name in ("hebb", "som", "softhebb"):
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        nn.init.constant_(net[0].bias, -100.0)
        rule, _ = said(lambda name=name, net=net: RULES[name](net, example=x))
        (told,) = said(lambda rule=rule: check_units(rule, x))[1]
        assert "8 of 8 units of layer '0' answer all samples alike" in told, name
    taught = RULES["bp"](net, example=x)
    assert said(lambda: check_units(taught, x)) == ({}, [])


def test_few_samples_are_no_collapse():
    """Of 60 samples 200 units cannot all win: where 8 a unit would leave a few winners, a few are enough."""
    x, _ = toy_tensors(60)
    net = nn.Sequential(nn.Linear(6, 200, bias=False), nn.Linear(200, 3))
    rule, _ = said(lambda: altprop.SoftHebb(net, example=x))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[:3] = torch.eye(3, 6)
    written, told = said(lambda: check_units(rule, x))
    assert written["never_win"]["0"] >= 197 and told and "answer all samples alike" in told[0]
    with torch.no_grad():
        net[0].weight[3:] = 0.01 * torch.randn(197, 6)
    written, told = said(lambda: check_units(rule, x))
    assert 190 <= written["never_win"]["0"] < 200 and len(told) == (200 - written["never_win"]["0"] < 60 // 8 / 2)


def rates(low, high, dtype=torch.float32):
    x = torch.linspace(low, high, 60 * 6).view(60, 6).to(dtype)
    y = torch.arange(60) % 3
    return Dataset("rates", x, y, x, y, ("a", "b", "c"))


def test_rates_beyond_zero_and_one_are_told():
    """15 to 31 became a spike at every step, and the run chance, in silence."""
    for low, high in ((15, 31), (-0.5, 1), (0, 1.5)):
        with pytest.warns(RuleWarning, match=f"inputs from {low:g} to {high:g} came, but rule 'stdp' takes 0 to 1"):
            check_domain("stdp", rates(low, high))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_domain("stdp", rates(0, 1))
        check_domain("stdp", rates(0, 255, torch.uint8))
        check_domain("stdp", rates(15, 31).scaled("unit"))
        check_domain("softhebb", rates(15, 31))
    with pytest.warns(RuleWarning, match="--scale unit"):
        altprop.fit("stdp", data=replace(rates(15, 31)), epochs=1)


def test_an_example_beyond_zero_and_one_is_told():
    """Who writes the loop sees no recipe."""
    pytest.importorskip("snntorch")
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    for low, high, told in ((15.0, 31.0, 1), (-0.1, 0.5, 1), (0.0, 1.0, 0)):
        x = torch.linspace(low, high, 6).view(1, 6)
        messages = said(lambda x=x: altprop.STDP(net, example=x))[1]
        assert len(messages) == told and all(f"from {low:g} to {high:g} came to STDP" in m for m in messages)


def test_the_default_nets():
    """Centred before each layer, the readout too unless it learns afterwards; components keep a norm each."""
    nets = {rule: prepare(make_recipe(rule=rule, epochs=1)).recipe.net for rule in ("hebb", "softhebb", "gha", "bp")}
    centred = "64-centre-32-centre-10"
    assert nets == {"hebb": centred, "softhebb": centred, "gha": "64-norm-32-10", "bp": "64-32-10"}
    after = make_recipe(rule="softhebb", epochs=1, readout={"epochs": 2})
    assert prepare(after).recipe.net == "64-centre-32-10" and altprop.fit("softhebb", epochs=1, readout={"epochs": 1})
    rates = {rule: prepare(make_recipe(rule=rule, epochs=1)).recipe.readout.lr for rule in ("hebb", "gha")}
    assert rates == {"hebb": 0.02, "gha": 0.05}
