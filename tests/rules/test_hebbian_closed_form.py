"""The Hebbian family against the NumPy oracle of each direction, at every layer, in float64."""

import copy
from typing import NamedTuple

import numpy as np
import oracles
import oracles_hebbian as oracle
import pytest
import torch
from helpers import LOSSES, assert_same, gradients
from torch import nn

from altprop import RULES, Refused
from altprop.nets import Triangle

CLASSES = 4  # a square, so that the last layer has a place on a grid too
SYNAPSES, INLETS = (nn.Linear, nn.Conv2d), (nn.Flatten, nn.MaxPool2d, nn.BatchNorm2d)


def mlp(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 4, bias=bias), nn.Tanh(), nn.Linear(4, 9, bias=bias), nn.ReLU(), nn.Linear(9, CLASSES, bias=bias)
    ).double()


def cnn(bias=True):
    """Reflected borders, then a pool, then zeros beside the map and a stride that leaves some of it out."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect", bias=bias), Triangle(), nn.MaxPool2d(2),
        nn.Conv2d(4, 9, 2, stride=2, padding=1, bias=bias), nn.ReLU(), nn.Flatten(),
        nn.Linear(36, CLASSES, bias=bias),
    ).double()  # fmt: skip


NETS = {"mlp": mlp, "cnn": cnn}


def batch(net, n=4, seed=1):
    shape = (6,) if isinstance(net[0], nn.Linear) else (2, 6, 6)
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, torch.tensor([0, 2, 3, 2])[:n]


class Seen(NamedTuple):
    """A layer as the oracle sees it; name is that of the weight, inlet what the synapse reads."""

    name: str
    inlet: torch.Tensor
    x: np.ndarray  # (M, n)
    W: np.ndarray  # (K, n)
    b: np.ndarray | None
    h: np.ndarray  # (M, K)


def samples(module, inlet):
    if isinstance(module, nn.Linear):
        return inlet.numpy()
    geometry = (module.kernel_size, module.stride, module.padding, module.dilation)
    return oracle.patches(inlet.numpy(), *geometry, mode=module.padding_mode)


@torch.no_grad()
def seen(net, x):
    """Every layer, its input and activity taken by running the net's own modules one after the other."""
    modules, out, signal = list(copy.deepcopy(net).named_children()), [], x
    for index, (name, module) in enumerate(modules):
        inlet, signal = signal, module(signal)
        if not isinstance(module, SYNAPSES):
            continue
        h = signal
        for _, later in modules[index + 1 :]:
            if isinstance(later, (*SYNAPSES, *INLETS)):
                break
            h = later(h)
        b = None if module.bias is None else module.bias.numpy()
        W = module.weight.flatten(1).numpy()
        out.append(Seen(f"{name}.weight", inlet, samples(module, inlet), W, b, oracle.rows(h.numpy())))
    return out


# label: (rule, its options, the direction that the oracle finds)
CASES = {
    "hebb": ("hebb", {}, lambda s: oracle.hebb(s.x, s.W, s.h)),
    "hebb_decay": ("hebb", {"decay": 0.3}, lambda s: oracle.hebb(s.x, s.W, s.h, 0.3)),
    "oja": ("oja", {}, lambda s: oracle.oja(s.x, s.W)),
    "gha": ("gha", {}, lambda s: oracle.gha(s.x, s.W)),
    "krotov": ("hard_wta", {}, lambda s: oracle.krotov(s.x, s.W)),
    "krotov_one": ("hard_wta", {"k": 1}, lambda s: oracle.krotov(s.x, s.W, 1)),
    "krotov_cubic": ("hard_wta", {"k": 3, "delta": 0.7, "p": 3.0}, lambda s: oracle.krotov(s.x, s.W, 3, 0.7, 3.0)),
    "miconi": ("hard_wta", {"thresholds": True}, lambda s: oracle.miconi(s.x, s.W, np.zeros(len(s.W)), 2)),
    "miconi_one": (
        "hard_wta", {"thresholds": True, "k": 1}, lambda s: oracle.miconi(s.x, s.W, np.zeros(len(s.W)), 1)
    ),
    "softhebb": ("softhebb", {}, lambda s: oracle.softhebb(s.x, s.W, s.b)),
    "softhebb_soft": ("softhebb", {"anti_hebbian": False}, lambda s: oracle.softhebb(s.x, s.W, s.b, 1.0, False)),
    "softhebb_mean": (
        "softhebb", {"inverse_temperature": 2.5, "scale": None},
        lambda s: oracle.softhebb(s.x, s.W, s.b, 2.5, True, None),
    ),
    "softhebb_soft_mean": (
        "softhebb", {"inverse_temperature": 0.4, "anti_hebbian": False, "scale": None},
        lambda s: oracle.softhebb(s.x, s.W, s.b, 0.4, False, None),
    ),
    "som_ring": ("som", {}, lambda s: oracle.som(s.x, s.W)),
    "som_chain": ("som", {"grid": "chain", "sigma": 0.7}, lambda s: oracle.som(s.x, s.W, "chain", 0.7)),
    "som_grid": ("som", {"grid": "grid", "sigma": 1.5}, lambda s: oracle.som(s.x, s.W, "grid", 1.5)),
    "scff": ("scff", {}, lambda s: oracle.scff(s.x, s.W, s.b, len(s.inlet))),
    "scff_thresholds": (
        "scff", {"positive": 0.3, "negative": 2.0, "penalty": 0.5},
        lambda s: oracle.scff(s.x, s.W, s.b, len(s.inlet), 0.3, 2.0, 0.5),
    ),
}  # fmt: skip
DEFAULT = {
    "hebb": "hebb",
    "oja": "oja",
    "gha": "gha",
    "hard_wta": "krotov",
    "softhebb": "softhebb",
    "som": "som_ring",
    "scff": "scff",
}
every_case = pytest.mark.parametrize("case", CASES)
every_rule = pytest.mark.parametrize("name", DEFAULT)
every_net = pytest.mark.parametrize("kind", NETS)


def make(name, net, x, **options):
    return RULES[name](net, example=x[:1], **options)


def credit(rule, x, y=None):
    """(loss, the gradients of the net after one credit from a clean start)."""
    rule.zero_grad(set_to_none=True)
    return rule.credit(x, y), gradients(rule.net)


def nothing(net):
    return {name: None for name, _ in net.named_parameters()}


def uphill(net, layer, direction):
    """Minus the direction, in the shape of the layer's weight."""
    return torch.from_numpy(-direction).view_as(net.get_parameter(layer.name))


def expected(case, net, x, layers=slice(None, -1)):
    """The gradients that the rule owes these layers, and None everywhere else."""
    return nothing(net) | {layer.name: uphill(net, layer, CASES[case][2](layer)) for layer in seen(net, x)[layers]}


def delta_rule(net, x, y, loss):
    """(loss, the gradients of the readout): G = (e / N)^T h and, of the bias, the mean of e."""
    with torch.no_grad():
        output = net(x).numpy()
    value, e = oracles.output_error(output, np.eye(CLASSES)[y.numpy()], loss)
    h, N, name = seen(net, x)[-1].x, len(x), seen(net, x)[-1].name
    G = [[sum(e[n, c] / N * h[n, d] for n in range(N)) for d in range(h.shape[1])] for c in range(CLASSES)]
    bias = torch.from_numpy(e.sum(0) / N)
    return value, {name: torch.tensor(G, dtype=torch.float64), name.replace("weight", "bias"): bias}


@every_net
@every_case
def test_hidden_layers_and_readout(case, kind):
    """A wrong sum, sign, scale or activity in any hidden layer; a hidden bias that learns; another readout."""
    name, options, _ = CASES[case]
    net = NETS[kind]()
    x, y = batch(net)
    loss, got = credit(make(name, net, x, **options), x, y)
    value, readout = delta_rule(net, x, y, "cross_entropy")
    assert_same(got, expected(case, net, x) | readout)
    assert loss.item() == pytest.approx(value, abs=1e-12)


@every_net
@every_case
def test_without_a_readout(case, kind):
    """The last layer that keeps the delta rule, or does not learn at all; a bias of it that learns."""
    name, options, _ = CASES[case]
    net = NETS[kind]()
    x, y = batch(net)
    rule = make(name, net, x, readout=False, **options)
    rule.eval()  # where thresholds stand still
    want = expected(case, net, x, slice(None))
    loss, got = credit(rule, x)
    assert_same(got, want)
    assert loss.item() == 0.0 and loss.shape == ()
    assert_same(credit(rule, x, y)[1], want)


@pytest.mark.parametrize("case", ["hebb", "oja", "som_ring", "stdp"])
def test_a_convolution_on_top(case):
    """It is flattened for whoever reads it, but it learns as it would below a readout."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, CLASSES)).double()
    x = torch.rand(6, 2, 5, 5, dtype=torch.float64)
    name, options = CASES[case][:2] if case in CASES else (case, {"threshold": 0.1})
    below = credit(make(name, net, x, **options).eval(), x)[1]["0.weight"]
    alone = copy.deepcopy(net[:3])
    assert torch.equal(credit(make(name, alone, x, readout=False, **options).eval(), x)[1]["0.weight"], below)
    assert below.any()
    pooled = nn.Sequential(*alone[:2], nn.MaxPool2d(3), nn.Flatten())
    if case == "hebb":
        with pytest.raises(Refused, match=r"pools its own activity.*nn.Flatten alone"):
            make(name, pooled, x, readout=False).credit(x)


def test_what_stands_before_a_convolution():
    """Dropout in place would write into the caller's data; a reflected border asks autocast too."""
    net = nn.Sequential(
        nn.Dropout(0.5, inplace=True), nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Flatten(),
        nn.Linear(75, CLASSES),
    )  # fmt: skip
    x = torch.rand(4, 2, 5, 5)
    before, rule = x.clone(), make("softhebb", net, x)
    rule.credit(x)
    assert torch.equal(x, before)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(Refused, match=r"torch.autocast.*leave autocast"):
        rule.credit(x)


@every_case
def test_without_biases(case):
    """A rule that asks for a bias."""
    name, options, _ = CASES[case]
    net = mlp(bias=False)
    x, y = batch(net)
    got = credit(make(name, net, x, **options), x, y)[1]
    readout = delta_rule(net, x, y, "cross_entropy")[1]["4.weight"]
    assert_same(got, expected(case, net, x) | {"4.weight": readout})


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_the_readout(loss):
    """The head of one loss under the name of another."""
    net = cnn()
    x, y = batch(net)
    got_loss, got = credit(make("oja", net, x, loss=loss), x, y)
    value, readout = delta_rule(net, x, y, loss)
    assert_same(got, expected("oja", net, x) | readout)
    assert got_loss.item() == pytest.approx(value, abs=1e-12)


@every_net
@every_rule
def test_labels_reach_the_readout_alone(name, kind):
    """Labels that leak into a hidden layer; a readout that learns without any."""
    net = NETS[kind]()
    x, y = batch(net)
    one, other = (credit(make(name, net, x), x, labels)[1] for labels in (y, (y + 1) % CLASSES))
    loss, silent = credit(make(name, net, x), x)
    *_, last_weight, last_bias = one
    assert loss.item() == 0.0 and loss.shape == () and silent[last_weight] is silent[last_bias] is None
    assert not torch.equal(one.pop(last_weight), other.pop(last_weight))
    for key in one.keys() - {last_bias}:
        same = [left is right or torch.equal(left, right) for left, right in
                ((one[key], other[key]), (one[key], silent[key]))]  # fmt: skip
        assert all(same), key


@every_net
@every_case
def test_gradients_are_added(case, kind):
    """A ``.grad`` that is overwritten; hidden biases that are touched; weights or inputs that move during credit."""
    name, options, _ = CASES[case]
    net = NETS[kind]()
    x, y = batch(net)
    rule = make(name, net, x, **options)
    before = [p.detach().clone() for p in net.parameters()]
    want = expected(case, net, x) | delta_rule(net, x, y, "cross_entropy")[1]
    for p in net.parameters():
        p.grad = torch.full_like(p, 7.0)
    rule.credit(x, y)
    zeros = {key: torch.zeros_like(p) for key, p in net.named_parameters()}
    assert_same(gradients(net), {key: 7.0 + (zeros[key] if want[key] is None else want[key]) for key in zeros})
    assert all(torch.equal(old, p) for old, p in zip(before, net.parameters(), strict=True))
    assert torch.equal(x, batch(net)[0])


@every_net
@every_rule
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_layer_is_only_passed(name, kind, frozen):
    """A frozen layer that learns, or that hides the layer above it from its input."""
    net = NETS[kind]()
    x, y = batch(net)
    weight = seen(net, x)[frozen].name
    net.get_parameter(weight).requires_grad_(False)
    want = expected(DEFAULT[name], net, x) | {weight: None}
    rule = make(name, net, x)
    assert_same(credit(rule, x)[1], want)
    assert_same(credit(rule, x, y)[1], want | delta_rule(net, x, y, "cross_entropy")[1])


class Wire(nn.Module):
    """The identity, until it is cut."""

    cut = False

    def forward(self, x):
        if self.cut:
            raise AssertionError("a layer was run that nothing learns from")
        return 1.0 * x


@every_rule
def test_nothing_runs_above_the_highest_layer_that_learns(name):
    """A pass to the top of a net whose top has nothing to learn."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 4), Wire(), nn.ReLU(), nn.Linear(4, 4), Wire(), nn.Linear(4, CLASSES)
    ).double()
    x, y = batch(net)
    net[2].weight.requires_grad_(False)
    net[5].weight.requires_grad_(False)
    rule = make(name, net, x)
    want = credit(rule, x)[1]
    net[3].cut = net[6].cut = True
    assert_same(credit(rule, x)[1], want)
    assert want["0.weight"] is not None
    with pytest.raises(AssertionError, match="nothing learns"):
        credit(rule, x, y)


@every_rule
def test_the_readout_rests_without_labels(name):
    """A readout that is run although no label came."""
    net = mlp()
    x, _ = batch(net)
    rule = make(name, net, x)
    want = credit(rule, x)[1]

    def refuse(h):
        raise AssertionError("the readout was run")

    net[-1].forward = refuse
    assert_same(credit(rule, x)[1], want)


GEOMETRIES = {
    "stride": {"kernel_size": 2, "stride": 2},
    "zeros": {"kernel_size": 3, "padding": 2, "stride": (2, 3)},
    "reflect": {"kernel_size": (3, 2), "padding": (2, 1), "padding_mode": "reflect", "stride": (1, 2)},
    "dilation": {"kernel_size": (2, 3), "dilation": (3, 2), "padding": 1},
}


@pytest.mark.parametrize("case", ["hebb", "gha", "krotov", "miconi", "softhebb", "som_ring"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_geometries(geometry, case):
    """A patch from the wrong place: each option of a convolution, with an uneven number of positions a side."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, **GEOMETRIES[geometry]), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES)
    ).double()
    x, _ = batch(net, 2)
    name, options, direction = CASES[case]
    got = credit(make(name, net, x, **options), x)[1]["0.weight"]
    inlet = samples(net[0], x)
    with torch.no_grad():
        h = net[:2](x)
    view = Seen("0.weight", x, inlet, net[0].weight.detach().flatten(1).numpy(), net[0].bias.detach().numpy(),
                oracle.rows(h.numpy()))  # fmt: skip
    assert_same({"0": got}, {"0": uphill(net, view, direction(view))})


@every_net
def test_a_temperature_each_hidden_layer(kind):
    """A list of which every layer reads the first entry."""
    net = NETS[kind]()
    x, _ = batch(net)
    got = credit(make("softhebb", net, x, inverse_temperature=[3.0, 0.25], scale=None), x)[1]
    want = nothing(net)
    for t, layer in zip((3.0, 0.25), seen(net, x)[:-1], strict=True):
        want[layer.name] = uphill(net, layer, oracle.softhebb(layer.x, layer.W, layer.b, t, True, None))
    assert_same(got, want)


@every_net
@pytest.mark.parametrize("scale", ["max", None])
def test_a_supervised_readout_is_drawn_by_labels(kind, scale):
    """The winner in the label's place, losers pushed away, a bias that learns, another loss."""
    net = NETS[kind]()
    x, y = batch(net)
    loss, got = credit(make("softhebb", net, x, supervised=True, scale=scale), x, y)
    last = seen(net, x)[-1]
    want = nothing(net)
    for layer in seen(net, x)[:-1]:
        want[layer.name] = uphill(net, layer, oracle.softhebb(layer.x, layer.W, layer.b, scale=scale))
    want[last.name] = uphill(net, last, oracle.label_clamped(last.x, last.W, y.numpy(), scale))
    assert_same(got, want)
    assert loss.item() == pytest.approx(delta_rule(net, x, y, "cross_entropy")[0], abs=1e-12)
    with pytest.raises(Refused, match=r"supervised came with readout=False.*Linear that reads out"):
        make("softhebb", net, x, supervised=True, readout=False)


def test_of_a_tie_the_first_unit_wins():
    """Every largest unit, or the last, taken for the winner: three equal rows, in whole numbers."""
    net = nn.Sequential(nn.Linear(2, 3, bias=False)).double()
    net[0].weight.data = torch.tensor([[1.0, 2.0]]).double().expand(3, 2).clone()
    x = torch.tensor([[2.0, 1.0], [1.0, -1.0]]).double()
    rule = make("softhebb", net, x, readout=False, scale=None)
    drive = (x - (x @ net[0].weight[0].detach())[:, None] * net[0].weight[0].detach()).mean(0) / 3
    assert_same(credit(rule, x)[1], {"0.weight": -torch.stack((drive, -drive, -drive))}, 1e-14)


@pytest.mark.parametrize("case", ["softhebb", "krotov"])
def test_a_silent_layer_is_not_divided_by_zero(case):
    """0 / 0 where no weight is to move."""
    name, options, _ = CASES[case]
    net = nn.Sequential(nn.Linear(3, 4, bias=False)).double()
    for dtype in (torch.float64, torch.float16):
        x = torch.zeros(2, 3, dtype=dtype)
        got = credit(make(name, net.to(dtype), x, readout=False, **options), x)[1]["0.weight"]
        assert torch.equal(got, torch.zeros_like(got))


@every_net
def test_thresholds(kind):
    """Thresholds that are not subtracted, move before they are used, by another amount, or in eval mode."""
    net, k, rate = NETS[kind](), 3, 0.8
    x, _ = batch(net)
    rule = make("hard_wta", net, x, thresholds=True, k=k, rate=rate)
    assert len(rule.theta) == 2 and all(not threshold.any() for threshold in rule.theta)
    generator = torch.Generator().manual_seed(3)
    for threshold in rule.theta:
        threshold.copy_(torch.randn(len(threshold), generator=generator))
    start, layers = [threshold.numpy().copy() for threshold in rule.theta], seen(net, x)[:-1]
    want = {s.name: uphill(net, s, oracle.miconi(s.x, s.W, at, k)) for s, at in zip(layers, start, strict=True)}
    rule.eval()
    assert_same(credit(rule, x)[1], nothing(net) | want)
    assert all(np.array_equal(old, new) for old, new in zip(start, rule.theta, strict=True))
    rule.train()
    assert_same(credit(rule, x)[1], nothing(net) | want)
    for s, old, new in zip(layers, start, rule.theta, strict=True):
        moved = oracle.moved_thresholds(s.x, s.W, old, k, rate)
        np.testing.assert_allclose(new.numpy(), moved, atol=1e-12)
        assert not np.allclose(old, moved)
    assert sum(name.startswith("theta") for name in rule.state_dict()) == 2


@every_rule
def test_a_norm_before_a_convolution_runs_once(name):
    """A layer that is run twice, so that running statistics move twice; a norm that is passed over."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm2d(2, affine=False), nn.Conv2d(2, 4, 3, padding=1, bias=False), Triangle(0.7), nn.MaxPool2d(2),
        nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 4, 3, bias=False), Triangle(), nn.Flatten(),
        nn.Linear(4, CLASSES),
    ).double()  # fmt: skip
    x, y = batch(net)
    x = 2 * x + 1
    rule = make(name, net, x)
    want = expected(DEFAULT[name], net, x)
    got = credit(rule, x, y)[1]
    assert_same({key: got[key] for key in want if not key.startswith("8")},
                {key: value for key, value in want.items() if not key.startswith("8")})  # fmt: skip
    assert net[0].num_batches_tracked == net[4].num_batches_tracked == 1


@every_rule
def test_ready_is_called_for_each_layer_that_learns(name):
    """A layer that is announced before its gradient is there, twice, or not at all."""
    net = cnn()
    x, y = batch(net)
    rule, calls = make(name, net, x), []
    rule.credit(x, y, lambda layer: calls.append((layer.name, layer.synapse.weight.grad is not None)))
    assert sorted(calls) == [("0", True), ("3", True), ("6", True)]
    calls.clear()
    rule.credit(x, None, lambda layer: calls.append((layer.name, True)))
    assert sorted(calls) == [("0", True), ("3", True)]
