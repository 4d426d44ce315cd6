"""Latent predictive learning: the loss differentiated by torch, the erratum's equation, and what each term prevents."""

import numpy as np
import oracles_hebbian
import pytest
import torch
from helpers import CLASSES, cnn, gradients, inputs, mlp
from run_helpers import toy_tensors
from torch import nn

import altprop
from altprop import LPL, Refused, Weighted
from altprop.data import AUGMENTATIONS
from altprop.run.batching import seen as _seen
from altprop.run.build import prepare
from altprop.run.values import make_recipe


def loss_of(h, push, decorrelate):
    """L of both views, by torch's own functions."""
    z = (h.flatten(2).mean(2) if h.dim() > 2 else h).unflatten(0, (2, -1))
    total = (z[0] - z[1]).square().mean()
    for view in z:
        C, M = torch.cov(view.T), view.shape[1]
        off = C.square().sum() - C.diagonal().square().sum()
        total = total - push / 2 * (view.var(0) + 1e-4).log().mean() + decorrelate / 2 * off / (M * M - M)
    return total


def credited(net, x, y=None, **options):
    net.zero_grad(set_to_none=True)
    LPL(net, example=x[:1], **options).credit(x, y)
    return gradients(net)


@pytest.mark.parametrize(
    "options", [{}, {"push": 0.0}, {"decorrelate": 0.0}, {"push": 0.3, "decorrelate": 2.0}], ids=str
)
@pytest.mark.parametrize("build", [mlp, cnn])
def test_every_layer_descends_its_own_loss(build, options):
    """T25: autograd of L, block by block; nothing of a block's loss reaches the one below."""
    net = build().eval()
    x = inputs(net, 10)
    got = credited(net, x, **options)
    h, weights = x, {"push": 1.0, "decorrelate": 10.0, **options}
    for layer in altprop.layers(net)[:-1]:
        h = layer(h.detach())
        name = f"{layer.name}.weight"
        (want,) = torch.autograd.grad(loss_of(h, **weights), net.get_parameter(name))
        torch.testing.assert_close(got[name], want, atol=1e-12, rtol=0)
        assert got[f"{layer.name}.bias"] is None


def test_the_signal_is_the_errata_equation():
    """-(z - z') + push alpha / sigma^2 (z - m) - decorrelate beta sum_{k != i} (z_k - m_k) C_ik, entry by entry."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()
    x = torch.randn(8, 5).double()
    z = net[:2](x).detach().numpy()
    signal = np.concatenate([oracles_hebbian.lpl_signal(z[:4], z[4:]), oracles_hebbian.lpl_signal(z[4:], z[:4])])
    want = (torch.from_numpy(signal) * (1 - torch.from_numpy(z) ** 2)).T @ x
    torch.testing.assert_close(credited(net, x)["0.weight"], want, atol=1e-12, rtol=0)


def test_push_and_decorrelation_do_not_see_a_shift():
    """T25: with both views alike nothing pulls, and a bias that lifts all activity changes no gradient."""
    net = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, CLASSES)).double()
    x = inputs(net, 5).repeat(2, 1)
    before = credited(net, x)["0.weight"]
    with torch.no_grad():
        net[0].bias += 7.0
    torch.testing.assert_close(credited(net, x)["0.weight"], before, atol=1e-8, rtol=0)
    assert before.abs().max() > 1e-3


@pytest.mark.parametrize("push", [0.0, 1.0])
def test_without_push_activity_collapses(push):
    """T25: what pulls alone is content with units that say the same of everything."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6, bias=False), nn.Linear(6, CLASSES)).double()
    rule, optimizer = LPL(net, example=torch.zeros(1, 8), push=push), torch.optim.SGD(net.parameters(), lr=0.2)
    x = torch.randn(60, 8).double()
    first = net[0](x).var(0).mean().item()
    for _ in range(400):
        rule.credit((x + torch.randn(2, 60, 8).double()).flatten(0, 1), None)
        optimizer.step()
        optimizer.zero_grad()
    last = net[0](x).var(0)
    assert (last.max() < 0.05 * first) if push == 0 else (last.min() > 0.1)


def test_a_row_without_a_partner_teaches_nothing():
    """Of five rows the last is of no pair; of one row nobody is."""
    net = mlp(2)
    x = inputs(net, 5)
    assert torch.equal(credited(net, x)["1.weight"], credited(net, x[:4])["1.weight"])
    assert credited(net, x[:1])["1.weight"].abs().max() == 0


@pytest.mark.parametrize("options", [{"push": -1.0}, {"decorrelate": float("nan")}], ids=str)
def test_lpl_refuses_negative_weights(options):
    net = mlp(2)
    with pytest.raises(Refused, match=f"{next(iter(options))}=.* came; LPL takes weights of at least 0"):
        LPL(net, example=inputs(net)[:1], **options)


# ------------------------------------------------------------------------------------------------- the trainer


def learner(rule, **settings):
    return prepare(make_recipe(rule=rule, data="custom", net="6-5-3", **settings), altprop.data.from_torch(*parts()))


def parts():
    return toy_tensors(), toy_tensors(30, seed=1)


def test_a_rule_of_two_views_gets_two_augmentations_of_a_batch():
    """One after the other, drawn by the run's own order; labels and weights come along with either."""
    made = learner("lpl")
    assert made.recipe.augment == "noise"
    state, (x, y) = made.order.get_state(), toy_tensors()
    seen, told = _seen(made, x, y)
    generator = torch.Generator()
    generator.set_state(state)
    want = torch.cat([AUGMENTATIONS["noise"](x, generator), AUGMENTATIONS["noise"](x, generator)])
    assert torch.equal(seen, want) and torch.equal(told, torch.cat([y, y]))
    w = torch.rand(len(y))
    _, weighted = _seen(made, x, Weighted(y, w))
    assert torch.equal(weighted.y, told) and torch.equal(weighted.w, torch.cat([w, w]))


def test_a_rule_of_one_view_gets_the_batch_itself():
    made = learner("softhebb")
    x, y = toy_tensors()
    assert made.recipe.augment is None
    seen, told = _seen(made, x, y)
    assert seen is x and told is y


def test_the_loss_of_an_epoch_counts_each_sample_once():
    """Two views of 60 samples are 60 samples: the mean of the batches' losses, not twice it."""
    result = altprop.fit("lpl", data=parts()[0], net="6-5-3", epochs=2, batch=60, lr=1e-9)
    assert 0.3 < result.metrics[-1]["loss"] < 1.7
