"""Where theory says that a rule of the newer families is another one, or what its feedback tends to, in float64."""

import math

import numpy as np
import pytest
import torch
from helpers import CLASSES, assert_same, backward, cnn, credit, hidden, inputs, labels, make, mlp, strided
from torch import nn
from torch.nn import functional as F

from altprop.measure import angle, feedback_angles

NETS = {"mlp": lambda: mlp(3, p=0.4), "cnn": lambda: cnn(p=0.4), "strided": lambda: strided(p=0.4)}


def case(kind):
    net = NETS[kind]()
    return net, inputs(net), labels()


def numpy_of(matrices):
    return [matrix.detach().clone().numpy() for matrix in matrices]


def weights(rule):
    return [layer.synapse.weight for layer in rule.layers]


def slopes(errors):
    """Of the logarithm of each error (one row a step of ten) over the logarithm of the step."""
    logs = torch.tensor(errors, dtype=torch.float64).log10()
    return logs[:-1] - logs[1:]


def output_error(net, x, y):
    with torch.no_grad():
        return net(x).softmax(1) - F.one_hot(y, CLASSES)


# ------------------------------------------------------------------------------------------- symmetric feedback


@pytest.mark.parametrize("kind", NETS)
def test_usf_of_weights_of_one_magnitude_is_bp(kind):
    """B = s sign(W) and |W| = s: nothing is lost but what the implementation loses."""
    net, x, y = case(kind)
    for module in net[1:]:
        if hasattr(module, "weight"):
            outputs, inputs_, *kernel = module.weight.shape
            s = math.sqrt(2 / ((outputs + inputs_) * math.prod(kernel)))
            module.weight.data = s * module.weight.data.sign()
    assert_same(credit(make("usf", net, x), x, y), backward(net, x, y))


@pytest.mark.parametrize("kind", NETS)
def test_frsf_of_the_weights_own_magnitudes_is_bp(kind):
    """|W| sign(W) = W."""
    net, x, y = case(kind)
    rule = make("frsf", net, x)
    for index, W in enumerate(weights(rule)[1:]):
        rule.magnitudes[index] = W.abs()
    assert_same(credit(rule, x, y), backward(net, x, y))


@pytest.mark.parametrize("name", ["kp", "wm"])
@pytest.mark.parametrize("kind", NETS)
def test_learned_feedback_that_equals_the_weights_is_bp(kind, name):
    """A transposed or misplaced matrix; noise of the mirror that gets into the signal."""
    net, x, y = case(kind)
    rule = make(name, net, x)
    for B, W in zip(rule.feedback, weights(rule)[1:], strict=True):
        B.data.copy_(W)
    assert_same(credit(rule, x, y), backward(net, x, y))


def differences_of_kp(net, x, y, steps, **options):
    """(steps + 1, layers): |W - B| of every layer above the first."""
    rule = make("kp", net, x)
    optimizer = torch.optim.SGD(rule.param_groups(0.1), lr=0.1, **options)
    history = []
    for step in range(steps + 1):
        with torch.no_grad():
            history.append([(W - B).norm().item() for W, B in zip(weights(rule)[1:], rule.feedback, strict=True)])
        optimizer.zero_grad()
        torch.manual_seed(step)
        rule.credit(x, y)
        optimizer.step()
    return np.array(history)


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("kind", NETS)
def test_kp_forgets_the_difference_at_the_rate_of_the_decay(kind, decay):
    """|W - B| shrinks by 1 - lr decay a step, exactly, and without decay it stays: any other increment shows."""
    history = differences_of_kp(*case(kind), 5, weight_decay=decay)
    want = history[:1] * (1 - 0.1 * decay) ** np.arange(6)[:, None]
    np.testing.assert_allclose(history, want, rtol=1e-10, atol=0)


# ---------------------------------------------------------------------------------------------- weight mirrors


def test_wm_of_a_linear_net_finds_the_directions_of_the_weights():
    """Below 10 degrees after 1e4 samples of noise, closer at each of five checkpoints; W itself is not moved."""
    net = mlp(3, nn.Identity)
    x, y = inputs(net, 100), labels(100)
    rule = make("wm", net, x, mirror_lr=0.1, mirror_decay=0.1)
    before = numpy_of(net.parameters())
    optimizer = torch.optim.SGD(rule.param_groups(0.0), lr=0.0)
    torch.manual_seed(0)
    checkpoints = []
    for step in range(101):
        if step % 20 == 0:
            pairs = zip(weights(rule)[1:], rule.feedback, strict=True)
            checkpoints.append([angle(B.detach(), W.detach()) for W, B in pairs])
        optimizer.zero_grad()
        rule.credit(x, y)
        optimizer.step()
    checkpoints = np.array(checkpoints)
    assert (np.diff(checkpoints, axis=0) < 0).all(), checkpoints
    assert (checkpoints[0] > 45).all() and (checkpoints[-1] < 10).all(), checkpoints
    assert all(np.array_equal(*pair) for pair in zip(before, numpy_of(net.parameters()), strict=True))


def test_the_increment_of_a_linear_mirror_is_expected_to_be_the_weight():
    """Undivided by M or by the variance it would point the same way at another rate."""
    net = mlp(3, nn.Identity)
    x, n = inputs(net), 20000
    rule = make("wm", net, x, noise=0.3)
    generator = torch.Generator().manual_seed(0)
    rule.mirror([0.3 * torch.randn(n, W.shape[1], generator=generator, dtype=W.dtype) for W in weights(rule)[1:]])
    for layer, B in zip(rule.layers[1:], rule.feedback, strict=True):
        W, b = layer.synapse.weight.detach(), layer.synapse.bias.detach()
        deviation = (2 * W.square().sum(1) + (b / 0.3) ** 2).sqrt().max() / n**0.5  # of one entry, at most
        assert (B.grad + W).abs().max() < 5 * deviation


# ------------------------------------------------------------------------------------------- sparse projections


@pytest.mark.parametrize("c", range(CLASSES))
def test_ssdfa_units_hear_one_output_each(c):
    """The update of a unit is the same, to the bit, whatever the errors of the outputs that it does not hear."""
    net = mlp(3)
    x, y = inputs(net), labels()
    rule = make("ssdfa", net, x)
    assert all(((D != 0).sum(0) == 1).all() for D in rule.feedback)
    before, plain = credit(rule, x, y), rule.output_error
    noise = torch.randn(len(x), CLASSES).double().index_fill(1, torch.tensor([c]), 0)
    rule.output_error = lambda output, t: (plain(output, t)[0], plain(output, t)[1] + noise)
    after = credit(rule, x, y)
    for layer, D in zip(rule.layers, rule.feedback, strict=False):
        left, right = before[f"{layer.name}.weight"], after[f"{layer.name}.weight"]
        assert torch.equal((left == right).all(1), D[c] != 0)
    assert 0 < (rule.feedback[0][c] != 0).sum() < 7


# ------------------------------------------------------------------------------------- PEPITA and its derivative


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", [2, 5])
def test_linear_pepita_is_afa(n, sign, bias):
    """Where everything is linear the first order is all there is, dropout included, at any size of F."""
    net = mlp(3, nn.Identity, bias, p=0.4)
    x, y = inputs(net, n), labels(n)
    pepita = make("pepita", net, x, presynaptic="standard", sign=sign, scale=1.0)
    afa = make("afa", net, x, sign=sign, scale=1.0)
    assert torch.equal(pepita.feedback[0], afa.feedback[0])
    assert_same(credit(pepita, x, y), credit(afa, x, y), 1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_small_pepita_is_afa(sign):
    """PEPITA with eps F, over eps, tends to AFA with F as eps does: a slope of one in every hidden layer."""
    net = mlp(4)
    x, y = inputs(net, 5), labels(5)
    pepita = make("pepita", net, x, presynaptic="standard", sign=sign, scale=1.0)
    F1 = pepita.feedback[0].clone()
    want = credit(make("afa", net, x, sign=sign, scale=1.0), x, y)
    errors = []
    for eps in (1e-2, 1e-3, 1e-4):
        pepita.feedback[0] = eps * F1
        got = credit(pepita, x, y)
        errors.append([((got[key] / eps - want[key]).norm() / want[key].norm()).item() for key in hidden(net)])
    assert ((slopes(errors) > 0.9) & (slopes(errors) < 1.1)).all(), slopes(errors)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", [lambda: mlp(3, nn.ReLU), cnn], ids=["mlp", "cnn"])
def test_pepita_hebbian_is_the_gradient_of_the_difference_of_squared_norms(kind, sign):
    """0.5 (|h|^2 - |h^m|^2) / M by autograd, the inputs of the layer held constant, for ReLU."""
    net = kind()
    x, y = inputs(net), labels()
    rule = make("pepita_hebbian", net, x, sign=sign, scale=1.0)
    got = credit(rule, x, y)
    clean, modulated = x, x + sign * (output_error(net, x, y) @ rule.feedback[0].flatten(1)).view_as(x)
    net.zero_grad()
    for layer in rule.layers[:-1]:
        h, hm = layer(clean.detach()), layer(modulated.detach())
        M = h.numel() / h.shape[1]
        (0.5 * (h.square().sum() - hm.square().sum()) / M).backward()
        clean, modulated = h, hm
    want = {key: p.grad for key, p in net.named_parameters() if key in hidden(net)}
    assert_same({key: got[key] for key in want}, want)


@pytest.mark.parametrize("sign", [1, -1])
def test_pepita_local_in_time_tends_to_pepita_hebbian(sign):
    """Its two half updates differ from the one update by the square of the rate: a slope of two."""
    errors = []
    for lr in (1e-1, 1e-2, 1e-3):
        net = mlp(3)
        x, y = inputs(net), labels()
        start = {key: p.detach().clone() for key, p in net.named_parameters()}
        together = credit(make("pepita_hebbian", net, x, sign=sign, scale=1.0), x, y)

        def step(layer, lr=lr):
            for p in layer.parameters():
                p -= lr * p.grad
                p.grad = None

        credit(make("pepita_local", net, x, sign=sign, scale=1.0), x, y, step)
        moved = {key: p.detach() - start[key] for key, p in net.named_parameters()}
        errors.append([torch.cat([(moved[key] + lr * g).flatten() for key, g in together.items()]).norm().item()])
    assert ((slopes(errors) > 1.9) & (slopes(errors) < 2.1)).all(), slopes(errors)


# ---------------------------------------------------------------------------------------- angles of the feedback


def degrees(u, v):
    """By the law of cosines in NumPy."""
    u, v = np.ravel(u), np.ravel(v)
    return math.degrees(math.acos((u @ u + v @ v - (u - v) @ (u - v)) / (2 * np.linalg.norm(u) * np.linalg.norm(v))))


def test_feedback_angles_by_hand():
    """A matrix held against the weight of the wrong layer, or against a product in the wrong order."""
    net = mlp(3)
    x = inputs(net)
    W1, W2, W3 = numpy_of(module.weight for module in net if hasattr(module, "weight"))

    def angles(name, **options):
        rule = make(name, net, x, **options)
        return feedback_angles(rule), numpy_of(rule.feedback)

    for name in ("fa", "usf", "frsf", "brsf", "kp", "wm"):
        got, (B2, B3) = angles(name)
        assert got == {"4": pytest.approx(degrees(B2, W2)), "7": pytest.approx(degrees(B3, W3))}, name
    for name in ("dfa", "sdfa", "ssdfa", "drtp"):
        got, (D1, D2) = angles(name)
        assert got == {"1": pytest.approx(degrees(D1, W3 @ W2)), "4": pytest.approx(degrees(D2, W3))}, name
    got, (D1,) = angles("ifa")
    assert got == {"1": pytest.approx(degrees(D1, W3 @ W2))}
    for name in ("pepita", "pepita_hebbian", "pepita_local", "afa"):
        got, (F0,) = angles(name)
        assert got == {"input": pytest.approx(degrees(F0, W3 @ W2 @ W1))}, name
    for at, place, product in ((1, "1", W3 @ W2), (2, "4", W3)):
        got, (F0,) = angles("pepita", at=at)
        assert got == {place: pytest.approx(degrees(F0, product))}
    assert angles("bp")[0] == angles("shallow")[0] == {}


def test_feedback_angles_above_something_that_is_not_linear_are_none():
    """A pool between a place and the output leaves no product of weights to be compared with."""
    net = cnn()
    x = inputs(net)
    fa = make("fa", net, x)
    assert feedback_angles(fa) == {"5": pytest.approx(degrees(*numpy_of([fa.feedback[0], net[5].weight])))}
    for name, options in (("dfa", {}), ("ifa", {}), ("pepita", {"at": 1})):
        assert feedback_angles(make(name, net, x, **options)) == {"0": None}
    for name in ("pepita", "afa"):
        assert feedback_angles(make(name, net, x)) == {"input": None}
    torch.manual_seed(0)
    mixed = nn.Sequential(nn.Conv2d(2, 3, 6), nn.Flatten(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double()
    rule = make("dfa", mixed, x)
    W2, W3, D1, D2 = numpy_of([mixed[2].weight, mixed[4].weight, *rule.feedback])
    assert feedback_angles(rule) == {
        "0": pytest.approx(degrees(D1, W3 @ W2)), "2": pytest.approx(degrees(D2, W3))
    }  # fmt: skip
    assert feedback_angles(make("pepita", mixed, x)) == {"input": None}
    bent = nn.Sequential(
        nn.Linear(5, 9), nn.Unflatten(1, (1, 3, 3)), nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(9, CLASSES)
    ).double()
    for name, place in (("pepita", "input"), ("ifa", "0")):  # linear below the convolution, which has to end it
        assert feedback_angles(make(name, bent, torch.zeros(1, 5))) == {place: None}
