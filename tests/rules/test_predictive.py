"""Predictive coding, against torch's own derivative of the energies: states and errors that settle by autograd."""

import copy
import warnings

import pytest
import torch
from helpers import CLASSES, assert_same, backward, cnn, credit, gradients, inputs, labels, make, masks, mlp, strided
from torch import nn
from torch.nn import functional as F

from altprop import RULES, Refused, fit
from altprop.core import RuleWarning

RELU = {"act": nn.ReLU}
NETS = {  # the net, and where its layers end
    "one layer": (lambda p: mlp(1, p=p), [2]),
    "two": (lambda p: mlp(2, p=p), [4, 5]),
    "four": (lambda p: mlp(4, p=p), [4, 7, 10, 11]),
    "relu": (lambda p: mlp(3, p=p, **RELU), [4, 7, 8]),
    "cnn": (cnn, [3, 6]),
    "strided": (strided, [3, 5, 8]),
}


class Masked(nn.Module):
    """Dropout whose mask is given."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask


def functions(net, ends, x):
    """f_l of every layer, with the masks that torch draws first from seed 0."""
    drawn = iter(masks(net.train(), x))
    parts = [Masked(torch.from_numpy(next(drawn))) if "Dropout" in type(part).__name__ else part for part in net]
    return [nn.Sequential(*parts[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def energy(f, s, y):
    """sum |f_l(s_{l-1}) - s_l|^2 / 2 + the loss, summed over the batch; s is [x, s_1, ..., s_{L-1}]."""
    hidden = sum(((f_l(below) - s_l) ** 2).sum() / 2 for f_l, below, s_l in zip(f, s, s[1:], strict=False))
    return hidden + F.cross_entropy(f[-1](s[-1]), y, reduction="sum")


def climb(f, x, e):
    """States, each the prediction from below plus an error."""
    s = [x]
    for f_l, e_l in zip(f, e, strict=False):
        s.append(f_l(s[-1]) + e_l)
    return s


def down(value, of, eta):
    """One step down in all of them at once."""
    slopes = torch.autograd.grad(value, of) if of else []
    return [(each - eta * slope).detach() for each, slope in zip(of, slopes, strict=True)]


def leaves(values):
    return [value.detach().requires_grad_() for value in values]


def strict(f, x, y, steps, eta):
    """The states after ``steps`` - 1 steps down in all of them, from the forward pass."""
    s = leaves(climb(f, x, [0.0] * (len(f) - 1))[1:])
    for _ in range(steps - 1):
        s = leaves(down(energy(f, [x, *s], y), s, eta))
    return [x, *s]


def by_errors(f, x, y, steps, eta):
    """The states after ``steps`` steps down in all errors, from zero."""
    e = leaves(torch.zeros_like(h) for h in climb(f, x, [0.0] * (len(f) - 1))[1:])
    for _ in range(steps):
        value = sum((e_l**2).sum() / 2 for e_l in e)
        value = value + F.cross_entropy(f[-1](climb(f, x, e)[-1]), y, reduction="sum")
        e = leaves(down(value, e, eta))
    return [each.detach() for each in climb(f, x, e)]


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize(("steps", "eta"), [(1, 0.3), (2, 0.3), (6, 0.1)])
@pytest.mark.parametrize(("name", "oracle"), [("pc", strict), ("epc", by_errors)])
def test_gradients_are_those_of_the_energy(name, oracle, steps, eta, kind):
    """A sign, a slope, a step too many, a mask drawn anew, a signal that comes from a state of another step."""
    build, ends = NETS[kind]
    net = build(0.3)
    x, y = inputs(net), labels()
    rule = make(name, net, x, steps=steps, eta=eta)
    got = credit(rule, x, y)
    f = functions(net, ends, x)
    s = oracle(f, x, y, steps, eta)
    net.zero_grad()
    value = energy(f, s, y) / len(x)
    value.backward()
    want = {key: torch.zeros_like(p) if p.grad is None else p.grad for key, p in net.named_parameters()}
    assert_same(got, want, 1e-12)
    assert rule.watch()["energy"] == pytest.approx(value.item(), rel=1e-12)


def test_incremental_layers_learn_in_every_sweep():
    """States and weights step together, by the slopes of one energy; a layer that learns later sees other states."""
    net = mlp(3)
    x, y, lr, steps, eta = inputs(net), labels(), 0.1, 4, 0.2
    own, ends = copy.deepcopy(net), NETS["relu"][1]
    f = functions(own, ends, x)
    s, weights = leaves(climb(f, x, [0.0, 0.0])[1:]), list(own.parameters())
    for _ in range(steps):
        value = energy(f, [x, *s], y)
        slopes = torch.autograd.grad(value / len(x), weights, retain_graph=True)
        s = leaves(down(value, s, eta))
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight -= lr * slope

    def step(layer):
        torch.optim.SGD(list(layer.parameters()), lr=lr).step()
        for parameter in layer.parameters():
            parameter.grad = None

    rule = make("pc", net, x, steps=steps, eta=eta, incremental=True)
    rule.credit(x, y, step)
    for (key, got), want in zip(net.named_parameters(), weights, strict=True):
        torch.testing.assert_close(got, want, atol=1e-13, rtol=0, msg=key)
    seen = []
    rule.credit(x, y, seen.append)
    assert len(seen) == len(rule.layers) * rule.claims.updates == 3 * steps


def test_incremental_learning_trains_in_a_run():
    """The optimizer steps a layer as often as it is announced, without being asked to stream."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 5, generator=generator)
    data = x, x[:, :CLASSES].argmax(1)
    arguments = {"incremental": True, "steps": 5, "eta": 0.1}
    result = fit("pc", "5-16-3", data, epochs=5, optimizer="sgd", lr=0.03, arguments=arguments, measure=False)
    assert result.test_accuracy > 0.8


@pytest.mark.parametrize("kind", ["four", "relu", "cnn", "strided"])
def test_fixed_predictions_are_backpropagation_in_as_many_sweeps_as_layers(kind):
    """T23: with one sweep less the first layer's error is still zero (Rosenbaum 2022)."""
    build, ends = NETS[kind]
    net = build(0.3)
    x, y = inputs(net), labels()
    want = backward(net, x, y)
    for options in ({"steps": len(ends), "eta": 1.0, "inference": "fixed"}, {"inference": "exact"}):
        assert_same(credit(make("pc", net, x, **options), x, y), want, 1e-10)
    early = credit(make("pc", net, x, steps=len(ends) - 1, eta=1.0, inference="fixed"), x, y)
    first = [key for key in early if key.startswith(next(iter(early)).partition(".")[0] + ".")]
    assert first and not any(early[key].any() for key in first)
    assert_same({k: g for k, g in early.items() if k not in first}, {k: g for k, g in want.items() if k not in first})


def test_fixed_predictions_tend_to_backpropagation():
    """Closer with every sweep, from the side of no signal."""
    net = mlp(3)
    x, y = inputs(net), labels()
    want = backward(net, x, y)["1.weight"]
    left = []
    for steps in (10, 20, 40, 300):
        got = credit(make("pc", net, x, steps=steps, eta=0.1, inference="fixed"), x, y)["1.weight"]
        left.append(float((got - want).norm() / want.norm()))
    assert left == sorted(left, reverse=True) and left[0] > 0.1 and left[-1] < 1e-10


def test_strict_predictions_tend_to_backpropagation_as_the_error_vanishes():
    """The states then do not move: half the error, half the distance."""
    net = mlp(3)
    x = inputs(net)
    direction = torch.randn(len(x), CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    left = []
    for size in (0.02, 0.01):
        t = net(x).detach() + size * direction
        net.zero_grad()
        (F.mse_loss(net(x), t, reduction="sum") / (2 * len(x))).backward()
        want = torch.cat([gradient.flatten() for gradient in gradients(net).values()])
        got = credit(make("pc", net, x, steps=400, eta=0.1, loss="mse"), x, t)
        got = torch.cat([gradient.flatten() for gradient in got.values()])
        left.append(1 - torch.cosine_similarity(got, want, 0))
    # mse too shrinks at equilibrium, so directions are compared: what differs is of the second order in the error
    assert left[0] > left[1] and left[1] < 0.05


def test_one_step_of_errors_is_backpropagation_scaled():
    """The first layer's gradient is eta times its own exactly; above, the states have moved by eta: slope 2."""
    net = mlp(3)
    x, y = inputs(net), labels()
    want, left = backward(net, x, y), []
    for eta in (0.02, 0.01):
        got = credit(make("epc", net, x, steps=1, eta=eta), x, y)
        assert_same({k: got[k] for k in ("1.weight", "1.bias")}, {k: eta * want[k] for k in ("1.weight", "1.bias")})
        left.append(float((got["4.weight"] - eta * want["4.weight"]).norm()))
    assert 3.5 < left[0] / left[1] < 4.5


def test_states_and_errors_settle_alike():
    """At the equilibrium of a small net both ways give the same gradients."""
    net = mlp(3)
    x, y = inputs(net), labels()
    found = [credit(make(name, net, x, steps=steps, eta=0.3), x, y) for name, steps in (("pc", 300), ("epc", 100))]
    assert_same(*found, 1e-10)


@pytest.mark.parametrize("name", ["pc", "epc"])
def test_energy_falls_with_every_step(name):
    """A step of inference is one down the energy; the top error shrinks, those below come into being."""
    net = mlp(4)
    x, y = inputs(net), labels()
    told = []
    for steps in range(1, 12):
        rule = make(name, net, x, steps=steps, eta=0.1)
        assert rule.watch() == {}
        rule.credit(x, y)
        told.append(rule.watch())
    energies = [each["energy"] for each in told]
    assert energies == sorted(energies, reverse=True) and energies[-1] < energies[0]
    errors = [each["prediction_error"] for each in told]
    assert [*errors[0]] == ["1", "4", "7", "10"] and errors[-1]["10"] < errors[0]["10"]
    assert errors[-1]["1"] > errors[0]["1"]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_sweep_brings_errors_down_by_one_layer(steps):
    net = mlp(4)
    x, y = inputs(net), labels()
    with pytest.warns(RuleWarning, match=rf"steps={steps} came for 4 layers: errors come down by one a sweep"):
        rule = make("pc", net, x, steps=steps)
    got = credit(rule, x, y)
    heard = [bool(got[f"{at}.weight"].any()) for at in (1, 4, 7, 10)]
    assert heard == [False] * (4 - steps) + [True] * steps


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("pc", {"steps": 0}, r"steps=0, eta=0.03 came; PC takes at least one step and an eta above 0 and up to 1"),
        ("epc", {"eta": 0.0}, r"steps=5, eta=0.0 came; EPC takes at least one step and an eta above 0"),
        ("epc", {"eta": 1.5}, r"eta=1.5 came"),
        ("pc", {"inference": "loose"}, r"inference='loose', .* came; PC takes strict, fixed, exact"),
        ("pc", {"inference": "fixed", "incremental": True}, r"incremental=True with strict alone"),
    ],
)
def test_what_cannot_settle_is_refused(name, options, told):
    net = mlp(2)
    with pytest.raises(Refused, match=told):
        make(name, net, inputs(net), **options)


@pytest.mark.parametrize("name", ["pc", "epc"])
def test_norms_of_batches_are_refused(name):
    """Their statistics would move with every prediction."""
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6, affine=False), nn.Tanh(), nn.Linear(6, CLASSES)).double()
    with pytest.raises(Refused, match=f"{RULES[name].__name__} cannot work with BatchNorm1d in the activation"):
        make(name, net, inputs(net))


def test_claims_follow_the_inference():
    """What is counted as passes is what the batch goes through; the limits are no defaults."""
    net = mlp(2)
    x = inputs(net)
    strictly, fixed = make("pc", net, x, steps=7), make("pc", net, x, steps=7, inference="fixed")
    assert (strictly.claims.passes, fixed.claims.passes, make("epc", net, x, steps=7).claims.passes) == (7, 1, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as many steps as layers are enough, and "exact" counts none
        make("pc", mlp(4), x, steps=4)
        make("pc", mlp(4), x, steps=1, inference="exact")
    for name in ("pc", "epc"):
        assert make(name, net, x).claims == RULES[name].claims and RULES[name].claims.is_backprop_when
