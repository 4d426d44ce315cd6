"""Feedback that learns, knows signs or is sparse: its options against the oracles, in float64."""

import math

import oracles
import oracles_feedback
import pytest
import torch
from helpers import CLASSES, assert_same, by_name, credit, inputs, labels, make
from test_options import NETS, SEED, arguments, case, numpy_of
from torch import nn

# --------------------------------------------------------------------------------------------- learned feedback


@pytest.mark.parametrize("kind", NETS)
def test_kp_feedback_gets_what_the_weights_get(kind):
    """Exactly, over two batches that accumulate; and B.grad is a tensor of its own, which clipping may scale."""
    rule, x, y = case(kind, "kp")
    want = [oracles_feedback.kp(*arguments(rule, x, y), numpy_of(rule.feedback))[1]]
    credit(rule, x, y, seed=SEED)
    for B, G in zip(rule.feedback, want[0], strict=True):
        torch.testing.assert_close(B.grad, torch.from_numpy(G), atol=1e-10, rtol=0)
    rule.credit(x + 1, y)
    for layer, B in zip(rule.layers[1:], rule.feedback, strict=True):
        assert torch.equal(layer.synapse.weight.grad, B.grad)
        assert layer.synapse.weight.grad.data_ptr() != B.grad.data_ptr()


def test_kp_feedback_gets_no_gradient_that_was_there_before():
    """What another loss left in W.grad is not this batch's increment; both sides keep what they had."""
    rule, x, y = case("mlp", "kp")
    alone = credit(rule, x, y, seed=SEED)
    for p in rule.net.parameters():
        p.grad = torch.full_like(p, 2.0)
    rule.feedback[0].grad, rule.feedback[1].grad = None, torch.full_like(rule.feedback[1], 5.0)
    torch.manual_seed(SEED)
    rule.credit(x, y)
    assert_same({key: p.grad for key, p in rule.net.named_parameters()}, {k: 2 + g for k, g in alone.items()}, 1e-14)
    for index, (layer, kept) in enumerate(zip(rule.layers[1:], (0, 5), strict=True)):
        want = alone[f"{layer.name}.weight"] + kept
        torch.testing.assert_close(rule.feedback[index].grad, want, atol=1e-14, rtol=0)


def test_kp_leaves_the_feedback_of_a_frozen_layer():
    """A weight that does not learn has no increment to share; its old gradient stays where it was."""
    rule, x, y = case("mlp", "kp")
    whole = credit(rule, x, y, seed=SEED)
    rule.net[4].weight.requires_grad_(False)
    got = credit(rule, x, y, seed=SEED)
    assert got.pop("4.weight") is None and rule.feedback[0].grad is None
    assert_same(got, {key: whole[key] for key in got}, 0)
    assert torch.equal(rule.feedback[1].grad, whole["7.weight"])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 6)

    def forward(self, x):
        return self.inner(x).relu()


def test_kp_takes_any_first_layer():
    """Only the layers above the first have feedback; the first need have no weight matrix."""
    net = nn.Sequential(Block(), nn.Tanh(), nn.Linear(6, CLASSES)).double()
    x, y = inputs(net), labels()
    rule = make("kp", net, x)
    for times in (1, 2):
        rule.credit(x, y)
        want = make("fa", net, x)
        want.feedback[0] = rule.feedback[0]
        held = {key: p.grad.clone() for key, p in net.named_parameters()}
        assert_same(held, {key: times * g for key, g in credit(want, x, y).items()}, 1e-14)
        for key, p in net.named_parameters():
            p.grad = held[key]
        assert torch.equal(rule.feedback[0].grad, held["2.weight"])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("noise", [0.1, 2.0])
@pytest.mark.parametrize("kind", NETS)
def test_wm_mirrors_the_noise_that_it_draws(kind, noise, bias):
    """A wrong M, variance or sign; dropout or pooling in the mirror; noise drawn before the dropout of the pass."""
    rule, x, y = case(kind, "wm", bias, noise=noise)
    net, x0, t, loss = arguments(rule, x, y)
    drawn = []
    for record in oracles.forward(net, x0)[1:]:
        layout = torch.channels_last if record["x"].ndim == 4 else torch.contiguous_format
        drawn.append(noise * torch.randn_like(torch.from_numpy(record["x"]).contiguous(memory_format=layout)))
    xi = [each.numpy() for each in drawn]
    gradients, mirror = oracles_feedback.wm(net, x0, t, loss, numpy_of(rule.feedback), xi, noise**2)
    assert_same(credit(rule, x, y, seed=SEED), by_name(rule.net, gradients))
    for B, G in zip(rule.feedback, mirror, strict=True):
        torch.testing.assert_close(B.grad, torch.from_numpy(G), atol=1e-10, rtol=1e-10)
    rule.zero_grad()
    rule.eval()
    rule.credit(x, y)
    assert all(B.grad is None for B in rule.feedback)


def test_wm_feedback_learns_at_a_rate_of_its_own():
    """B <- B - eta_B (B.grad + lambda_B B), without momentum, whatever the optimizer does to the weights."""
    rule, x, y = case("mlp", "wm", mirror_lr=0.3, mirror_decay=0.2)
    optimizer = torch.optim.SGD(rule.param_groups(0.01), lr=0.01, momentum=0.9, weight_decay=0.7)
    for _ in range(2):
        optimizer.zero_grad()
        rule.credit(x, y)
        want = [B.detach() - 0.3 * (B.grad + 0.2 * B.detach()) for B in rule.feedback]
        optimizer.step()
        assert_same(dict(enumerate(B.detach() for B in rule.feedback)), dict(enumerate(want)), 1e-12)


# ----------------------------------------------------------------------------------- signs, and sparse projections


@pytest.mark.parametrize("name", ["usf", "frsf", "brsf"])
def test_feedback_follows_the_signs_of_the_weights(name):
    """Signs read once at the start, or of zero taken for one; the magnitude must not move with the weight."""
    rule, x, y = case("mlp", name, scale=3.0)
    rule.eval()  # where brSF draws nothing
    weight, M = rule.net[4].weight, rule.magnitudes[0].clone()
    for factor in (-2.0, 0.0):
        weight.data[0] *= factor
        credit(rule, x, y)
        assert torch.equal(rule.feedback[0], M * weight.sign()) and torch.equal(rule.magnitudes[0], M)
    assert not rule.feedback[0][0].any() and rule.feedback[0][1:].all()


@pytest.mark.parametrize("kind", NETS)
def test_usf_magnitude(kind):
    """The fans of a kernel count its positions."""
    rule, x, y = case(kind, "usf", scale=3.0)
    want = oracles_feedback.usf(*arguments(rule, x, y), 3.0)
    assert_same(credit(rule, x, y, seed=SEED), by_name(rule.net, want))


def test_brsf_draws_anew_in_training_only():
    """One draw for good is frSF; a draw while measuring moves what is measured."""
    rule, x, y = case("mlp", "brsf", scale=3.0)
    drawn = [rule.magnitudes[0].clone()]
    for seed in (1, 2, 2):
        credit(rule, x, y, seed=seed)
        drawn.append(rule.magnitudes[0].clone())
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])
    assert torch.equal(drawn[2], drawn[3]) and all((M > 0).all() for M in drawn)
    assert 1 < drawn[3].max() / (6 / 7) ** 0.5 <= 3  # He-uniform for a fan of 7, times the scale
    rule.eval()
    credit(rule, x, y, seed=9)
    assert torch.equal(rule.magnitudes[0], drawn[3])


@pytest.mark.parametrize("sparse", [1, 2, CLASSES])
@pytest.mark.parametrize("kind", NETS)
def test_ssdfa_sparse(kind, sparse):
    """Too many wires, or wires of another strength; every layer has wires of its own."""
    rule, x, y = case(kind, "ssdfa", sparse=sparse)
    D = numpy_of(rule.feedback)
    for each in D:
        oracles_feedback.check_single(each, sparse)
    want = oracles_feedback.ssdfa(*arguments(rule, x, y), D)
    assert_same(credit(rule, x, y, seed=SEED), by_name(rule.net, want))


@pytest.mark.parametrize("sparse", [1, 2])
def test_ssdfa_wires(sparse):
    """Uniform in +-sqrt(sqrt(C sparse) / n), a third of its square for the variance; layers share no pattern."""
    wide = nn.Sequential(nn.Linear(5, 4000), nn.Tanh(), nn.Linear(4000, 4000), nn.Tanh(), nn.Linear(4000, CLASSES))
    first, second = make("ssdfa", wide, torch.zeros(1, 5), sparse=sparse, scale=2.0).feedback
    for D in (first, second):
        h = 2 * math.sqrt(math.sqrt(CLASSES * sparse) / 4000)
        assert 0.98 * h < D.abs().max() <= h
        assert D[D != 0].square().mean().item() == pytest.approx(h * h / 3, rel=0.05)
        assert ((D != 0).double().mean(1) - sparse / CLASSES).abs().max() < 0.04
    assert not torch.equal(first != 0, second != 0)
