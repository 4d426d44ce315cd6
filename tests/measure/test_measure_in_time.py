"""Equilibrium propagation against backpropagation through time, step by step: the oracles are the theorem (equal at
every step when beta goes to 0), the rule's own gradient, which is the sum, and numbers by hand."""

import math

import pytest
import torch
from torch import nn

from altprop import DFA, EP, Refused
from altprop.measure import against_time, agreement

BETAS = (0.1, 0.01)


def dense():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3), nn.Tanh()).double()


def images():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.Sigmoid(), nn.Flatten(),
        nn.Linear(4, 3), nn.Sigmoid(),
    ).double()  # fmt: skip


CASES = {"dense": (dense, (5,)), "images": (images, (2, 6, 6))}


def case(kind="dense", loss="mse", n=8):
    build, shape = CASES[kind]
    net = build() if loss == "mse" else build()[:-1]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.7)  # so that the states settle
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return net, x, torch.arange(n) % 3


def rule_of(net, x, **options):
    return EP(net, example=x, **{"loss": "mse", "free": 150, "nudged": 6, **options})


@pytest.mark.parametrize(("estimate", "slope"), [("two_phase", 1), ("three_phase", 2)])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("kind", CASES)
def test_every_step_is_that_of_backpropagation_through_time(kind, loss, estimate, slope):
    """The distance falls by beta, or by its square, in every layer and step; signs agree."""
    net, x, y = case(kind, loss)
    coarse, fine = (against_time(rule_of(net, x, loss=loss, estimate=estimate, beta=beta), x, y) for beta in BETAS)
    assert [*fine] == [name for name, m in net.named_modules() if hasattr(m, "weight")][: len(fine)]
    assert len(fine) == 3 - (loss != "mse")
    for name, found in fine.items():
        assert found.sign_error < 0.05 and found.rmse < 0.05
        assert abs(math.log10(coarse[name].rmse / found.rmse) - slope) < 0.2, name
        assert len(found.error_at) == 6 and max(found.error_at) < 0.05


def test_the_sum_is_the_rules_gradient():
    """Phi' of the first and of the last step are all that is left."""
    net, x, y = case()
    rule = rule_of(net, x, beta=0.2)
    rule.credit(x, y)
    want = {layer.name: layer.synapse.weight.grad.clone() for layer in rule.layers}
    for name, (own, _) in rule.in_time(x, y).items():
        assert own.shape == (6, *want[name].shape)
        torch.testing.assert_close(own.sum(0), want[name], atol=1e-12, rtol=0)


def test_backpropagation_through_time_is_autograds_of_all_steps():
    """Of states that have not settled, each step by its own slopes: the sum over the uses is the weight's gradient."""
    net, x, y = case()
    rule = rule_of(net, x, free=6)
    exact = {name: both[1].sum(0) for name, both in rule.in_time(x, y).items()}
    rule.zero_grad(set_to_none=True)
    t = nn.functional.one_hot(y, 3).double()
    ((rule(x) - t).square().sum(1) / 2).mean().backward()
    for layer in rule.layers:
        torch.testing.assert_close(exact[layer.name], layer.synapse.weight.grad, atol=1e-12, rtol=0)


def test_agreement_by_hand():
    """Two weights over two steps: errors (0, 1) and (2, 0) of root mean squares 1 / sqrt 2 and 2 / sqrt 2."""
    own, exact = torch.tensor([[1.0, 1.0], [1.0, 3.0]]), torch.tensor([[1.0, -1.0], [0.0, 3.0]])
    found = agreement(own, exact)
    assert found.rmse == pytest.approx((math.sqrt(0.5) / 1 + math.sqrt(2) / math.sqrt(5)) / 2)
    assert found.sign_error == 0.25 and found.sign_error_at == [0.5, 0.0]
    assert found.error_at == pytest.approx([2 / math.sqrt(10), 1 / math.sqrt(10)])
    assert agreement(exact, own).rmse == found.rmse  # whichever of the two is larger
    nothing = agreement(torch.zeros(2, 3), torch.zeros(2, 3))
    assert nothing.rmse == 0 and nothing.error_at == [0, 0]


def test_the_rule_is_left_as_it_was():
    """Gradients, modes and what has been seen of the last batch."""
    net, x, y = case()
    rule = rule_of(net, x).train()
    rule.credit(x, y)
    before, told = [p.grad.clone() for p in rule.parameters()], rule.watch()
    against_time(rule, x, y)
    assert all(torch.equal(p.grad, g) for p, g in zip(rule.parameters(), before, strict=True))
    assert rule.watch() == told and rule.training


def test_who_tells_no_sequence_is_refused():
    """By name."""
    net, x, y = case()
    with pytest.raises(Refused, match="DFA tells no sequence in time: this measure is for rules whose states"):
        against_time(DFA(net, example=x), x, y)
    with pytest.raises(Refused, match="a vector field has no Phi"):
        against_time(rule_of(net, x, weights="vector_field"), x, y)
    with pytest.raises(Refused, match="layers that move in turn go the other way back"):
        against_time(rule_of(net, x, order="in_turn"), x, y)
    with pytest.raises(Refused, match="free=3 is less than nudged=6"):
        against_time(rule_of(net, x, free=3), x, y)
    pooled = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)).double()
    images_x = torch.ones(2, 2, 6, 6, dtype=torch.float64)
    with pytest.raises(Refused, match="autograd cannot follow a pool in an inlet"):
        against_time(EP(pooled, example=images_x), images_x, y[:2])
