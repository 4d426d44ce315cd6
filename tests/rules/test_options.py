"""What PEPITA and its kin can be told beside their defaults, against the oracles, in float64; and what is refused."""

import re

import numpy as np
import oracles
import oracles_forward
import pytest
import torch
from helpers import CLASSES, assert_same, by_name, cnn, credit, inputs, labels, make, mlp, oracle_net, strided
from torch import nn
from torch.nn import functional as F

from altprop import Refused

NETS = {"mlp": lambda bias=True: mlp(3, p=0.4, bias=bias), "cnn": lambda bias=True: cnn(p=0.3, bias=bias),
        "strided": lambda bias=True: strided(p=0.3, bias=bias)}  # fmt: skip
N, LOSS, SEED = {"mlp": 4, "cnn": 2, "strided": 2}, "cross_entropy", 5


def case(kind, name, bias=True, n=None, **options):
    net = NETS[kind](bias)
    x, y = inputs(net, n or N[kind]), labels(n or N[kind])
    return make(name, net, x, **options), x, y


def numpy_of(matrices):
    return [matrix.detach().clone().numpy() for matrix in matrices]


def arguments(rule, x, y):
    """What an oracle takes first.  torch's random stream then stands behind the dropout of one forward pass."""
    return oracle_net(rule.net, x, SEED), x.numpy(), F.one_hot(y, CLASSES).double().numpy(), LOSS


def check_pepita(rule, x, y, **options):
    """One credit against the oracle; the layers below ``at`` have no gradient, where the oracle finds zeros."""
    F0 = rule.feedback[0].clone().numpy()
    before = arguments(rule, x, y)
    if rule.perturb == "random":
        at = rule.feedback_reaches
        options["perturbation"] = (rule.scale * torch.rand(len(x), *rule.shapes[at].x, dtype=x.dtype)).numpy()
    got = credit(rule, x, y, seed=SEED)
    want = oracles_forward.pepita(*before, F0, **options)
    assert all(not weight.any() for weight, _ in want[: rule.feedback_reaches])
    want = [None if level < rule.feedback_reaches else pair for level, pair in enumerate(want)]
    assert_same(got, by_name(rule.net, want), 1e-10)


# ------------------------------------------------------------------------------------------------------ PEPITA

VARIANTS = [
    {}, {"sign": -1}, {"presynaptic": "standard"}, {"output_error": "modulated"},
    {"sign": -1, "presynaptic": "standard", "output_error": "modulated"},
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("normalise", [None, "sample", "batch"])
@pytest.mark.parametrize(
    ("kind", "n", "at"), [("mlp", 2, 0), ("mlp", 5, 0), ("mlp", 4, 1), ("mlp", 4, 2), ("cnn", 2, 1), ("strided", 2, 1)]
)
def test_pepita_normalised_and_modulated_anywhere(kind, n, at, normalise, variant):
    """Lengths over the wrong axes, or in one pass only; a modulation that enters another layer than it is told."""
    rule, x, y = case(kind, "pepita", n=n, at=at, normalise=normalise, scale=1.0, **variant)
    check_pepita(rule, x, y, at=at, normalise=normalise, **variant)


@pytest.mark.parametrize("normalise", ["sample", "batch"])
@pytest.mark.parametrize("kind", ["cnn", "strided"])
def test_pepita_normalises_maps(kind, normalise):
    """The length of a map is that of all of its positions and channels, before the pool, and biases see it too."""
    for bias in (True, False):
        rule, x, y = case(kind, "pepita", bias, normalise=normalise, scale=1.0)
        check_pepita(rule, x, y, normalise=normalise)


@pytest.mark.parametrize("normalise", [None, "sample"])
@pytest.mark.parametrize(("kind", "at"), [("mlp", 0), ("mlp", 1), ("mlp", 2), ("cnn", 0)])
def test_pepita_disturbed_by_noise(kind, at, normalise):
    """Noise that is centred, drawn once for all samples, before the dropout, or scaled by nothing."""
    rule, x, y = case(kind, "pepita", perturb="random", at=at, normalise=normalise, scale=0.7)
    check_pepita(rule, x, y, at=at, normalise=normalise)


@pytest.mark.parametrize("kind", NETS)
def test_pepita_undisturbed(kind):
    """The control F = 0, under every variant of the output's error, whatever F is."""
    for output_error in ("standard", "modulated"):
        rule, x, y = case(kind, "pepita", perturb="none", scale=1.0, output_error=output_error)
        check_pepita(rule, x, y, output_error=output_error, perturbation=np.zeros(x.shape))


def test_an_activity_of_length_zero_stays_zero():
    """0 / 0 in one dead sample, or a dead batch, would fill every weight with nan."""
    for normalise in ("sample", "batch"):
        rule, x, y = case("mlp", "pepita", normalise=normalise)
        rule.net[1].weight.data.zero_(), rule.net[1].bias.data.zero_()
        check_pepita(rule, x, y, normalise=normalise)
        assert torch.isfinite(rule(x)).all()


@pytest.mark.parametrize("name", ["pepita", "pepita_hebbian", "pepita_local"])
@pytest.mark.parametrize("normalise", [None, "sample", "batch"])
@pytest.mark.parametrize("kind", NETS)
def test_inference_normalises_as_training(kind, normalise, name):
    """Trained with activities of length one and judged without, a net is another net."""
    rule, x, _ = case(kind, name, normalise=normalise)
    rule.eval()
    want = oracles_forward._forward(oracle_net(rule.net, x), x.numpy(), normalise)[-1]["h"]
    torch.testing.assert_close(rule(x).detach(), torch.from_numpy(want), atol=1e-12, rtol=0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("normalise", [None, "sample", "batch"])
@pytest.mark.parametrize("name", ["pepita_hebbian", "pepita_local"])
@pytest.mark.parametrize("kind", NETS)
def test_hebbian_options(kind, name, normalise, sign):
    """A sign or a length that the Hebbian siblings take and never use."""
    rule, x, y = case(kind, name, normalise=normalise, sign=sign, scale=1.0)
    net, x0, t, loss = arguments(rule, x, y)
    first = oracles_forward._forward(net, x0, normalise)
    e = oracles.output_error(first[-1]["h"], t, loss)[1]
    second = oracles_forward._forward(
        net, x0, normalise, shift=sign * oracles._project(e, rule.feedback[0].clone().numpy())
    )
    halves = oracles_forward._halves(net, first, e + t), oracles_forward._halves(net, second, t)
    assert_same(credit(rule, x, y, seed=SEED), by_name(rule.net, oracles_forward._plus(halves[0], -1, halves[1])))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", NETS)
def test_pepita_local_steps_between_the_passes(kind, sign):
    """The second pass must run with what the first left; halves swapped, or both after the end, do not."""
    rule, x, y = case(kind, "pepita_local", sign=sign, scale=1.0)
    want = oracles_forward.pepita_local(*arguments(rule, x, y), rule.feedback[0].clone().numpy(), 0.1, sign=sign)
    optimizers = {id(layer): torch.optim.SGD(layer.parameters(), lr=0.1) for layer in rule.layers}

    def ready(layer):
        optimizers[id(layer)].step()
        optimizers[id(layer)].zero_grad()

    credit(rule, x, y, ready, seed=SEED)
    assert_same({key: p.detach() for key, p in rule.net.named_parameters()}, by_name(rule.net, want))


# ---------------------------------------------------------------------------------------------- mirrored PEPITA


def mirrored(act=nn.ReLU, sign=1, bias=True, **options):
    net = mlp(3, act, bias)
    x, y = inputs(net, 6), labels(6)
    return make("pepita", net, x, mirror=True, sign=sign, scale=1.0, **options), x, y


def product(factors):
    return torch.from_numpy(np.linalg.multi_dot(numpy_of(factors)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
def test_one_credit_mirrors_once(act, sign, bias):
    """The old F teaches, the factors move once by this batch's noise, and F is their product, with the sign."""
    rule, x, y = mirrored(act, sign, bias, mirror_lr=0.3, mirror_decay=0.2)
    torch.testing.assert_close(rule.feedback[0], -sign * product(rule.factors).T, atol=1e-14, rtol=0)
    factors, std = numpy_of(rule.factors), (2 / 5) ** 0.5
    net = arguments(rule, x, y)[0]
    noise = [0.1 * torch.randn(len(x), len(F_l), dtype=x.dtype) for F_l in rule.factors]
    want = oracles_forward.mirror(net, factors, [(xi - xi.mean()).numpy() for xi in noise], 0.3, 0.2, std)
    check_pepita(rule, x, y, sign=sign)
    for got, F_l in zip(rule.factors, want, strict=True):
        torch.testing.assert_close(got, torch.from_numpy(F_l), atol=1e-10, rtol=0)
    torch.testing.assert_close(rule.feedback[0], -sign * product(rule.factors).T, atol=1e-12, rtol=0)


def test_mirroring_keeps_the_deviation():
    """F that grows or vanishes with training is a modulation of another size than the one that was asked for."""
    rule, x, y = mirrored()
    assert product(rule.factors).std() != pytest.approx((2 / 5) ** 0.5)  # a draw, not yet rescaled
    for _ in range(4):
        rule.credit(x, y)
        assert rule.feedback[0].std(correction=0).item() == pytest.approx((2 / 5) ** 0.5, rel=1e-12)


def test_factors_are_drawn_to_the_deviation_of_F():
    """The deviation of a product is not that of its factors: 0.05 sqrt(2 / n_0) within a few percent."""
    wide = nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 250), nn.ReLU(), nn.Linear(250, 50))
    rule = make("pepita", wide, torch.randn(1, 200), mirror=True)
    assert rule.feedback[0].std().item() == pytest.approx(0.05 * 0.1, rel=0.05)
    assert [tuple(F_l.shape) for F_l in rule.factors] == [(200, 300), (300, 250), (250, 50)]


def test_factors_rest_in_eval_mode():
    """Measuring an angle on a batch would train the feedback."""
    rule, x, y = mirrored()
    rule.eval()
    before, F0 = numpy_of(rule.factors), rule.feedback[0].clone()
    rule.credit(x, y)
    assert all(np.array_equal(*pair) for pair in zip(numpy_of(rule.factors), before, strict=True))
    assert torch.equal(rule.feedback[0], F0)


# ----------------------------------------------------------------------------------------------------- refusals

WRONG = [
    ("mlp", "pepita", {"sign": 0}, "sign=0 came; PEPITA takes 1 or -1"),
    ("mlp", "pepita", {"presynaptic": "mod"}, "presynaptic='mod' came; PEPITA takes 'modulated' or 'standard'"),
    ("mlp", "pepita", {"output_error": ""}, "output_error='' came; PEPITA takes 'standard' or 'modulated'"),
    ("mlp", "pepita", {"normalise": "layer"}, "normalise='layer' came; PEPITA takes None or 'sample' or 'batch'"),
    ("mlp", "pepita", {"perturb": None}, "perturb=None came; PEPITA takes 'error' or 'none' or 'random'"),
    ("mlp", "pepita", {"mirror": "yes"}, "mirror='yes' came; PEPITA takes False or True"),
    ("mlp", "pepita", {"at": 3}, "at=3 came; PEPITA modulates the input of a layer from 0 to 2"),
    ("mlp", "pepita", {"at": -1}, "at=-1 came; PEPITA modulates the input of a layer from 0 to 2"),
    ("mlp", "pepita", {"mirror": True, "at": 1}, "mirror=True came with at=1 and"),
    ("mlp", "pepita", {"mirror": True, "perturb": "random"}, "mirror=True came with at=0 and perturb='random'"),
    ("cnn", "pepita", {"mirror": True}, "mirror=True came for layer '0' (Conv2d(2, 3, kernel_size=(3, 3)"),
    ("mlp", "pepita_hebbian", {"sign": 2}, "sign=2 came; PEPITA takes 1 or -1"),
    ("mlp", "pepita_hebbian", {"normalise": "layer"}, "normalise='layer' came"),
    ("mlp", "pepita_local", {"sign": 2}, "sign=2 came; PEPITA takes 1 or -1"),
    ("mlp", "pepita_local", {"normalise": "layer"}, "normalise='layer' came"),
    ("mlp", "afa", {"sign": 0}, "sign=0 came; AFA takes -1 or 1"),
    ("mlp", "ssdfa", {"sparse": 0}, "sparse=0 came; SSDFA takes 1 to 3, the number of outputs"),
    ("mlp", "ssdfa", {"sparse": 4}, "sparse=4 came; SSDFA takes 1 to 3, the number of outputs"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "options", "message"), WRONG)
def test_wrong_options_are_refused_by_name(kind, name, options, message):
    """An option with a slip in it would train by the default, and the run would be filed under another name."""
    with pytest.raises(Refused, match=re.escape(message)):
        case(kind, name, **options)
