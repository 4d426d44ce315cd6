"""Where the Hebbian family is known to go: principal components, winners, clusters, maps; and norms, in float64."""

import copy

import numpy as np
import oracles_hebbian as oracle
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from altprop import RULES, NormSGD
from altprop.nets import RePU, Triangle


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def units(inputs, K, norm=1.0, seed=0):
    """One layer of K units without bias, whose weight vectors have this norm."""
    net = nn.Sequential(nn.Linear(inputs, K, bias=False)).double()
    net[0].weight.data = F.normalize(normal(K, inputs, seed=seed)) * norm
    return net


def make(name, net, inputs, **options):
    return RULES[name](net, example=torch.zeros(1, inputs).double(), readout=False, **options)


def train(rule, optimizer, batches, anneal=False):
    """One step a batch; with anneal the rate falls linearly to 0."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for step, x in enumerate(batches):
        if anneal:
            optimizer.param_groups[0]["lr"] = rates[0] * (1 - step / len(batches))
        optimizer.zero_grad()
        rule.credit(x)
        optimizer.step()


def sgd(net, lr):
    return torch.optim.SGD(net.parameters(), lr)


def gradient_of(rule, x):
    rule.zero_grad()
    rule.credit(x)
    return rule.net[0].weight.grad


def cosines(W, directions):
    """|cos| of every unit (rows) with every direction (columns)."""
    return (F.normalize(W.detach()) @ F.normalize(directions).T).abs()


# ------------------------------------------------------------------------------------------ principal components


def gaussian(samples, deviations, seed=1):
    """Samples of covariance Q diag(deviations^2) Q^T, and Q^T, whose rows are the principal components."""
    Q = torch.linalg.qr(normal(len(deviations), len(deviations), seed=9))[0]
    return normal(samples, len(deviations), seed=seed) * torch.tensor(deviations).double() @ Q.T, Q.T


def test_oja_finds_the_first_component():
    """T19.  2000 samples of variances 4, 1, 0.5: a decay that misses its square, units that repel each other."""
    x, components = gaussian(2000, (2.0, 1.0, 0.5**0.5))
    net = units(3, 2)
    train(make("oja", net, 3), sgd(net, 0.02), x.split(10))
    assert cosines(net[0].weight, components)[:, 0].min() > 0.99
    assert (net[0].weight.norm(dim=1) - 1).abs().max() < 0.02


def test_gha_finds_the_components_in_their_order():
    """T19.  A sum over the units before, without the unit itself, or over all of them."""
    x, components = gaussian(12000, (2.0, 1.4, 1.0))
    net = units(3, 3)
    train(make("gha", net, 3), sgd(net, 0.02), x.split(20))
    assert cosines(net[0].weight, components).diagonal().min() > 0.99
    assert (net[0].weight.norm(dim=1) - 1).abs().max() < 0.03


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_hebb_grows_exponentially(decay):
    """W_T = W_0 (I + eta (C - decay I))^T to the last digit; in the end the largest eigenvalue is the growth a step."""
    x, _ = gaussian(50, (2.0, 1.0, 0.5))
    net, eta, steps = units(3, 2), 0.1, 60
    start, C = net[0].weight.detach().clone(), x.T @ x / len(x)
    growth = torch.eye(3).double() * (1 - eta * decay) + eta * C
    train(make("hebb", net, 3, decay=decay), sgd(net, eta), [x] * steps)
    want = start @ torch.linalg.matrix_power(growth, steps)
    torch.testing.assert_close(net[0].weight.detach(), want, rtol=1e-9, atol=0)
    norm = net[0].weight.norm().item()
    train(make("hebb", net, 3, decay=decay), sgd(net, eta), [x])
    assert net[0].weight.norm().item() / norm == pytest.approx(torch.linalg.eigvalsh(growth)[-1].item(), rel=1e-6)


def test_hebb_vanishes_where_decay_exceeds_the_top_eigenvalue():
    """A decay of another size, or sign."""
    x, _ = gaussian(50, (2.0, 1.0, 0.5))
    top = torch.linalg.eigvalsh(x.T @ x / len(x))[-1].item()
    norms = {}
    for ratio in (0.9, 1.1):
        net = units(3, 2)
        train(make("hebb", net, 3, decay=ratio * top), sgd(net, 0.1), [x] * 300)
        norms[ratio] = net[0].weight.norm(dim=1)
    assert norms[0.9].min() > 1e2 and norms[1.1].max() < 1e-3


# --------------------------------------------------------------------------------------------------- competition


@pytest.mark.parametrize("k", [1, 2, 3])
def test_exactly_k_units_are_active(k):
    """T20.  With thresholds k units move at one sample and the others not at all; all k towards it."""
    net, x = units(5, 7), normal(20, 5, seed=2)
    rule = make("hard_wta", net, 5, k=k, thresholds=True, rate=0.0)
    for sample in x.split(1):
        G = gradient_of(rule, sample)
        moved = G.any(dim=1)
        assert moved.sum() == k
        torch.testing.assert_close(-G[moved], sample - net[0].weight.detach()[moved])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_krotov_moves_the_winner_and_the_kth(k):
    """T20.  Another rank than the k-th, a loser with the winner's sign, a loser at k = 1."""
    net, x = units(5, 7), normal(20, 5, seed=2)
    rule = make("hard_wta", net, 5, k=k, delta=0.3)
    for sample in x.split(1):
        G = gradient_of(rule, sample)
        v = (sample @ net[0].weight.detach().T)[0]
        order = v.argsort(descending=True)
        assert sorted(G.any(dim=1).nonzero().flatten().tolist()) == sorted({order[0].item(), order[k - 1].item()})
        towards = (-G * (sample - v[:, None] * net[0].weight.detach())).sum(1)
        assert towards[order[0]] > 0 and (k == 1 or towards[order[k - 1]] < 0)
        assert G.abs().max() == 1


def test_thresholds_even_out_the_winners():
    """A threshold that falls for those who win: after adaptation every unit wins k / K of the time, within 20 %."""
    k, K = 2, 8
    net = nn.Sequential(nn.Linear(6, K)).double()
    net[0].weight.data = normal(K, 6, seed=3)
    rule = make("hard_wta", net, 6, k=k, thresholds=True, rate=0.2)
    W, x = net[0].weight.detach().numpy(), normal(1500, 6, seed=4) + 1

    def rates():
        return oracle.winners(x[-1000:].numpy(), W, rule.theta[0].numpy(), k).mean(0)

    assert rates().max() > 2 * k / K
    for _ in range(400):
        rule.credit(x[:500])
    assert np.abs(rates() / (k / K) - 1).max() < 0.2


def clusters(inputs, K, samples, noise, seed=5):
    """Samples around K unit vectors, and those."""
    centres = F.normalize(normal(K, inputs, seed=seed))
    chosen = torch.randint(K, (samples,), generator=torch.Generator().manual_seed(seed))
    return centres[chosen] + noise * normal(samples, inputs, seed=seed + 1), centres


@pytest.mark.parametrize("p", [2.0, 3.0])
def test_krotov_norms_become_one(p):
    """T20.  Within 2 %, by the norm of p; a decay by u where v is meant holds for p = 2 alone."""
    x = normal(10000, 12, seed=6).abs()
    net = units(12, 6, norm=2.0)
    net[0].weight.data.abs_()
    train(make("hard_wta", net, 12, p=p), sgd(net, 0.05), x.split(10), anneal=True)
    assert (net[0].weight.norm(p, dim=1) - 1).abs().max() < 0.02


@pytest.mark.parametrize("lr", [0.045, 0.08])
@pytest.mark.parametrize("anti_hebbian", [True, False])
def test_softhebb_norms_fall_from_25_to_1(anti_hebbian, lr):
    """T21.  Within 5 %: a norm that passes 1, or a rate that dies on the way."""
    x, _ = clusters(10, 4, 30000, 0.1)
    net = units(10, 4, norm=25.0)
    train(make("softhebb", net, 10, anti_hebbian=anti_hebbian), NormSGD(net.parameters(), lr, 0.5), x.split(10))
    assert (net[0].weight.norm(dim=1) - 1).abs().max() < 0.05


def test_softhebb_finds_the_clusters():
    """T21.  Soft competition of K units for a mixture of K unit vectors: every unit aligns with one."""
    x, centres = clusters(20, 4, 8000, 0.05)
    net = units(20, 4, norm=3.0)
    rule = make("softhebb", net, 20, anti_hebbian=False, inverse_temperature=6.0)
    train(rule, NormSGD(net.parameters(), 0.05, 0.5), x.split(10))
    largest = cosines(net[0].weight, centres).max(dim=1)
    assert largest.values.min() > 0.95 and len(set(largest.indices.tolist())) == 4


@pytest.mark.parametrize("anti_hebbian", [True, False])
def test_softhebb_of_one_unit_is_oja_with_its_output_at_one(anti_hebbian):
    """T21.  y = 1: Delta w = mean of x - u w, and w goes to the direction of the mean, of norm 1."""
    x = normal(200, 4, seed=7) * 0.3 + torch.tensor([1.0, -2.0, 0.5, 0.0]).double()
    net = units(4, 1, norm=3.0)
    net[0].weight.data *= (net[0].weight.data @ x.mean(0)).sign()
    w = net[0].weight.detach()[0]
    rule = make("softhebb", net, 4, anti_hebbian=anti_hebbian, scale=None)
    torch.testing.assert_close(-gradient_of(rule, x)[0], x.mean(0) - (x.mean(0) @ w) * w)
    train(rule, sgd(net, 0.05), [x] * 400)
    torch.testing.assert_close(net[0].weight.detach()[0], F.normalize(x.mean(0), dim=0), atol=1e-6, rtol=0)


def test_som_orders_a_chain():
    """T22.  Of 1-D data a chain becomes monotone, and the distance to the nearest unit falls."""
    x, K = torch.rand(8000, 1, generator=torch.Generator().manual_seed(8), dtype=torch.float64), 10
    net = nn.Sequential(nn.Linear(1, K, bias=False)).double()
    net[0].weight.data = 0.5 + 0.1 * normal(K, 1, seed=9)
    errors = [oracle.nearest(x[:300].numpy(), net[0].weight.detach().numpy())[1].mean()]
    for sigma, stage in zip((3.0, 1.5, 0.8, 0.4), x.chunk(4), strict=True):
        train(make("som", net, 1, grid="chain", sigma=sigma), sgd(net, 0.5), stage.split(10))
        errors.append(oracle.nearest(x[:300].numpy(), net[0].weight.detach().numpy())[1].mean())
    steps = net[0].weight.detach().flatten().diff()
    assert (steps > 0).all() or (steps < 0).all()
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1.3 / (4 * K)  # even units leave 1 / (4 K)


def test_som_closes_a_ring():
    """T22.  Of points on a circle a ring becomes a circle, once around in even steps; a chain leaves a gap."""
    angles, K = 2 * torch.pi * torch.rand(9000, generator=torch.Generator().manual_seed(8), dtype=torch.float64), 8
    net = units(2, K, norm=0.1, seed=4)
    for sigma, stage in zip((2.0, 1.5, 1.0), torch.stack((angles.cos(), angles.sin()), 1).chunk(3), strict=True):
        train(make("som", net, 2, grid="ring", sigma=sigma), sgd(net, 0.3), stage.split(20), anneal=True)
    around = torch.atan2(*net[0].weight.detach().T.flip(0))
    steps = (around.roll(-1) - around + torch.pi).remainder(2 * torch.pi) - torch.pi
    assert steps.sum().abs().item() == pytest.approx(2 * torch.pi)
    assert (steps.abs() / (2 * torch.pi / K) - 1).abs().max() < 0.25


# ------------------------------------------------------------------------------------- modules and the optimizer


@pytest.mark.parametrize("power", [0.7, 1.0, 1.4, 2.0])
@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 2, 3)])
@pytest.mark.parametrize("module", [Triangle, RePU])
def test_modules(module, shape, power):
    """A mean over positions or samples, a power before the rectification, an input that is overwritten."""
    a, function = normal(*shape), {Triangle: oracle.triangle, RePU: oracle.repu}[module]
    kept = a.clone()
    torch.testing.assert_close(module(power)(a), torch.from_numpy(function(kept.numpy(), power)))
    assert torch.equal(a, kept)
    a.requires_grad_()
    module(power)(a).sum().backward()
    assert a.grad.isfinite().all()  # 0^power has no slope below power 1, but nothing comes through the zeros


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 2, 3)])
def test_triangle_of_a_constant_is_zero(shape):
    """T21.  The mean of the units stands at 0, whatever its height at a position."""
    level = torch.arange(shape[0]).double().view(-1, *(1 for _ in shape[1:]))
    assert not Triangle()(level.expand(shape)).any() and not Triangle(0.7)(level.expand(shape)).any()


def mixed(seed=0):
    """A matrix, a convolution and their biases."""
    torch.manual_seed(seed)
    return nn.ModuleList((nn.Linear(4, 3), nn.Conv2d(2, 3, (2, 3)))).double()


def step(net, optimizer, seed):
    for index, p in enumerate(net.parameters()):
        p.grad = normal(*p.shape, seed=100 * seed + index)
    optimizer.step()


@pytest.mark.parametrize("decay", [0.0, 0.25])
@pytest.mark.parametrize("power", [0.0, 0.2, 0.5, 2.0])
def test_norm_sgd(power, decay):
    """The norm of the whole layer, of inputs instead of units, after the step; biases that wait for a norm."""
    net = mixed()
    optimizer = NormSGD(net.parameters(), lr=0.3, power=power, weight_decay=decay)
    for seed in range(3):
        want = [p.detach().numpy().copy() for p in net.parameters()]
        step(net, optimizer, seed)
        for p, w in zip(net.parameters(), want, strict=True):
            new = oracle.norm_sgd(w, p.grad.numpy() + decay * w, 0.3, power)
            torch.testing.assert_close(p.detach(), torch.from_numpy(new), atol=1e-13, rtol=0)


def test_norm_sgd_of_power_zero_is_sgd():
    """Each group by its own power and rate; a parameter without a gradient stays."""
    one, other = mixed(), mixed()
    one.append(nn.Linear(2, 2)), other.append(nn.Linear(2, 2))
    groups = [{"params": one[0].parameters(), "lr": 0.1, "power": 0.0}, {"params": one[1:].parameters()}]
    plain = torch.optim.SGD(other.parameters(), lr=0.1)
    step(one[:2], NormSGD(groups, lr=0.3, power=0.5), 0)
    step(other[:2], plain, 0)
    for left, right in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one[1].weight, other[1].weight)


def test_norm_sgd_rests_at_norm_one():
    """At norm 1 the rate is lr 1e-10^power, not nan and not 0."""
    net = units(4, 3)
    net[0].weight.data = torch.eye(3, 4).double()
    net[0].weight.grad = torch.ones(3, 4).double()
    NormSGD(net.parameters(), lr=1.0, power=0.5).step()
    torch.testing.assert_close(net[0].weight.detach(), torch.eye(3, 4).double() - 1e-5, atol=1e-15, rtol=0)


def test_norm_sgd_survives_its_state():
    """A rate or power that is not in the state dict."""
    net = mixed()
    optimizer = NormSGD(net.parameters(), lr=0.3, power=0.7)
    step(net, optimizer, 0)
    twin = copy.deepcopy(net)
    restored = NormSGD(twin.parameters(), lr=0.01, power=0.0)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(net, optimizer, 1)
    step(twin, restored, 1)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True))
