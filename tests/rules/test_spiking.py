"""Equilibrium propagation with spikes against autograd of its energy, step by step, and against its limit of rates."""

import copy
import itertools
import pickle
import sys

import pytest
import torch
from helpers import CLASSES, assert_same, backward, cnn, credit, gradients, inputs, labels, loss_of, masks, mlp
from torch import nn

from altprop import Refused, layers

pytest.importorskip("snntorch")

from altprop.rules.spiking import EPLIF
from altprop.rules.spiking.neurons import Neurons


class Oracle:
    """The net cut by hand: Phi = sum_l <s_l, W_l P_l(s_{l-1}) + b_l>, of which autograd takes every derivative."""

    def __init__(self, net, x, y, loss="cross_entropy", readout=True, leak=0.0, drawn=()):
        self.x, self.y, self.loss, self.leak = x, y, loss, leak
        cuts = layers(net)
        self.drawn = [torch.from_numpy(mask) for mask in drawn] or [1.0] * len(cuts)
        self.head = cuts[-1] if readout else None
        self.blocks = [nn.Sequential(cut.inlet, cut.synapse) for cut in cuts[: len(cuts) - readout]]
        self.acts = [
            nn.Sequential(*(part for part in cut.activation if not isinstance(part, nn.Dropout)))
            for cut in cuts[: len(cuts) - readout]
        ]

    def phi(self, s):
        return sum((block(h) * s_l).sum() for block, h, s_l in zip(self.blocks, [self.x, *s], s, strict=False))

    def rest(self):
        h, s = self.x, []
        for block in self.blocks:
            h = torch.zeros_like(block(h).detach())
            s.append(h)
        return s, [torch.full_like(h, 0.5) for h in s]

    def charges(self, s, n):
        s = [h.detach().requires_grad_() for h in s]
        u = list(torch.autograd.grad(self.phi(s), s))
        u[-1] = u[-1] - n
        return [(act(a) * mask).clamp(0, 1) for act, a, mask in zip(self.acts, u, self.drawn, strict=False)]

    def spike(self, s, v, start, steps, n=0.0):
        """(rates, membranes, spikes a step) after the steps start + 1 to start + steps."""
        fired = [(h > 1).to(h) for h in v]
        total = [torch.zeros_like(h) for h in s]
        for t in range(start + 1, start + steps + 1):
            c = self.charges(s, n)
            v = [(1 - self.leak) * v_l + c_l - q for v_l, c_l, q in zip(v, c, fired, strict=True)]
            fired = [(h > 1).to(h) for h in v]
            s = [h + (q - h) / t**0.5 for h, q in zip(s, fired, strict=True)]
            total = [h + q for h, q in zip(total, fired, strict=True)]
        return s, v, [h / steps for h in total]

    def settle(self, s, n=0.0, steps=120):
        """The fixed point of the rates, by plain iteration."""
        for _ in range(steps):
            s = [h + 0.5 * (c - h) for h, c in zip(s, self.charges(s, n), strict=True)]
        return s

    def error(self, s):
        """(loss, output error times N at the nudged layer)."""
        top = s[-1].detach().requires_grad_()
        loss = loss_of(top if self.head is None else self.head(top), self.y, self.loss)
        return loss.detach(), torch.autograd.grad(loss, top)[0] * len(top)

    def gradient(self, net, plus, minus, free, beta):
        """(Phi(minus) - Phi(plus)) / (2 beta N) by the weights, and the readout's own gradient at the free state."""
        net.zero_grad()
        ((self.phi(minus) - self.phi(plus)) / (2 * beta * len(self.x))).backward()
        if self.head is not None:
            loss_of(self.head(free[-1].detach()), self.y, self.loss).backward()
        return gradients(net)


def both_signs(oracle, free, beta, run):
    n = beta * oracle.error(free)[1]
    return run(n), run(-n)


CASES = [
    (build, loss, readout)
    for build in (mlp, cnn)
    for loss, readout in (("cross_entropy", True), ("binary_cross_entropy", True), ("mse", True), ("mse", False))
]


@pytest.mark.parametrize("leak", [0.0, 0.2])
@pytest.mark.parametrize(("build", "loss", "readout"), CASES)
def test_every_spike_is_that_of_the_energy(build, loss, readout, leak):
    """Currents are dPhi/ds, a gradient is what Phi's differ by: spikes are counted, so the numbers are the same."""
    net = build(**({"depth": 4, "act": nn.ReLU} if build is mlp else {}))
    x, y = inputs(net), labels()
    rule = EPLIF(net, example=x, loss=loss, readout=readout, free=7, nudged=5, beta=0.7, leak=leak)
    found, got = rule.credit(x, y), gradients(net)
    oracle = Oracle(net, x, y, loss, readout, leak)
    s, v, _ = oracle.spike(*oracle.rest(), 0, 7)
    plus, minus = both_signs(oracle, s, 0.7, lambda n: oracle.spike(s, v, 7, 5, n)[2])
    assert_same(got, oracle.gradient(net, plus, minus, s, 0.7), 1e-12)
    torch.testing.assert_close(found, oracle.error(s)[0])
    output = s[-1] if not readout else oracle.head(s[-1])
    torch.testing.assert_close(rule(x), output.detach())


def test_dropout_falls_out_of_all_three_phases_alike():
    """A mask drawn anew at a step would be noise in a difference that is small."""
    net = mlp(4, nn.ReLU, p=0.4)
    x, y = inputs(net), labels()
    drawn = masks(net, x)
    got = credit(EPLIF(net, example=x, free=7, nudged=5), x, y)
    oracle = Oracle(net, x, y, drawn=drawn)
    s, v, _ = oracle.spike(*oracle.rest(), 0, 7)
    plus, minus = both_signs(oracle, s, 0.5, lambda n: oracle.spike(s, v, 7, 5, n)[2])
    assert_same(got, oracle.gradient(net, plus, minus, s, 0.5), 1e-12)


def test_inputs_that_fall_out_are_out_in_all_phases():
    """A mask before the first synapse is that of the input, which would teach otherwise in the end."""
    inner = mlp(3, nn.ReLU)
    net = nn.Sequential(nn.Dropout(0.4), *inner)
    x, y = inputs(inner, 8), labels(8)
    torch.manual_seed(0)
    mask = nn.Dropout(0.4)(torch.ones_like(x))
    got = credit(EPLIF(net, example=x), x, y)
    want = credit(EPLIF(inner, example=x), x * mask, y)
    assert_same(dict(zip(want, got.values(), strict=True)), want, 1e-13)


@pytest.mark.parametrize("readout", [True, False])
def test_what_autograd_follows_is_the_rate_network(readout):
    """The measures' backpropagation is that of the relaxation, and its parameters are the net's."""
    net = wide()
    x = inputs(net, 6)
    rule = EPLIF(net, example=x, readout=readout, free=400)
    rates = rule.differentiable()
    assert [id(p) for p in rates.parameters()] == [id(p) for p in net.parameters()]
    oracle = Oracle(net, x, labels(6), readout=readout)
    top = oracle.settle(oracle.rest()[0])[-1]
    torch.testing.assert_close(rates(x), oracle.head(top) if readout else top, atol=1e-3, rtol=0)
    assert all(g is not None for g in torch.autograd.grad(rates(x).sum(), list(net.parameters())))


def wide(depth=3):
    """A net whose rates are neither all silent nor all saturated, and so coupled that its rates settle."""
    torch.manual_seed(3)
    widths = [5, *(24, 20)[: depth - 1], CLASSES]
    net = []
    for inside, outside in itertools.pairwise(widths):
        net += [nn.Linear(inside, outside), nn.ReLU()]
    net = nn.Sequential(*net[:-1]).double()
    with torch.no_grad():
        for index in range(0, len(net), 2):
            nn.init.normal_(net[index].weight, std=(0.3 if index else 0.6) / net[index].in_features ** 0.5)
            net[index].bias.fill_(0.25)
    return net


def relative(got, want):
    parts = [(got[key] - want[key]).norm() / want[key].norm() for key in want]
    return max(float(part) for part in parts)


@pytest.mark.parametrize("readout", [True, False])
def test_rates_go_to_the_fixed_point_of_the_rate_network(readout):
    """More steps, less error, down to what no single spike could hide."""
    net = wide()
    x, y = inputs(net, 6), labels(6)
    oracle = Oracle(net, x, y, readout=readout)
    fixed = oracle.settle(oracle.rest()[0])
    assert float(torch.stack([((h > 0) & (h < 1)).double().mean() for h in fixed]).min()) > 0.02
    off = []
    for steps in (10, 40, 160):
        rule = EPLIF(net, example=x, readout=readout, free=steps)
        with torch.no_grad():
            _, cells = rule._free(x)
        off.append(max(float((each.s - h).abs().mean()) for each, h in zip(cells, fixed, strict=True)))
    assert all(later < 0.75 * sooner for sooner, later in itertools.pairwise(off)) and off[-1] < 0.03, off


@pytest.mark.parametrize("readout", [True, False])
def test_the_update_goes_to_that_of_the_rate_network(readout):
    """Equilibrium propagation of the rates, at the same beta, is where counting spikes leads."""
    net, beta = wide(), 0.5
    x, y = inputs(net, 6), labels(6)
    oracle = Oracle(net, x, y, readout=readout)
    fixed = oracle.settle(oracle.rest()[0])
    nudged = both_signs(oracle, fixed, beta, lambda n: oracle.settle(fixed, n))
    want = oracle.gradient(net, *nudged, fixed, beta)
    off = []
    for steps in (10, 60, 360):
        off.append(relative(credit(EPLIF(net, example=x, readout=readout, free=steps, nudged=steps), x, y), want))
    assert off[2] < 0.5 * off[1] and off[1] < 0.5 * off[0] and off[2] < 0.2, off


def test_the_update_of_many_steps_is_the_gradient_at_the_fixed_point():
    """What autograd finds through the whole relaxation, for a small beta."""
    net = wide()
    x, y = inputs(net, 6), labels(6)
    s = Oracle(net, x, y).rest()[0]
    for _ in range(60):
        u = [net[0](x) + s[1] @ net[2].weight, net[2](s[0])]
        s = [h + 0.5 * (a.clamp(0, 1) - h) for h, a in zip(s, u, strict=True)]
    net.zero_grad()
    loss_of(net[4](s[1]), y, "cross_entropy").backward()
    want = gradients(net)
    got = credit(EPLIF(net, example=x, free=400, nudged=400, beta=0.3), x, y)
    assert relative(got, want) < 0.2


def test_without_a_layer_above_it_is_the_gradient_of_the_clipped_net():
    """One hidden layer has nothing to settle with: backpropagation through clip(u, 0, 1)."""
    net = wide(2)
    x, y = inputs(net, 6), labels(6)
    clipped = nn.Sequential(net[0], nn.Hardtanh(0, 1), net[2])
    want = {key: g for key, g in zip(gradients(net), backward(clipped, x, y).values(), strict=True)}
    got = credit(EPLIF(net, example=x, free=300, nudged=300, beta=0.2), x, y)
    assert relative(got, want) < 0.1


def test_no_error_no_update():
    """Targets that are met nudge nobody, and both phases are one and the same."""
    net = mlp()
    x = inputs(net)
    rule = EPLIF(net, example=x, loss="mse")
    got = credit(rule, x, rule(x))
    assert all(float(g.abs().max()) == 0 for g in got.values())


def test_spikes_are_the_sum_of_charges_rounded():
    """Half a spike of error at any time, whatever the charges: that is why rates converge."""
    c = torch.rand(50, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    neurons = Neurons(0.0, c)
    cells = neurons.rest(c[0])
    for t, now in enumerate(c, 1):
        cells = neurons(now, cells, t)
        assert float((cells.spikes - c[:t].sum(0)).abs().max()) <= 0.5


def test_a_leak_keeps_weak_charges_silent():
    """Below leak times the threshold the membrane never gets there."""
    c = torch.tensor([[0.05, 0.09, 0.11, 0.5]]).double()
    neurons = Neurons(0.1, c)
    cells = neurons.rest(c)
    for t in range(1, 201):
        cells = neurons(c, cells, t)
    assert cells.spikes[0, :2].tolist() == [0, 0] and 0 < cells.spikes[0, 2] < cells.spikes[0, 3] < 100


def test_it_keeps_no_batch_and_can_be_copied():
    """snnTorch would hold the last membrane in a buffer, and pickles would carry it."""
    net = mlp()
    x, y = inputs(net), labels()
    rule = EPLIF(net, example=x)
    want = credit(rule, x, y)
    assert rule.neurons.leaky.mem.numel() == 0 and not [key for key in rule.state_dict() if "mem" in key]
    for other in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert_same(credit(other, x, y), want, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"free": 0}, "free=0"), ({"nudged": 0}, "nudged=0"), ({"beta": 0.0}, "beta=0.0"), ({"leak": 1.0}, "leak=1.0")],
)
def test_arguments_out_of_range_are_named(options, said):
    """What came, and what is taken."""
    net = mlp()
    with pytest.raises(Refused, match=f"{said}.*steps are 1 or more") as told:
        EPLIF(net, example=inputs(net), **options)
    assert len(str(told.value)) <= 290


def test_nets_that_cannot_spike_are_named():
    """Nothing hidden, a shape that changes behind the synapse, statistics that would move at every step."""
    net = mlp(1)
    with pytest.raises(Refused, match="needs a layer that spikes: give a hidden layer, or readout=False"):
        EPLIF(net, example=inputs(net))
    assert EPLIF(net, example=inputs(net), readout=False).top == 1
    net = nn.Sequential(nn.Linear(5, 6), nn.GLU(), nn.Linear(3, 3)).double()
    with pytest.raises(Refused, match=r"layer '0'.*makes shape \(3,\) of \(6,\)"):
        EPLIF(net, example=inputs(net))
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()
    with pytest.raises(Refused, match="EPLIF cannot work with BatchNorm1d in the activation of layer '0'"):
        EPLIF(net, example=inputs(net))


def test_without_snntorch_it_says_how_to_get_it(monkeypatch):
    """The extra is named, as a plain installation lacks it."""
    monkeypatch.setitem(sys.modules, "snntorch", None)
    net = mlp()
    with pytest.raises(Refused, match=r"rule 'ep_lif' needs snntorch.*altprop\[spiking\]"):
        EPLIF(net, example=inputs(net))
