"""Every rule against a slow NumPy oracle that was written from the equations alone, in float64."""

import oracles
import oracles_feedback
import oracles_forward
import oracles_local
import oracles_targets
import pytest
import torch
from helpers import (
    CLASSES,
    LOSSES,
    NAMES,
    UNTAUGHT,
    assert_same,
    by_name,
    cnn,
    credit,
    inputs,
    labels,
    make,
    mlp,
    oracle_net,
    strided,
)
from torch import nn
from torch.nn import functional as F

from altprop import RULES

CONVNETS = {"cnn": cnn, "strided": strided}


def numpy_of(matrices):
    return [matrix.detach().numpy() for matrix in matrices]


def feedback(rule):
    return numpy_of(rule.feedback)


def decoders(rule):
    """V and c, the first of which are those of a rule without decoders that learn."""
    V = numpy_of(rule.V if hasattr(rule, "V") else rule.feedback)
    return (V, numpy_of(rule.offsets)) if hasattr(rule, "offsets") else (V,)


def auxiliary(rule):
    """records -> z U of the last hidden layer."""

    def more(records):
        h = records[-2]["h"]
        name = next((NAMES[type(module)] for module in rule.bends[-2]), "identity")
        z = oracles.act(name, h.reshape(len(h), -1) @ rule.features[0].numpy().T)
        return (z @ numpy_of(rule.auxiliary)[0]).reshape(h.shape)

    return more


ORACLES = {
    "bp": lambda rule, *a: oracles.bp(*a),
    "shallow": lambda rule, *a: oracles.shallow(*a),
    "fa": lambda rule, *a: oracles.fa(*a, feedback(rule)),
    "dfa": lambda rule, *a: oracles.dfa(*a, feedback(rule)),
    "sdfa": lambda rule, *a: oracles.sdfa(*a, feedback(rule)),
    "drtp": lambda rule, *a: oracles.drtp(*a, feedback(rule)),
    "ifa": lambda rule, *a: oracles.ifa(*a, next(iter(feedback(rule)), None)),
    "usf": lambda rule, *a: oracles_feedback.usf(*a, 1.0),
    "frsf": lambda rule, *a: oracles_feedback.frsf(*a, numpy_of(rule.magnitudes)),
    "brsf": lambda rule, *a: oracles_feedback.frsf(*a, numpy_of(rule.magnitudes)),
    "kp": lambda rule, *a: oracles_feedback.kp(*a, feedback(rule))[0],
    "wm": lambda rule, *a: oracles.fa(*a, feedback(rule)),
    "ssdfa": lambda rule, *a: oracles_feedback.ssdfa(*a, feedback(rule)),
    "afa": lambda rule, *a: oracles_feedback.afa(*a, feedback(rule)[0], sign=-1),
    "pepita": lambda rule, *a: oracles.pepita(*a, feedback(rule)[0]),
    "pepita_hebbian": lambda rule, *a: oracles_forward.pepita_hebbian(*a, feedback(rule)[0]),
    "pepita_local": lambda rule, *a: oracles_forward.pepita_hebbian(*a, feedback(rule)[0]),
    "mono": lambda rule, *a: oracles_local.mono(*a, numpy_of(rule.heads))[0],
    "tp": lambda rule, *a: oracles_targets.tp(*a, *decoders(rule)),
    "dtp": lambda rule, *a: oracles_targets.dtp(*a, *decoders(rule), rule.step),
    "sdtp": lambda rule, *a: oracles_targets.sdtp(*a, *decoders(rule)),
    "ao_sdtp": lambda rule, *a: oracles_targets.sdtp(*a, *decoders(rule), auxiliary(rule)),
    "ldrl": lambda rule, *a: oracles_targets.ldrl(*a, *decoders(rule), rule.step),
    "fwdtp": lambda rule, *a: oracles_targets.fwdtp(*a, *decoders(rule), rule.step),
}


def check(name, net, *, n=4, loss="cross_entropy", atol=1e-10, oracle=None, **options):
    x, y = inputs(net, n), labels(n)
    rule = make(name, net, x, loss=loss, **options)
    got = credit(rule, x, y, seed=5)
    t = F.one_hot(y, CLASSES).double().numpy()
    want = (oracle or ORACLES[name])(rule, oracle_net(net, x, seed=5), x.numpy(), t, loss)
    assert_same(got, by_name(net, want), atol)


def test_every_rule_has_an_oracle():
    """A rule without one would be tested by nothing that knows its equation."""
    own = {
        "ff",
        "local",
        "pc",
        "epc",
        "ep",
        "ep_lif",
        "burstprop",
        "burstccn",
        "forward_gradient",
        "forward_gradient_local",
        "gevb",
        "es",
        "mezo",
        "fzoo",
    }
    elsewhere = own | {*UNTAUGHT}  # below, and in the files that bear their names
    assert set(ORACLES) | elsewhere == set(RULES)


@pytest.mark.parametrize("goodness", ["sum", "mean"])
def test_forward_forward(goodness):
    """Goodness, threshold, lengths and the peer term of every layer, on the samples that the rule itself makes."""
    net = mlp(3, nn.ReLU)
    x, y = inputs(net), labels()
    rule = make("ff", net, x, goodness=goodness, peer=0.5, place="over")
    running = [mean.copy() for mean in numpy_of(rule.means)]
    got = credit(rule, x, y, seed=3)
    torch.manual_seed(3)
    positive, negative = rule.samples.pairs(x, y).numpy().reshape(2, len(x), -1)
    linear = [module for module in net if isinstance(module, nn.Linear)][:-1]
    weights, biases = numpy_of(m.weight for m in linear), numpy_of(m.bias for m in linear)
    want = oracles_forward.ff(weights, biases, positive, negative, goodness, running, 0.5)
    pairs = [layer["gradient"] for layer in want]
    hidden = {key: value for key, value in by_name(nn.Sequential(*net[:-1]), pairs).items()}
    assert_same({key: got[key] for key in hidden}, hidden, 1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("name", ORACLES)
def test_mlp(name, depth, act, bias):
    """A dropped slope, 1/N or bias, with dropout masks that the oracle drew by itself."""
    check(name, mlp(depth, act, bias, p=0.4), atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CONVNETS)
@pytest.mark.parametrize("name", ORACLES)
def test_convnet(name, kind, bias):
    """A signal that enters after the pool, a wrong stride on the way down, positions counted as samples."""
    check(name, CONVNETS[kind](p=0.3, bias=bias), n=2)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ORACLES)
def test_losses(name, loss):
    """The head of one loss under the name of another."""
    check(name, mlp(3, p=0.4), loss=loss, atol=1e-12)


@pytest.mark.parametrize("n", [2, 5])  # 5 samples of 3 classes take the low-rank route, 2 do not
@pytest.mark.parametrize("output_error", ["standard", "modulated"])
@pytest.mark.parametrize("presynaptic", ["modulated", "standard"])
@pytest.mark.parametrize("sign", [1, -1])
def test_pepita_options_mlp(sign, presynaptic, output_error, n):
    """An option that is read by nobody; a second mask; the low-rank route computing another pass."""
    options = {"sign": sign, "presynaptic": presynaptic, "output_error": output_error}
    net = mlp(3, p=0.4)
    check("pepita", net, n=n, atol=1e-12, scale=1.0, **options,
          oracle=lambda rule, *a: oracles.pepita(*a, feedback(rule)[0], **options))  # fmt: skip


@pytest.mark.parametrize("output_error", ["standard", "modulated"])
@pytest.mark.parametrize("presynaptic", ["modulated", "standard"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", CONVNETS)
def test_pepita_options_convnet(kind, sign, presynaptic, output_error):
    """The two passes pool by their own winners and share their masks."""
    options = {"sign": sign, "presynaptic": presynaptic, "output_error": output_error}
    check("pepita", CONVNETS[kind](p=0.3), n=2, scale=1.0, **options,
          oracle=lambda rule, *a: oracles.pepita(*a, feedback(rule)[0], **options))  # fmt: skip


@pytest.mark.parametrize("n", [2, 5])
def test_pepita_without_flatten_or_with_input_dropout(n):
    """A mask on the input stands in both passes, and the low-rank route, which cannot see it, stays away."""
    flat = mlp(2)
    x, y = inputs(flat, n), labels(n)
    dropped = nn.Sequential(nn.Dropout(0.5), *flat[1:])
    torch.manual_seed(5)
    mask = x.new_empty(x.shape).bernoulli_(0.5).div_(0.5)
    got = credit(make("pepita", dropped, x, scale=1.0), x, y, seed=5)
    F0 = make("pepita", dropped, x, scale=1.0).feedback[0]
    with torch.no_grad():  # a mask on x + e F is a mask on x and one on e F
        e = flat(x * mask).softmax(1) - F.one_hot(y, CLASSES)
        xm = (x + e @ F0) * mask
        h, hm = flat[1:3](x * mask), flat[1:3](xm)
        want = {"1.weight": (h - hm).T @ xm / n, "1.bias": (h - hm).mean(0)}
        want |= {"4.weight": e.T @ hm / n, "4.bias": e.mean(0)}
    assert_same(got, want, 1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_drtp_options(sign, scale):
    """A sign or a scale that is stored and never used."""
    check("drtp", mlp(3), sign=sign, scale=scale, atol=1e-12,
          oracle=lambda rule, *a: oracles.drtp(*a, [scale * D for D in feedback(rule)], sign))  # fmt: skip


@pytest.mark.parametrize("name", ["fa", "dfa", "sdfa", "ifa", "pepita"])
def test_feedback_scale(name):
    """The scale multiplies the matrices that are drawn, once."""
    net = mlp(3)
    x = inputs(net)
    one, three = make(name, net, x, scale=1.0), make(name, net, x, scale=3.0)
    for small, large in zip(one.feedback, three.feedback, strict=True):
        torch.testing.assert_close(large, 3 * small)
    check(name, net, scale=3.0, atol=1e-12)


@pytest.mark.parametrize("name", ["bp", "dfa", "pepita", "drtp"])
def test_real_valued_targets(name):
    """Targets (N, C) as they are given, not through an argmax."""
    net = mlp(2)
    x, t = inputs(net), torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rule = make(name, net, x, loss="mse")
    got = credit(rule, x, t)
    want = ORACLES[name](rule, oracle_net(net, x), x.numpy(), t.numpy(), "mse")
    assert_same(got, by_name(net, want), 1e-12)
