"""The burst rules against their equations written out phase by phase, and their ratios to backpropagation."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import CLASSES, assert_same, credit, inputs, labels, make, mlp
from torch import nn

from altprop import Refused, Weighted

BOTH = ("burstccn", "burstprop")


def sigmoids(depth=3):
    """Sigmoid layers, the output too: the nets of the papers, whose loss is the squared error."""
    torch.manual_seed(0)
    widths = [5, *(7, 6, 4)[: depth - 1], CLASSES]
    modules = [m for pair in pairwise(widths) for m in (nn.Linear(*pair), nn.Sigmoid())]
    return nn.Sequential(*modules).double()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def slow(rule, x, t):
    """One sample at a time, in NumPy: (gradients of the weights, of R or Q, largest |m| or |u| a layer).

    The teacher's phase is run by itself; nothing is subtracted before the end."""
    weights = [layer.synapse.weight.detach().numpy() for layer in rule.layers]
    biases = [layer.synapse.bias.detach().numpy() for layer in rule.layers]
    feedback = [Y.detach().numpy() for Y in rule.feedback] if len(rule.feedback) else weights[1:]
    ccn, p0 = hasattr(rule, "Q"), rule.p0
    own = [0 for _ in feedback]
    G = [np.zeros_like(W) for W in weights]
    for x_n, t_n in zip(x.numpy(), t.numpy(), strict=True):
        e = [x_n]
        for W, b in zip(weights, biases, strict=True):
            e.append(sigmoid(W @ e[-1] + b))
        b = p0 * e[-1]
        b_t = p0 * ((t_n - e[-1]) * (1 - e[-1]) + 1) * e[-1]
        for level in reversed(range(len(weights))):
            G[level] += np.outer(-(b_t - b) / p0, e[level]) / len(x)
            if level == 0:
                continue
            Y, here = feedback[level - 1], e[level]
            if ccn:
                Q = rule.Q[level - 1].detach().numpy() if len(rule.Q) else p0 * Y
                m = Y.T @ b_t - Q.T @ e[level + 1]
                rest = Y.T @ (p0 * e[level + 1]) - Q.T @ e[level + 1]
                own[level - 1] = own[level - 1] - np.outer(e[level + 1], rest)
                p, p_t = p0, sigmoid(4 * m * (1 - here))
            else:
                R = rule.R[level - 1].detach().numpy()
                pre = sigmoid(Y.T @ b) * here
                u, u_t = ((Y.T @ rates) * (1 - here) - R @ pre for rates in (b, b_t))
                own[level - 1] = own[level - 1] - np.outer(u, pre) / len(x)
                p, p_t = sigmoid(u), sigmoid(u_t)
            b, b_t = p * here, p_t * here
    return G, own


def targets(n=4):
    return torch.rand(n, CLASSES, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize("feedback", ["random", "symmetric", "learned"])
@pytest.mark.parametrize("name", BOTH)
def test_it_is_the_equations_phase_by_phase(name, feedback):
    """Events, bursts of both phases and what is left of them, sample by sample; large signals, that bend."""
    net, t = sigmoids(), targets()
    x = 3 * inputs(net)
    rule = make(name, net, x, loss="mse", feedback=feedback, scale=4.0)
    for Q in getattr(rule, "Q", ()):
        with torch.no_grad():
            Q.add_(torch.randn(Q.shape, generator=torch.Generator().manual_seed(5), dtype=Q.dtype))
    got = credit(rule, x, t)
    want, own = slow(rule, x, t)
    for level, G in enumerate(want):
        np.testing.assert_allclose(got[f"{2 * level}.weight"].numpy(), G, atol=1e-12)
    for R, G in zip(getattr(rule, "R", ()), own, strict=False):
        np.testing.assert_allclose(R.grad.numpy(), G, atol=1e-12)
    for index, (Q, G) in enumerate(zip(getattr(rule, "Q", ()), own, strict=False)):
        e = net[: 2 * index + 4](x).detach()  # of the layer above
        np.testing.assert_allclose(Q.grad.numpy(), G / float(e.square().sum()), atol=1e-12)


@pytest.mark.parametrize("feedback", ["learned", "random"])
@pytest.mark.parametrize("name", BOTH)
def test_learned_feedback_receives_what_the_weight_above_does(name, feedback):
    """Kolen-Pollack, and adds to what is there; fixed feedback is no parameter."""
    net, t = sigmoids(), targets()
    rule = make(name, net, inputs(net), loss="mse", feedback=feedback)
    assert rule.claims.weight_transport == "none"
    for _ in range(2):
        rule.credit(inputs(net), t)
    if feedback == "random":
        assert "feedback" not in rule.claims.learns and not list(rule.feedback.parameters())
        return
    for Y, layer in zip(rule.feedback, rule.layers[1:], strict=True):
        torch.testing.assert_close(Y.grad, layer.synapse.weight.grad)
        assert Y.grad is not layer.synapse.weight.grad


def ratios(rule, net, x):
    """Of the rule's gradient to autograd's of half the squared error, a layer, where errors are 1e-4."""
    with torch.no_grad():
        t = net(x) + 1e-4 * torch.randn(len(x), CLASSES, generator=torch.Generator().manual_seed(6)).double()
    got = credit(rule, x, t)
    net.zero_grad(set_to_none=True)
    ((net(x) - t).square().sum() / 2 / len(x)).backward()
    return [(got[name], p.grad) for name, p in net.named_parameters() if name.endswith("weight")]


def test_burstccn_is_half_of_backpropagation_in_every_layer():
    """With Y = W and small signals: p0, by which the paper's update is the smaller, and nothing else a layer."""
    net = sigmoids(4)
    rule = make("burstccn", net, inputs(net), loss="mse", feedback="symmetric")
    for got, want in ratios(rule, net, inputs(net)):
        torch.testing.assert_close(rule.p0 * got, 0.5 * want, rtol=1e-4, atol=0)


def test_burstprop_is_four_times_smaller_in_each_layer_down():
    """p0 .2, Y = W, and u = 0: .2, .05, .0125 of backpropagation's."""
    net = sigmoids(3)
    x = inputs(net, n=1)
    rule = make("burstprop", net, x, loss="mse", feedback="symmetric")
    with torch.no_grad():  # recurrent bursts that take away all that comes without a teacher
        h_1, h_2, y = net[:2](x), net[:4](x), net(x)
        b = rule.p0 * y
        for index, h, W in ((1, h_2, net[4].weight), (0, h_1, net[2].weight)):
            c = b @ W
            pre = c.sigmoid() * h
            rule.R[index].copy_((c * (1 - h)).T @ pre / pre.square().sum())
            b = h / 2
    for (got, want), ratio in zip(ratios(rule, net, x), (0.0125, 0.05, 0.2), strict=True):
        torch.testing.assert_close(rule.p0 * got, ratio * want, rtol=1e-4, atol=1e-14)


@pytest.mark.parametrize("feedback", ["random", "symmetric", "learned"])
@pytest.mark.parametrize("name", BOTH)
def test_without_an_error_no_hidden_layer_hears_anything(name, feedback):
    """To the bit: what comes without a teacher cancels."""
    net = sigmoids()
    x = inputs(net)
    with torch.no_grad():
        t = net(x)
    got = credit(make(name, net, x, loss="mse", feedback=feedback), x, t)
    assert all(gradient.abs().max() == 0 for gradient in got.values())


def test_recurrent_bursts_bring_the_probability_to_a_half():
    """|u| falls while R learns alone."""
    net = sigmoids(2)
    x, t = inputs(net), targets()
    rule = make("burstprop", net, x, loss="mse", scale=6.0, recurrent_lr=0.3)
    assert rule.param_groups(0.5)[1]["lr"] == 0.3 and rule.param_groups(0.5)[1]["params"] == list(rule.R)
    off = []
    for _ in range(50):
        with torch.no_grad():
            h, c = net[:2](x), rule.p0 * net(x) @ rule.feedback[0]
            off.append(float((c * (1 - h) - (c.sigmoid() * h) @ rule.R[0].T).norm()))
        rule.zero_grad()
        rule.credit(x, t)
        with torch.no_grad():
            rule.R[0] -= 0.3 * rule.R[0].grad
    assert off == sorted(off, reverse=True) and off[-1] < 0.5 * off[0]


@pytest.mark.parametrize("build", ["mlp", "cnn"])
def test_the_second_feedback_learns_to_cancel(build):
    """|m0| falls from batch to batch, and Q tends to p0 Y where events reach."""
    torch.manual_seed(0)
    head = (nn.Flatten(), nn.Linear(18, CLASSES))
    conv = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 2, 2), nn.Sigmoid(), *head).double()
    net = sigmoids() if build == "mlp" else conv
    x, y = torch.randn(8, *((5,) if build == "mlp" else (2, 6, 6)), dtype=torch.float64), labels(8)
    rule = make("burstccn", net, x, feedback="learned", cancel_lr=0.4, loss="mse")
    assert rule.param_groups(0.5)[1]["lr"] == 0.4 and rule.param_groups(0.5)[1]["params"] == list(rule.Q)
    off = [[] for _ in rule.Q]
    with torch.no_grad():
        for Q in rule.Q:
            Q.mul_(0)
    for _ in range(40):
        rule.zero_grad()
        rule.credit(x, y)
        for index, Q in enumerate(rule.Q):
            off[index].append(float(Q.grad.norm()))
            with torch.no_grad():
                Q -= 0.4 * Q.grad
    assert all(norms == sorted(norms, reverse=True) and norms[-1] < 0.5 * norms[0] for norms in off)


@pytest.mark.parametrize("name", BOTH)
def test_claims_follow_the_feedback(name):
    """Symmetric feedback reads the weights above, which the transport probe of the claims would see."""
    net = nn.Sequential(nn.Linear(5, 9), nn.Sigmoid(), nn.Linear(9, 9), nn.Sigmoid(), nn.Linear(9, CLASSES)).double()
    x, y = inputs(net), labels()
    for feedback, transport in (("random", "none"), ("learned", "none"), ("symmetric", "full")):
        rule = make(name, net, x, feedback=feedback)
        assert rule.claims.weight_transport == transport
        before = credit(rule, x, y)
        with torch.no_grad():
            h, kept = net[:4](x), net[4].weight.clone()
            net[4].weight += torch.randn(CLASSES, 9).double() @ (torch.eye(9).double() - torch.linalg.pinv(h) @ h)
        after = credit(rule, x, y)
        with torch.no_grad():
            net[4].weight.copy_(kept)
        assert torch.allclose(before["0.weight"], after["0.weight"], atol=1e-9) == (transport == "none")


@pytest.mark.parametrize("name", BOTH)
def test_units_without_events_send_and_learn_nothing(name):
    """Where f is zero there is nothing to burst: no division by it is left over."""
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double()
    with torch.no_grad():
        net[0].bias[:3] = -100
    got = credit(make(name, net, inputs(net)), inputs(net), labels())
    assert got["0.weight"][:3].abs().max() == 0 and torch.isfinite(got["0.weight"]).all()


@pytest.mark.parametrize("name", BOTH)
def test_a_weight_of_a_sample_multiplies_its_teacher(name):
    """And no event: a weight of 0 leaves the sample out, and the others as they are."""
    net = mlp(3)
    x, y = inputs(net), labels()
    some = torch.tensor([1.0, 0, 1, 1]).double()
    got = credit(make(name, net, x), x, Weighted(y, some))
    keep = some > 0
    want = credit(make(name, net, x), x[keep], y[keep])
    assert_same(got, {key: 0.75 * g for key, g in want.items()}, 1e-13)


@pytest.mark.parametrize(("name", "options", "words"), [
    ("burstccn", {"feedback": "mirrored"}, "BurstCCN takes random or symmetric or learned"),
    ("burstprop", {"feedback": "mirrored"}, "Burstprop takes random or symmetric or learned"),
    ("burstprop", {"p0": 0.0}, "p0=0.0, recurrent_lr=0.001 came; Burstprop takes a burst probability above 0"),
    ("burstprop", {"recurrent_lr": -1.0}, "recurrent_lr=-1.0 came; Burstprop takes .* a rate of at least 0"),
    ("burstccn", {"cancel_lr": -1.0}, "cancel_lr=-1.0 came; BurstCCN takes a rate of at least 0"),
    ("burstprop", {"p0": 1.5}, "p0=1.5, recurrent_lr=0.001 came; Burstprop takes a burst probability above 0"),
])  # fmt: skip
def test_what_it_does_not_know_is_refused(name, options, words):
    """A word, and a probability that is none."""
    with pytest.raises(Refused, match=words):
        make(name, mlp(), inputs(mlp()), **options)


@pytest.mark.parametrize("feedback", ["random", "learned"])
@pytest.mark.parametrize("name", BOTH)
def test_what_is_frozen_has_no_gradient(name, feedback):
    """Weights, and what is beside them."""
    net = mlp(3)
    rule = make(name, net, inputs(net), feedback=feedback)
    own = [p for attribute in ("R", "Q") for p in getattr(rule, attribute, ())]
    for parameter in (net[4].weight, *own):
        parameter.requires_grad_(False)
    credit(rule, inputs(net), labels())
    assert net[4].weight.grad is None and all(p.grad is None for p in own)
    if feedback == "learned":
        assert [Y.grad is None for Y in rule.feedback] == [True, False]


@pytest.mark.parametrize("name", BOTH)
def test_what_learns_beside_a_layer_is_stepped_with_it(name):
    """Two matrices beside one layer: each belongs to it, and no other's step takes it."""
    rule = make(name, mlp(4), inputs(mlp(4)), feedback="learned")
    stepped = [p for layer in rule.layers for group in rule.groups_of(layer, 0.5) for p in group["params"]]
    assert sorted(map(id, stepped)) == sorted(map(id, rule.parameters()))
