"""Mistakes that are easily made, by a user or in the code: each is refused in words, or comes out right."""

import pytest
import torch
from torch import nn

import altprop
from altprop.core import product
from altprop.data import load
from altprop.graph import Aligned
from altprop.measure import ATTACKS, fit_whitening, receptive_fields
from altprop.nets import build
from altprop.run.experiment import fit, predict
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe


def test_double_backward_through_align_takes_no_route_without_autograd(monkeypatch):
    """From 2^21 multiplications on products go to oneDNN, whose gradients would be zero in silence."""
    torch.manual_seed(0)
    model = altprop.align(nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256)), "fa")
    x = torch.randn(64, 256, requires_grad=True)
    norms = []
    for fast in (True, False):
        monkeypatch.setattr(product, "HAS_ONEDNN", product.HAS_ONEDNN and fast)
        monkeypatch.setattr(product, "onednn_is_faster", lambda x, weight: True)
        model.zero_grad()
        (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        gradient.square().sum().backward()
        norms.append(model[0].weight.grad.norm())
    assert norms[0] > 0
    torch.testing.assert_close(*norms, rtol=1e-4, atol=0)


def test_forward_forward_by_goodness_trains_with_measures():
    """Its readout gets no gradient from goodness, which has no angle then."""
    result = fit("ff", epochs=1, arguments={"inference": "goodness"})
    angles = result.metrics[-1]["angle_to_bp"]
    assert angles["3"] is None and angles["1"] is not None


def test_forward_forward_refuses_targets_that_are_no_classes():
    """Regression targets would be taken for classes by their largest entry."""
    rule = altprop.RULES["ff"](nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), example=torch.rand(1, 6))
    with pytest.raises(altprop.Refused, match=r"learns classes.*use 'fa'"):
        rule.credit(torch.rand(4, 6), torch.rand(4, 3))
    rule.credit(torch.rand(4, 6), torch.eye(3)[[0, 1, 2, 0]])


def test_attacks_and_fields_of_an_aligned_net_are_those_of_the_net():
    """Through feedback an attack goes astray, and the net seems robust."""
    data = load("digits")
    net = build("64-16-res16-10", data.shape, 10, seed=1)
    x, y = data.x_test[:40].float(), data.y_test[:40]
    bp = altprop.Backprop(net, example=x[:1])
    want = [ATTACKS[name](bp, x, y, 0.1, bounds=(0.0, float(x.max()))) for name in ("fgsm", "pgd")]
    field = receptive_fields(bp, 1, 3, steps=5)
    rule = Aligned(net, align="fa", example=x[:1])
    got = [ATTACKS[name](rule, x, y, 0.1, bounds=(0.0, float(x.max()))) for name in ("fgsm", "pgd")]
    for left, right in zip(got, want, strict=True):
        torch.testing.assert_close(left, right)
    torch.testing.assert_close(receptive_fields(rule, 1, 3, steps=5), field)


def test_whitening_reaches_data_from_python_and_predict(tmp_path):
    """Left out in silence, it would be another experiment; predicting on raw inputs would be wrong in silence."""
    settings = {"net": "64-10", "epochs": 1, "whiten": "zca"}
    named, given = (
        fit("bp", data="digits", **settings),
        fit("bp", data=load("digits"), **settings, out=tmp_path / "run"),
    )
    assert named.metrics[-1]["test_loss"] == given.metrics[-1]["test_loss"]
    data = load("digits")
    white = fit_whitening(data.x_train, "zca").apply(data.x_test)
    with torch.no_grad():
        torch.testing.assert_close(predict(tmp_path / "run", data.x_test)[0], given.net(white).softmax(1))


def test_a_container_is_kept_whole():
    """Nothing of its own can be meant but all that is in it."""
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), nn.Linear(4, 2))
    altprop.align(model, "fa", keep=["0"])
    assert altprop.report(model) == {"0.0": "kept", "0.2": "kept", "1": "converted"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"nesterov": True, "momentum": 0.0}, "nesterov came with optimizer 'sgd', momentum 0"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov came with optimizer 'adam'"),
        ({"rule": "usf", "arguments": {"scale": float("nan")}}, "scale=nan.*number that float32 holds"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(values, words):
    """What is dropped in silence, or breaks the run an hour later."""
    with pytest.raises(RunError, match=words):
        make_recipe(**values)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("usf", {"scale": -1.0}, "above 0"),
        ("wm", {"noise": 0.0}, "noise=0.0"),
        ("wm", {"mirror_lr": -1.0}, "mirror_lr=-1.0"),
        ("ff", {"label": 0.0}, "label=0.0"),
        ("ff", {"blurs": -1}, "blurs=-1"),
    ],
)
def test_arguments_out_of_range_are_refused(name, arguments, words):
    """They ran, and learned nothing or the opposite."""
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with pytest.raises(altprop.Refused, match=words):
        altprop.RULES[name](net, example=torch.rand(1, 6), **arguments)


def test_none_is_what_an_argument_is_by_itself():
    """The word that explain shows for it."""
    assert make_recipe(rule="pepita", arguments={"normalise": "None"}).arguments == {}
