"""Weights of samples and classes, against torch's own weighted losses, one sample at a time, and scikit-learn."""

import os
import signal

import numpy as np
import pytest
import torch
from data_helpers import refused
from helpers import (
    CLASSES,
    LOSSES,
    UNTAUGHT,
    assert_same,
    cnn,
    gradients,
    hidden,
    inputs,
    labels,
    make,
    mlp,
    skip_where_noise_teaches,
    suited,
)  # fmt: skip
from run_helpers import assert_refused, run_cli, same_bits, toy, toy_file
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

import altprop
from altprop import RULES, Refused, Weighted
from altprop.data import Dataset, combined, from_torch, spell_weights
from altprop.limits import Interrupted
from altprop.run.experiment import resume_run
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe, read_recipe

N = 6
W = torch.tensor([0.25, 2.0, 0.0, 1.5, 0.75, 1.5], dtype=torch.float64)  # of mean 1
HEARD = [name for name, rule in RULES.items() if rule.weighs]
TWICE = [  # the error is part of their second input, or of what their states settle under
    name for name in HEARD
    if RULES[name].claims.passes > 1 and name not in UNTAUGHT
    and (RULES[name].claims.signal == "error" or RULES[name].claims.inference == "own")
]  # fmt: skip
LINEAR = [  # in the weight
    name for name in HEARD if name not in TWICE and (RULES[name].claims.averages or name in UNTAUGHT)
]
MODULATED = [name for name in TWICE if RULES[name].claims.signal == "error"]


def torch_losses(z, y, loss):
    """(N,): each sample's own loss by torch's functions."""
    t = F.one_hot(y, CLASSES).to(z)
    if loss == "cross_entropy":
        return F.cross_entropy(z, y, reduction="none")
    if loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1)
    return (z - t).square().sum(1) / 2


def taken(rule, x, y, **settings):
    """(gradients of net and rule, loss) of one credit in eval mode, where nothing is drawn."""
    rule.zero_grad(set_to_none=True)
    rule.eval()
    torch.manual_seed(0)
    loss = rule.credit(x, y, **settings)
    return gradients(rule), loss


def combination(parts, weights):
    """sum_n weights_n parts_n of dicts of gradients, None where all are None."""
    return {
        key: None if parts[0][key] is None else sum(w * part[key] for w, part in zip(weights, parts, strict=True))
        for key in parts[0]
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_backpropagation_of_a_weighted_loss_is_autograds(loss):
    """L = 1/N sum w l."""
    net = mlp()
    x, y = inputs(net, N), labels(N)
    got, value = taken(make("bp", net, x, loss=loss), x, Weighted(y, W))
    want = (W * torch_losses(net(x), y, loss)).sum() / N
    torch.testing.assert_close(value, want.detach())
    net.zero_grad(set_to_none=True)
    want.backward()
    assert_same(got, {f"net.{key}": gradient for key, gradient in gradients(net).items()})


def test_class_weights_are_those_of_torchs_cross_entropy():
    """Over the whole training part: torch divides by the sum of the weights, as a mean weight of 1 does."""
    net = mlp()
    x, y, classes = inputs(net, N), labels(N), torch.tensor([1.0, 5.0, 0.5])
    w = combined(None, classes.tolist(), ("a", "b", "c"), y)
    assert w.mean().item() == pytest.approx(1)
    got, value = taken(make("bp", net, x), x, Weighted(y, w.double()))
    want = F.cross_entropy(net(x), y, weight=classes.double())
    torch.testing.assert_close(value, want.detach(), atol=1e-6, rtol=1e-6)
    net.zero_grad(set_to_none=True)
    want.backward()
    assert_same(got, {f"net.{key}": gradient for key, gradient in gradients(net).items()}, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", LINEAR)
def test_a_weighted_batch_is_the_weighted_mean_of_its_samples(name, loss):
    """A rule that lost the weight of a sample on the way to one layer would train that layer on other data."""
    net = suited(name, mlp() if name == "stdp" or RULES[name].suits.init == "on_off" else cnn())
    x, y = inputs(net, N), labels(N)
    rule = make(name, net, x, loss=loss)
    skip_where_noise_teaches(rule, x, y)
    got, value = taken(rule, x, Weighted(y, W))
    parts, losses = zip(*(taken(rule, x[n : n + 1], y[n : n + 1]) for n in range(N)), strict=True)
    torch.testing.assert_close(value, sum(w * each for w, each in zip(W, losses, strict=True)) / N)
    want = combination(parts, W / N)
    deaf = {f"net.{key}" for key in hidden(net)} if name in UNTAUGHT else set()  # without an error, without weights
    keys = [key for key in want if key not in deaf]
    assert_same({key: got[key] for key in keys}, {key: want[key] for key in keys})
    plain, _ = taken(rule, x, y)
    assert all(got[key] is None or torch.equal(got[key], plain[key]) for key in deaf)


@pytest.mark.parametrize("name", TWICE)
def test_a_sample_of_weight_zero_is_as_if_it_were_not_there(name):
    """PEPITA's input carries w e, which for w = 0 is nothing, and for w = 1 what it was."""
    net = mlp()
    x, y = inputs(net, N), labels(N)
    rule = make(name, net, x)
    one = torch.ones(N, dtype=torch.float64)
    assert_same(taken(rule, x, Weighted(y, one))[0], taken(rule, x, y)[0])
    keep = torch.tensor([True, True, False, True, True, True])
    got, _ = taken(rule, x, Weighted(y, keep.double()))
    want, _ = taken(rule, x[keep], y[keep])
    assert_same(got, combination([want], [(N - 1) / N]))
    twice, _ = taken(rule, x, Weighted(y, 2 * one))
    assert any(g is not None and not torch.allclose(g, got[key]) for key, g in twice.items())


@pytest.mark.parametrize("name", MODULATED)
def test_without_a_modulation_a_weighted_batch_is_the_weighted_mean(name):
    """With F = 0 only the last layer learns, from targets and errors that both carry the weight."""
    net = mlp()
    x, y = inputs(net, N), labels(N)
    rule = make(name, net, x, scale=0.0)
    parts = [taken(rule, x[n : n + 1], y[n : n + 1])[0] for n in range(N)]
    assert_same(taken(rule, x, Weighted(y, W))[0], combination(parts, W / N))


@pytest.mark.parametrize("ready", [None, lambda layer: None], ids=["whole", "halves"])
@pytest.mark.parametrize("name", ["pepita_hebbian", "pepita_local"])
def test_hebbian_pepita_weighs_what_either_pass_adds(name, ready):
    """W_2.grad = (w y_hat)^T h / N - (w t)^T h^m / N, written out; x^m = x + w (y_hat - t) F."""
    net = mlp(depth=2)
    x, y = inputs(net, N), labels(N)
    rule = make(name, net, x, scale=1.0)
    got, _ = taken(rule, x, Weighted(y, W), ready=ready)
    with torch.no_grad():
        (W_1, b_1, W_2, b_2), t, w = net.parameters(), F.one_hot(y, CLASSES).double(), W[:, None]
        h = (x @ W_1.T + b_1).tanh()
        y_hat = (h @ W_2.T + b_2).softmax(1)
        h_m = ((x + w * (y_hat - t) @ rule.feedback[0]) @ W_1.T + b_1).tanh()
        want = ((w * y_hat).T @ h - (w * t).T @ h_m) / N
    torch.testing.assert_close(got[[key for key in got if key.startswith("net.") and key.endswith("weight")][-1]], want)


def test_a_hebbian_readout_weighs_its_labels():
    net = mlp(depth=2)
    x, y = inputs(net, N), labels(N)
    rule = make("softhebb", net, x, supervised=True, scale=None)
    parts = [taken(rule, x[n : n + 1], y[n : n + 1])[0] for n in range(N)]
    top = "net.4.weight" if "net.4.weight" in parts[0] else "net.3.weight"
    got = taken(rule, x, Weighted(y, W))[0]
    torch.testing.assert_close(got[top], combination(parts, W / N)[top])


def test_forward_forward_refuses_weights():
    """Its hidden layers would go on as if all samples counted alike."""
    net = mlp()
    x, y = inputs(net, N), labels(N)
    with pytest.raises(Refused, match="ForwardForward has no error that a weight could multiply"):
        make("ff", net, x).credit(x, Weighted(y, W))
    with pytest.raises(RunError, match="'ff', which has no error"):
        altprop.fit("ff", data=toy(), class_weight="balanced", epochs=1)


def test_balanced_is_scikit_learns():
    y = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    want = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    np.testing.assert_allclose(combined(None, "balanced", ("a", "b", "c"), y).numpy(), want[y.numpy()], rtol=1e-6)


def test_classes_that_are_not_named_count_one_and_weights_multiply():
    y = torch.tensor([0, 1, 2, 2])
    w = combined(torch.tensor([1.0, 1.0, 1.0, 3.0]), {"b": 5.0}, ("a", "b", "c"), y)
    torch.testing.assert_close(w, torch.tensor([1.0, 5.0, 1.0, 3.0]) / 2.5)
    assert combined(None, None, ("a", "b"), y) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dog": 2.0}, ["'dog'", "no class", "cat"]),
        ([1.0, 2.0], ["(2,) for 3 classes", "(3,)"]),
        ([1.0, -1.0, 1.0], ["-1 in row 1"]),
        ([1.0, float("nan"), 1.0], ["nan in row 1"]),
        ([0.0, 0.0, 0.0], ["nothing but 0"]),
        ([1.0, "two", 1.0], ["expected numbers"]),
    ],
)
def test_class_weights_that_do_not_fit_are_refused(given, words):
    with refused("class_weight", *words):
        combined(None, given, ("cat", "eel", "owl"), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    ("weights", "words"),
    [(np.ones(3), ["(3,)", "60 training samples"]), (-np.ones(60), ["-1 in row 0"]), (np.zeros(60), ["nothing but 0"]),
     (np.full(60, np.inf), ["inf in row 0"]), (["much"] * 60, ["expected numbers"])],
)  # fmt: skip
def test_sample_weights_that_do_not_fit_are_refused(weights, words):
    with refused("sample_weight", *words):
        from_torch(toy(), sample_weight=weights)


def test_targets_that_are_no_classes_have_no_class_weights():
    with refused("class_weight came for targets that are no classes", "sample_weight"):
        altprop.fit("bp", data=(toy()[0], toy()[0][:, :2]), class_weight="balanced")


def test_weights_go_with_their_samples():
    """Through the held-out fifth and the validation part; shifted by one they would weigh strangers."""
    x, y = toy()
    weights = np.abs(x[:, 0]) + 1
    data = from_torch((x, y), sample_weight=weights).split_validation(0.2, 0)
    np.testing.assert_allclose(data.weights.numpy(), np.abs(data.x_train[:, 0].numpy()) + 1, rtol=1e-6)
    assert len(data.weights) == len(data.x_train) < 60
    given = from_torch({"x": x, "y": y, "x_test": x[:9], "y_test": y[:9]}, sample_weight=weights.tolist())
    np.testing.assert_allclose(given.weights.numpy(), weights, rtol=1e-6)
    with refused("weights", "(3,)"):
        Dataset("own", data.x_train, data.y_train, data.x_test, data.y_test, data.classes, weights=torch.ones(3))


@pytest.mark.parametrize("rule", ["bp", "drtp", "sdfa"])
def test_fit_by_class_is_fit_by_sample(rule):
    """And neither is a fit without weights, nor depends on their size."""
    x, y = toy()
    settings = {"epochs": 2, "net": "6-5-3", "data": (x, y)}
    by_class = altprop.fit(rule, class_weight={1: 4, 2: 0.5}, **settings)
    by_sample = altprop.fit(rule, sample_weight=10 * np.array([1, 4, 0.5])[y], **settings)
    plain = altprop.fit(rule, **settings)
    for a, b, c in zip(*(run.net.parameters() for run in (by_class, by_sample, plain)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
        assert not torch.allclose(a, c, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {"stream": True}, {"loss": "mse", "lr": 0.01}, {"loss": "binary_cross_entropy"}]
)
def test_samples_of_weight_zero_teach_nothing(settings):
    """Two thirds of the labels are wrong, and weigh nothing; whole batches of them would otherwise decide."""
    x, y = toy(180)
    wrong = np.arange(180) % 9 >= 3
    false = np.where(wrong, (y + 1) % 3, y)
    test = {"x_test": x, "y_test": y}
    fit = {"net": "6-16-3", "epochs": 30, "lr": 0.05, "measure": False, **settings}
    data = {"x": x, "y": false, **test}
    assert altprop.fit("dfa", data=data, sample_weight=~wrong, **fit).test_accuracy > 0.95
    assert altprop.fit("dfa", data=data, **fit).test_accuracy < 0.2


def test_a_readout_after_the_layers_below_hears_the_weights():
    """Below it no label is seen, so that no weight is."""
    settings = {"data": toy(), "net": "norm-8-3", "epochs": 1, "layerwise": True, "readout": {"epochs": 2}}
    plain, weighted = (altprop.fit("softhebb", class_weight=given, **settings) for given in (None, [1, 5, 1]))
    (low, low_weighted), (top, top_weighted) = (
        [run.rule.layers[index].synapse.weight for run in (plain, weighted)] for index in (0, 1)
    )
    assert torch.equal(low, low_weighted) and not torch.allclose(top, top_weighted, atol=1e-4)
    by_sample = altprop.fit("softhebb", sample_weight=np.array([1, 5, 1])[toy()[1]], **settings)
    torch.testing.assert_close(by_sample.rule.layers[1].synapse.weight, top_weighted, atol=1e-5, rtol=1e-4)
    with pytest.raises(RunError, match="without a readout by descent"):
        altprop.fit("softhebb", class_weight="balanced", **{**settings, "readout": {"by": "ridge"}})


def stop(epoch, epochs, batch, batches, loss):
    if (epoch, batch) == (1, 1):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_weighted_run_resumes_to_the_bit_and_wants_its_weights(tmp_path):
    """Resumed without them it would go on as another run."""
    x, y = toy()
    w, settings = (
        np.linspace(0, 2, 60),
        {"data": (x, y), "net": "6-5-3", "epochs": 3, "batch": 16, "class_weight": [1, 2, 3]},
    )
    whole = altprop.fit("dfa", sample_weight=w, **settings)
    with pytest.raises(Interrupted):
        altprop.fit("dfa", sample_weight=w, out=tmp_path / "run", progress=stop, **settings)
    resumed = resume_run(tmp_path / "run", data=(x, y), sample_weight=w)
    assert same_bits(whole.rule.state_dict(), resumed.rule.state_dict())
    with pytest.raises(Interrupted):
        altprop.fit("dfa", sample_weight=w, out=tmp_path / "other", progress=stop, **{**settings, "class_weight": None})
    with pytest.raises(RunError, match="with weights of its samples"):
        resume_run(tmp_path / "other", data=(x, y))


def test_sample_weights_need_the_samples():
    for data in ("digits", from_torch(toy())):
        with pytest.raises(RunError, match="sample_weight came"):
            altprop.fit("bp", data=data, sample_weight=np.ones(60))


@pytest.mark.parametrize(
    ("given", "spelled"),
    [("balanced", "balanced"), ("1,5,.5", [1.0, 5.0, 0.5]), ("cat=1, dog=5", {"cat": 1.0, "dog": 5.0}),
     ({0: 1, 2.0: 5, True: 2, "a b": 3}, {"0": 1, "2": 5, "True": 2, "a b": 3}), (np.array([1.0, 2.0]), [1.0, 2.0]),
     ((1, 2), [1, 2]), (None, None)],
)  # fmt: skip
def test_class_weights_survive_the_recipe(tmp_path, given, spelled):
    """A recipe is what a run is resumed and read from; names may be any text."""
    assert spell_weights(given) == spelled
    recipe = make_recipe(class_weight=given)
    (tmp_path / "recipe.toml").write_text(recipe.toml())
    assert read_recipe(tmp_path / "recipe.toml") == recipe and recipe.class_weight == spelled


def test_the_command_line_takes_class_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)
    options = ["bp", "--data", "toy.npz", "--epochs", 1, "--no-measure", "--out", "run", "--class-weight"]
    loss = run_cli(capsys, "train", *options, "1,7,1", "--json").json["loss"]
    runs = [altprop.fit("bp", data="toy.npz", epochs=1, measure=False, class_weight=given) for given in (None, "1=7")]
    assert runs[0].summary()["loss"] != runs[1].summary()["loss"] == loss
    assert_refused(run_cli(capsys, "train", *options, "heavy"), "'heavy'", "balanced", "cat=1,dog=5")
    assert_refused(run_cli(capsys, "train", *options, "a=1,5"), "'a=1,5'")
