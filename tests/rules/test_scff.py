"""Self-Contrastive Forward-Forward against autograd of its loss, with pairs that are really put side by side."""

import pytest
import torch
from helpers import CLASSES, inputs, labels, mlp
from torch import nn
from torch.nn import functional as F

from altprop import SCFF, Refused


def pair(u, v, W, b, groups):
    """a of [u, v], put side by side where groups do not part the channels."""
    if groups == 1:
        return F.conv2d(torch.cat([u, v], 1), torch.cat([W, W], 1), 2 * b)
    return F.conv2d(u, W, b, groups=groups) + F.conv2d(v, W, b, groups=groups)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_layer_descends_the_loss_of_pairs_put_side_by_side(groups):
    """[x, x] and [x, x'] along the channels, through one convolution of the weights [W, W]."""
    torch.manual_seed(0)
    x = torch.randn(5, 4, 6, 6).double()
    net = nn.Sequential(nn.Conv2d(4, 6, 3, groups=groups), nn.ReLU(), nn.Flatten(), nn.Linear(96, CLASSES)).double()
    SCFF(net, example=x[:1], positive=0.4, negative=0.9, penalty=0.2).credit(x, labels(5))
    got = net[0].weight.grad.clone()
    W, b = net[0].weight, net[0].bias.detach()
    alike, other = (pair(u, v, W, b, groups).relu().square().mean(1) for u, v in ((x, x), (x, x.roll(1, 0))))
    loss = F.softplus(0.4 - alike).mean() + F.softplus(other - 0.9).mean() + 0.2 * alike.mean()
    torch.testing.assert_close(got, torch.autograd.grad(loss, W)[0], atol=1e-12, rtol=0)


@torch.no_grad()
def loudness(net, x):
    """g+ and g- (N,) of the first layer."""
    a = net[0](x)
    return [(a + b).relu().square().mean(1) for b in (a, a.roll(1, 0))]


def test_pairs_of_the_same_become_louder_than_pairs_of_others():
    """What the rule is for: every g+ ends above the threshold, and g- is less of it than at first."""
    torch.manual_seed(0)
    x = F.normalize(torch.randn(40, 12).double(), dim=1) * 12**0.5
    net = nn.Sequential(nn.Linear(12, 30, bias=False), nn.ReLU(), nn.Linear(30, CLASSES)).double()
    alike, other = loudness(net, x)
    before = other.mean() / alike.mean()
    rule, optimizer = SCFF(net, example=x[:1]), torch.optim.SGD([net[0].weight], lr=0.5, momentum=0.9)
    for _ in range(300):
        rule.credit(x[torch.randperm(40)[:20]], None)
        optimizer.step()
        optimizer.zero_grad()
    alike, other = loudness(net, x)
    assert alike.min() > 1 and other.mean() / alike.mean() < 0.85 * before


def test_a_batch_of_one_is_its_own_partner():
    """[x, x'] is [x, x], and both terms meet in the same units."""
    net = mlp(2)
    x = inputs(net, 1)
    rule = SCFF(net, example=x)
    rule.credit(x, labels(1))
    assert torch.isfinite(net[1].weight.grad).all()


@pytest.mark.parametrize("penalty", [-0.1, float("nan")])
def test_scff_refuses_a_negative_penalty(penalty):
    net = mlp(2)
    with pytest.raises(Refused, match=f"penalty={penalty} came; SCFF takes an amount of at least 0"):
        SCFF(net, example=inputs(net)[:1], penalty=penalty)
