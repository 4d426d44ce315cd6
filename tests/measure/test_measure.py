"""Measures against hand-computed angles and bytes; and that measuring leaves no trace."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import inputs, labels, mlp
from torch import nn
from torch.nn import functional as F

from altprop import RULES, Backprop, Refused
from altprop.core.layer import Layer
from altprop.measure import angle, angles_to_bp, fgsm, peak_activation_bytes, receptive_fields, vanished


@pytest.mark.parametrize(
    ("u", "v", "degrees"),
    [([1, 0], [2, 0], 0), ([1, 0], [3, 3], 45), ([1, 0], [0, 5], 90), ([1, 2], [-2, -4], 180),
     ([1, 0], [1, math.sqrt(3)], 60)],
)  # fmt: skip
def test_angle_of_known_vectors(u, v, degrees):
    """Radians, or a cosine in place of the angle, would still look plausible in a plot."""
    assert angle(torch.tensor(u, dtype=torch.float64), torch.tensor(v, dtype=torch.float64)) == pytest.approx(
        degrees, abs=1e-5
    )


def test_angle_takes_tensors_as_vectors():
    """Two matrices whose rows are orthogonal one by one are orthogonal as a whole: no mean of angles of rows."""
    u, v = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    assert angle(u, v) == pytest.approx(math.degrees(math.acos(9 / 10)), abs=1e-5)


@pytest.mark.parametrize("zero", [0, 1])
def test_angle_to_nothing_is_nan(zero):
    """A layer that gets no signal would be drawn as aligned or as chance."""
    pair = [torch.ones(3), torch.ones(3)]
    pair[zero] = torch.zeros(3)
    assert math.isnan(angle(*pair))


def test_angle_of_tiny_vectors_does_not_vanish():
    """Squares of float32 below 1e-23 are 0: late in training every angle would be nan."""
    assert angle(torch.full((4,), 1e-30), torch.full((4,), 1e-30)) == pytest.approx(0, abs=1e-3)


def net(act=nn.Tanh, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(20, 30), nn.BatchNorm1d(30), act(), nn.Dropout(0.5), nn.Linear(30, 25), act(), nn.Linear(25, 4)
    ).to(dtype)


def batch(dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(40, 20, dtype=dtype), torch.randint(4, (40,))


def test_angles_of_bp_to_bp_are_zero():
    """The yardstick against itself; a probe in train mode would see other dropout masks and find an angle."""
    x, y = batch()
    angles = angles_to_bp(RULES["bp"](net(), example=x), x, y)
    assert list(angles) == ["0", "4", "6"]
    assert all(value == pytest.approx(0, abs=1e-4) for value in angles.values())


@pytest.mark.parametrize("name", ["fa", "dfa", "ifa", "sdfa", "drtp", "pepita"])
def test_output_layer_of_every_rule_is_aligned_and_hidden_ones_are_not(name):
    """Before training, random feedback in many dimensions is at a right angle to the gradient: chance is 90, not 0."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 100), torch.randint(10, (64,))
    wide = nn.Sequential(nn.Linear(100, 800), nn.Tanh(), nn.Linear(800, 10))
    angles = angles_to_bp(RULES[name](wide, example=x), x, y)
    assert angles["0"] == pytest.approx(90, abs=15)
    assert angles["2"] < 5


def test_layers_without_a_gradient_have_no_angle():
    """0 or 90 for a layer that does not learn would be a lie in the report."""
    x, y = batch()
    assert {key: value is None for key, value in angles_to_bp(RULES["shallow"](net(), example=x), x, y).items()} == {
        "0": True, "4": True, "6": False
    }  # fmt: skip
    frozen = net()
    frozen[4].requires_grad_(False)
    angles = angles_to_bp(RULES["bp"](frozen, example=x), x, y)
    assert angles["4"] is None and angles["0"] == pytest.approx(0, abs=1e-4)


def test_zero_gradients_give_no_angle():
    """nan is no JSON: it would break metrics.jsonl for other readers."""
    x, y = batch()
    rule = RULES["dfa"](net(), example=x)
    rule.feedback[0] = torch.zeros_like(rule.feedback[0])
    assert angles_to_bp(rule, x, y)["0"] is None


@pytest.mark.parametrize("measure", [angles_to_bp, peak_activation_bytes])
@pytest.mark.parametrize("name", ["bp", "fa", "dfa"])
def test_measuring_leaves_no_trace(measure, name):
    """Gradients, modes, norms' statistics: a probe that moves them changes the training that it watches."""
    x, y = batch()
    rule = RULES[name](net(), example=x)
    rule.train()
    rule.net[1].eval()  # a mode of its own must survive too
    rule.credit(x, y)
    gradients = {p: (p.grad, p.grad.clone()) for p in rule.net.parameters()}
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    modes = {module: module.training for module in rule.modules()}
    random = torch.get_rng_state()
    measure(rule, x, y)
    assert all(p.grad is held and torch.equal(held, copy) for p, (held, copy) in gradients.items())
    assert all(torch.equal(state[key], value) for key, value in rule.state_dict().items())
    assert modes == {module: module.training for module in rule.modules()}
    if measure is angles_to_bp:  # peak_activation_bytes says that it does not keep the random state
        assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("measure", [angles_to_bp, peak_activation_bytes])
def test_measuring_in_train_mode_leaves_running_statistics(measure):
    """A forward pass in train mode moves BatchNorm's statistics: the probe must run in eval mode or put them back."""
    x, y = batch()
    rule = RULES["bp"](net(), example=x)
    rule.train()
    before = {key: value.clone() for key, value in rule.net[1].named_buffers()}
    measure(rule, x, y)
    assert all(torch.equal(before[key], value) for key, value in rule.net[1].named_buffers())


@pytest.mark.parametrize("measure", [angles_to_bp, peak_activation_bytes])
def test_no_gradients_are_left_where_there_were_none(measure):
    """The next optimizer step would apply the probe's gradient on top."""
    x, y = batch()
    rule = RULES["fa"](net(), example=x)
    measure(rule, x, y)
    assert all(p.grad is None for p in rule.parameters())


class Scripted(nn.Module):
    """Stands in for a rule: ``credit`` runs a script of allocations."""

    def __init__(self, script):
        super().__init__()
        self.net = nn.Linear(100, 10, bias=False)  # its gradient takes 4000 bytes
        self.script = script

    def credit(self, x, y, ready):
        self.script(self, ready)


def one_after_the_other(rule, ready):
    a = torch.zeros(1000)
    del a
    torch.ones(500)


def both_at_once(rule, ready):
    a = torch.zeros(1000)
    b = torch.ones(500)
    del a, b
    torch.zeros(1200)


def temporary_inside(rule, ready):
    a = torch.zeros(1000)
    b = (a + 1) * 2  # a, the sum and the product at once
    del a, b


def views_and_in_place(rule, ready):
    a = torch.zeros(1000)
    a.add_(1).view(10, 100).t()[3:].mul_(2)


def gradient_kept_apart(rule, ready):
    weight = rule.net.weight
    with torch.no_grad():
        a = torch.zeros(50)
        weight.grad = torch.zeros(10, 100)
        layer = Layer(nn.Sequential(), rule.net, nn.Sequential())
        ready(layer)
        assert weight.grad is None, "ready hands the gradient out, and it is dropped"
        b = torch.zeros(70)
    del a, b


@pytest.mark.parametrize(
    ("script", "size"),
    [(one_after_the_other, 4000), (both_at_once, 6000), (temporary_inside, 12000), (views_and_in_place, 4000),
     (gradient_kept_apart, 480)],
)  # fmt: skip
def test_peak_of_known_allocations(script, size):
    """Bytes that a script of allocations holds at its worst moment, counted by hand."""
    assert peak_activation_bytes(Scripted(script), torch.zeros(1), torch.zeros(1)) == size


def test_peak_of_a_net_of_one_layer():
    """N = 50, C = 8, float32: output, error and error / N must be there at once, and at most one more of the size."""
    x, y = torch.randn(50, 4), torch.randn(50, 8)
    peak = peak_activation_bytes(RULES["bp"](nn.Sequential(nn.Linear(4, 8)), example=x, loss="mse"), x, y)
    unit = 50 * 8 * 4
    assert 2 * unit <= peak <= 4 * unit + 64


def stack(depth, width=64):
    torch.manual_seed(0)
    layers = [module for _ in range(depth - 1) for module in (nn.Linear(width, width), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def peak(name, depth, n=32):
    x, y = torch.randn(n, 64), torch.randint(10, (n,))
    return peak_activation_bytes(RULES[name](stack(depth), example=x), x, y)


ACTIVITY = 32 * 64 * 4


def test_drtp_holds_one_layer_whatever_the_depth():
    """The claim of a rule without locking: activity of depth 16 costs no more than that of depth 4."""
    assert abs(peak("drtp", 16) - peak("drtp", 4)) <= ACTIVITY
    assert ACTIVITY <= peak("drtp", 16) <= 6 * ACTIVITY


@pytest.mark.parametrize("name", ["bp", "fa", "dfa", "pepita"])
def test_rules_that_wait_hold_every_layer(name):
    """At least one activity a layer, at most four (before and after, signal, second pass); linear in depth."""
    small, middle, large = (peak(name, depth) for depth in (4, 16, 28))
    assert 11 * ACTIVITY <= middle - small <= 4 * 12 * ACTIVITY
    assert middle - small == pytest.approx(large - middle, abs=ACTIVITY)
    assert 15 * ACTIVITY <= middle <= 5 * 16 * ACTIVITY


class Settling(Backprop):
    """Answers by an inference that autograd is kept out of."""

    claims = replace(Backprop.claims, inference="own")

    @torch.no_grad()
    def forward(self, x):
        return 2 * self.net(x)


def test_an_inference_that_autograd_cannot_follow_is_refused_by_name():
    """torch's own error from deep inside would end a run, and tell nobody what is missing."""
    net = mlp()
    rule, x, y = Settling(net, example=inputs(net)), inputs(net), labels()
    for measure in (
        lambda: angles_to_bp(rule, x, y),
        lambda: fgsm(rule, x, y, 0.1, bounds=(-9.0, 9.0)),
        lambda: receptive_fields(rule, 1, 2),
    ):
        with pytest.raises(Refused, match=r"Settling answers by an inference of its own.*differentiable") as told:
            measure()
        assert len(str(told.value)) <= 290 and "\n" not in str(told.value)


def deep(small):
    """Three layers, of which the signal of the first is that of the last times ``small``."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    with torch.no_grad():
        net[2].weight *= small
    return net


def test_an_angle_to_a_gradient_that_has_vanished_is_none():
    """A direction of rounding would be read as alignment; just above the bound the angle stands."""
    x, y = batch(torch.float64)
    for small, gone in ((1e-9, ["0"]), (1e-4, []), (0.0, ["0"])):
        net = deep(small)
        rule = RULES["fa"](net, example=x)
        net.zero_grad()
        told, angles = vanished(rule, x, y), angles_to_bp(rule, x, y)
        assert list(told) == gone and [key for key, value in angles.items() if value is None] == gone
        F.cross_entropy(net(x), y).backward()
        norms = {key: math.hypot(*(p.grad.norm() for p in net[int(key)].parameters())) for key in angles}
        for key, share in told.items():
            assert share == pytest.approx(norms[key] / max(norms.values()), rel=1e-9) and share < 1e-7
