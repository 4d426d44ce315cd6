"""Forward gradients against autograd: along a whole basis of tangents, by torch's own jvp, and in the mean."""

import pytest
import torch
from helpers import CLASSES, assert_same, backward, cnn, credit, inputs, labels, loss_of, make, mlp, strided
from torch import nn
from torch.nn import functional as F

from altprop import Refused, Weighted
from altprop.core import ascend
from altprop.rules.forward_gradient import tangents

BOTH = ("forward_gradient", "forward_gradient_local")


def basis(rule, monkeypatch):
    """Tangents that are sqrt(K) times an orthonormal basis of all that is perturbed; the rule, told to draw them."""
    sizes, drawn = [], []
    monkeypatch.setattr(tangents, "normal", lambda shape, like: [sizes.append(shape), torch.zeros(shape).to(like)][1])
    credit(rule, inputs(rule.net), labels())  # how much a tangent has
    lengths = [torch.Size(shape[1:]).numel() for shape in sizes[: len(sizes) // rule.K]]
    rule.K = K = sum(lengths)
    Q, _ = torch.linalg.qr(torch.randn(K, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    for row in Q * K**0.5:
        drawn += [
            part.view(1, *shape[1:]).expand(shape)
            for part, shape in zip(row.split(lengths), sizes, strict=False)  # a row serves every sample
        ]
    left = iter(drawn)
    monkeypatch.setattr(tangents, "normal", lambda shape, like: next(left))
    return rule


def local_backward(net, x, y, heads):
    """Of every hidden layer the gradient of its own classifier's loss, by autograd."""
    net.zero_grad(set_to_none=True)
    h, left = x, iter(heads)
    modules = list(net)
    for module in modules:
        h = module(h.detach() if isinstance(module, nn.Linear | nn.Conv2d) else h)
        if module is modules[-1]:
            F.cross_entropy(h, y).backward()
        elif isinstance(module, nn.Tanh | nn.ReLU):
            F.cross_entropy(h.flatten(1) @ next(left).detach().T, y).backward(retain_graph=True)
    return {name: p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize("combine", tangents.COMBINATIONS)
@pytest.mark.parametrize("perturb", tangents.PERTURBATIONS)
@pytest.mark.parametrize("build", [mlp, cnn], ids=["mlp", "cnn"])
def test_a_whole_basis_of_tangents_is_autograd(build, perturb, combine, monkeypatch):
    """A layer whose tangent is not the others', a bias or an activation left out; the mean and the projection."""
    net = build()
    x, y = inputs(net), labels()
    rule = basis(make("forward_gradient", net, x, perturb=perturb, combine=combine), monkeypatch)
    assert_same(credit(rule, x, y), backward(net, x, y), 1e-9)


@pytest.mark.parametrize("combine", tangents.COMBINATIONS)
@pytest.mark.parametrize("perturb", tangents.PERTURBATIONS)
def test_a_basis_of_local_tangents_is_the_gradient_of_each_local_loss(perturb, combine, monkeypatch):
    """And of no other: the layers above do not reach down."""
    net = mlp(2)
    x, y = inputs(net), labels()
    rule = basis(make("forward_gradient_local", net, x, perturb=perturb, combine=combine, tangents=1), monkeypatch)
    got = credit(rule, x, y)
    assert_same(got, local_backward(net, x, y, rule.heads), 1e-9)


def test_the_heads_learn_by_their_own_error():
    """C.grad is autograd's of the local loss, by C alone."""
    net = mlp(3)
    x, y = inputs(net), labels()
    rule = make("forward_gradient_local", net, x)
    credit(rule, x, y)
    for C, h in zip(rule.heads, (net[:3](x), net[:6](x)), strict=True):
        leaf = C.detach().clone().requires_grad_()
        F.cross_entropy(h.detach() @ leaf.T, y).backward()
        torch.testing.assert_close(C.grad, leaf.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("build", [mlp, strided], ids=["mlp", "strided"])
def test_one_weight_tangent_is_what_torch_finds_by_jvp(build, loss, monkeypatch):
    """g = (dL . v) v, on the numbers that were drawn."""
    net = build()
    x, y = torch.randn(4, *((5,) if build is mlp else (2, 6, 6)), dtype=torch.float64), labels()
    seen, own = [], tangents.normal
    monkeypatch.setattr(tangents, "normal", lambda *a: [seen.append(own(*a)), seen[-1]][1])
    rule = make("forward_gradient", net, x, perturb="weight", loss=loss, tangents=1)
    got = credit(rule, x, y)
    names = [name for name, _ in net.named_parameters()]
    at = {name: p.detach() for name, p in net.named_parameters()}
    v = {name: t[0] for name, t in zip(names, seen, strict=False)}
    v |= {name: torch.zeros_like(at[name]) for name in names[len(seen) :]}  # the last layer is not perturbed
    _, d = torch.func.jvp(lambda p: loss_of(torch.func.functional_call(net, p, (x,)), y, loss), (at,), (v,))
    assert len(seen) == len(names) - 2
    for name in names[: len(seen)]:
        torch.testing.assert_close(got[name], d * v[name], atol=1e-12, rtol=0)


def test_the_tangent_of_the_output_is_torchs_jvp():
    """Through an activation that is not pointwise too, whose Jacobian is no diagonal."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Softmax(1), nn.Linear(7, 6), nn.LayerNorm(6, elementwise_affine=False),
                        nn.Linear(6, CLASSES)).double()  # fmt: skip
    x = inputs(net)
    rule = make("forward_gradient", net, x)
    traces = ascend(rule.layers, x, reach=1)
    v = [torch.randn(4, 7).double(), torch.randn(4, 6).double()]

    def along(first, second):
        return net[4](net[3](net[2](net[1](net[0](x) + first)) + second))

    _, want = torch.func.jvp(along, tuple(torch.zeros_like(t) for t in v), tuple(v))
    torch.testing.assert_close(rule._tangent(traces, [[t] for t in v]), want.detach(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("perturb", tangents.PERTURBATIONS)
def test_the_mean_over_draws_is_the_gradient(perturb):
    """Without a basis: the error of 500 tangents is about sqrt(D / 500) of the gradient, D = 7 or 42."""
    net = mlp(2)
    x, y = inputs(net), labels()
    want = backward(net, x, y)
    got = credit(make("forward_gradient", net, x, perturb=perturb, tangents=500), x, y)
    for name, gradient in want.items():
        assert (got[name] - gradient).norm() < 0.5 * gradient.norm(), name


def test_projection_is_closer_than_the_mean():
    """Of as many tangents as half of the units."""
    net = mlp(2)
    x, y = inputs(net), labels()
    want = backward(net, x, y)["1.weight"]
    off = {
        combine: sum(
            (credit(make("forward_gradient", net, x, tangents=4, combine=combine), x, y, seed=s)["1.weight"] - want)
            .norm() for s in range(20)
        )
        for combine in tangents.COMBINATIONS
    }  # fmt: skip
    assert off["projection"] < off["mean"]


@pytest.mark.parametrize("name", BOTH)
def test_a_seed_draws_the_same_tangent_in_either_precision(name):
    """torch's own normal numbers of a seed differ by dtype."""
    net = mlp()
    x, y = inputs(net), labels()
    rule = make(name, net, x)
    double = credit(rule, x, y)
    single = credit(rule.float(), x.float(), y)
    for key, g in double.items():
        assert (single[key].double() - g).norm() < 1e-4 * g.norm(), key


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("options", [{"perturb": "units"}, {"combine": "sum"}, {"tangents": 0}], ids=str)
def test_words_that_it_does_not_know_are_refused(name, options):
    """What came, and what there is."""
    net = mlp()
    with pytest.raises(Refused, match=r"came; ForwardGradient\w* takes activity or weight, mean or projection") as told:
        make(name, net, inputs(net), **options)
    assert len(str(told.value)) <= 290


def test_weights_of_a_block_are_refused():
    """Whose tangent has no closed form; its activity has."""
    net = nn.Sequential(nn.ConvTranspose1d(1, 2, 2), nn.Flatten(), nn.Linear(12, CLASSES)).double()
    x = torch.randn(4, 1, 5).double()
    with pytest.raises(Refused, match=r"cannot perturb the weights of layer '0' .*use perturb='activity'"):
        make("forward_gradient", net, x, perturb="weight")
    assert credit(make("forward_gradient", net, x), x, labels())["0.weight"].abs().max() > 0


def test_more_tangents_than_there_are_units_cannot_be_projected_on():
    """They have no inverse: refused before a step makes numbers of nothing."""
    net = mlp(2)
    with pytest.raises(Refused, match=r"tangents=8 came for 'projection', but .* perturbs 7 numbers"):
        make("forward_gradient", net, inputs(net), tangents=8, combine="projection")
    with pytest.raises(Refused, match="perturbs 6 numbers"):
        make("forward_gradient_local", mlp(3), inputs(net), tangents=7, combine="projection")
    make("forward_gradient", mlp(3), inputs(net), tangents=13, combine="projection")


def test_a_net_that_ends_in_a_nonlinearity_learns_by_its_slope(monkeypatch):
    """The error that a tangent meets is that before the nonlinearity."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, CLASSES), nn.Tanh()).double()
    x, y = inputs(net), labels()
    rule = basis(make("forward_gradient", net, x, loss="mse"), monkeypatch)
    assert_same(credit(rule, x, y), backward(net, x, y, "mse"), 1e-9)


@pytest.mark.parametrize("perturb", tangents.PERTURBATIONS)
@pytest.mark.parametrize("name", BOTH)
def test_what_is_frozen_has_no_gradient(name, perturb):
    """Weights of hidden layers, and heads."""
    net = mlp(3)
    rule = make(name, net, inputs(net), perturb=perturb)
    frozen = [net[1].weight, *getattr(rule, "heads", ())]
    for parameter in frozen:
        parameter.requires_grad_(False)
    credit(rule, inputs(net), labels())
    assert all(parameter.grad is None for parameter in frozen) and net[1].bias.grad is not None


@pytest.mark.parametrize("perturb", tangents.PERTURBATIONS)
@pytest.mark.parametrize("name", BOTH)
def test_a_weight_of_a_sample_multiplies_its_error(name, perturb):
    """Along the same tangents, w and 2 - w add up to twice the plain gradient; a sample of weight 0 says nothing."""
    net = mlp(3)
    x, y, w = inputs(net), labels(), torch.tensor([0.0, 2.0, 0.5, 1.0]).double()
    rule = make(name, net, x, perturb=perturb)
    first, second, plain = (credit(rule, x, Weighted(y, each)) for each in (w, 2 - w, torch.ones_like(w)))
    assert_same({key: first[key] + second[key] for key in plain}, {key: 2 * g for key, g in plain.items()}, 1e-13)
    other = torch.cat((torch.randn(1, 5).double(), x[1:]))
    assert_same(credit(rule, other, Weighted(y, w)), first, 1e-13)
