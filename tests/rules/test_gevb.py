"""Global error vectors against autograd on nets whose input is expanded by hand; what nets of vector units are."""

import copy

import pytest
import torch
from helpers import CLASSES, LOSSES, assert_same, backward, credit, gradients, inputs, labels, loss_of, make, mlp
from torch import nn
from torch.nn import functional as F

import altprop
from altprop import GEVB, Refused
from altprop.nets import NetError, VectorGate, VectorInput, VectorLinear, build, vectorised

N, K = 6, CLASSES


def net_of(depth=3, bias=True):
    """Vector units on 5 features, 7 and 6 of them hidden, with weights and biases of no pattern, in float64."""
    net = vectorised(module for module in mlp(depth, nn.ReLU, bias) if not isinstance(module, nn.Dropout))
    torch.manual_seed(3)
    first, *above = synapses(net)
    nn.init.normal_(first.weight)
    for synapse in above:
        nn.init.uniform_(synapse.weight, 0.1, 1.0)
    for synapse in (first, *above) if bias else ():
        nn.init.normal_(synapse.bias)
    return net


def synapses(net):
    return [module for module in net if isinstance(module, VectorInput | VectorLinear)]


def expanded(x):
    """X' (N, K, K n): block k carries x in component k."""
    blocks = x.new_zeros(len(x), K, K, x.shape[1])
    for k in range(K):
        blocks[:, k, k] = x
    return blocks.flatten(2)


def shared(net):
    """[(W (m, n), b (K, m))] of every layer on the expanded input, as leaves."""
    out = []
    for synapse in synapses(net):
        W, b = synapse.weight.detach(), torch.zeros(K, 1).double() if synapse.bias is None else synapse.bias.detach()
        if isinstance(synapse, VectorInput):
            W, b = W.view(K, -1, W.shape[1]).movedim(0, 1).flatten(1), b.view(K, -1)
        out.append((W.clone().requires_grad_(), b.clone().requires_grad_()))
    return out


def as_ours(net, pairs):
    """Gradients of those leaves under the names of the net's parameters."""
    out = {}
    named = [(name, module) for name, module in net.named_children() if module in synapses(net)]
    for (name, synapse), (W, b) in zip(named, pairs, strict=True):
        if isinstance(synapse, VectorInput):
            W, b = W.view(len(W), K, -1).movedim(1, 0).flatten(0, 1), b.flatten()
        out |= {f"{name}.weight": W} | ({} if synapse.bias is None else {f"{name}.bias": b})
    return out


def passes(net, x, leaves):
    """(h of every layer (N, K, n), gates (N, m) as numbers) of the expanded net, unit by unit of the equations."""
    gates = [module.t for module in net if isinstance(module, VectorGate)]
    h, opened = [expanded(x)], []
    for (W, b), t in zip(leaves, [*gates, None], strict=True):
        a = torch.einsum("ij,nkj->nki", W, h[-1]) + b
        opened.append(torch.ones(len(x), 1) if t is None else (torch.einsum("ki,nki->ni", t, a) >= 0).double().detach())
        h.append(a * opened[-1][:, None])
    return h, opened


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_backpropagation_is_autograd_on_the_expanded_net(depth, bias):
    """Each component's weights of the first layer are those that a shared weight has for its block."""
    net = net_of(depth, bias)
    x, y, leaves = inputs(net, N), labels(N), shared(net)
    h, _ = passes(net, x, leaves)
    torch.testing.assert_close(net(x), h[-1].squeeze(2), atol=1e-12, rtol=0)
    F.cross_entropy(h[-1].squeeze(2), y).backward()
    want = as_ours(net, [(W.grad, torch.zeros(K, 1) if b.grad is None else b.grad) for W, b in leaves])
    assert_same(credit(make("bp", net, x), x, y), want, 1e-10)
    assert_same(backward(net, x, y), want, 1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_every_unit_hears_the_same_error(depth, loss, bias):
    """G_W[i, j] = sum_b g_i <h_j, e> / N and G_b[k, i] = sum_b g_i e_k / N, sample by sample."""
    net = net_of(depth, bias)
    x, y, leaves = inputs(net, N), labels(N), shared(net)
    with torch.no_grad():
        h, g = passes(net, x, leaves)
    z = h[-1].squeeze(2).clone().requires_grad_()
    (e,) = torch.autograd.grad(N * loss_of(z, y, loss), z)
    want = []
    for level, (W, _) in enumerate(leaves):
        G_W, G_b = torch.zeros_like(W), torch.zeros(K, len(W)).double()
        for b in range(N):
            for i in range(len(W)):
                G_W[i] += g[level][b, i] * (h[level][b].T @ e[b]) / N
                G_b[:, i] += g[level][b, i] * e[b] / N
        want.append((G_W, G_b))
    assert_same(credit(make("gevb", net, x, loss=loss), x, y), as_ours(net, want), 1e-12)


def test_components_that_are_zero_open_no_gate_and_a_vector_of_zeros_does():
    """A gate that was told by one component would let a unit learn whose vector did not pass."""
    net = vectorised([nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, K)]).double()
    first = synapses(net)[0]
    with torch.no_grad():
        first.weight.view(K, 8, 5)[0] = 0  # the first component of every unit
        first.weight.view(K, 8, 5)[:, :2] = 0  # all components of two
    x, y = inputs(net, N), labels(N)
    got = credit(make("gevb", net, x), x, y)[f"{[*net].index(first)}.bias"].view(K, 8)
    a = first(x)
    g = ((a * net[1].t).sum(1) >= 0).double()  # (N, 8)
    e = (net(x).softmax(1) - F.one_hot(y, K)) / N
    torch.testing.assert_close(got, (e.T @ g).detach(), atol=1e-12, rtol=0)
    assert (g[:, :2] == 1).all() and (g[:, 2:] == 0).any()


@pytest.mark.parametrize("c", [1.0, 0.3, 5.0])
def test_under_constant_weights_it_is_backpropagation_divided_by_them(c):
    """With one hidden layer the sensitivity of every unit is c; with c = 1 the rule claims to be backpropagation."""
    net = net_of(2)
    nn.init.constant_(synapses(net)[-1].weight, c)
    x, y = inputs(net, N), labels(N)
    got, want = credit(make("gevb", net, x), x, y), backward(net, x, y)
    first, last = (f"{[*net].index(synapse)}." for synapse in synapses(net))
    assert_same(got, {key: g / c if key.startswith(first) else g for key, g in want.items()}, 1e-10)
    assert any(key.startswith(last) for key in got) and GEVB.claims.is_backprop_when


@pytest.mark.parametrize(("depth", "n"), [(2, N), (3, 1), (4, 1)])
def test_every_entry_has_the_sign_of_the_gradient(depth, n):
    """W >= 0: no unit can do harm where it should help.  Of one sample, or of a batch below one layer of weights."""
    reached = set()  # by one sample not all, where no gate above is open
    for seed in range(8):
        net = net_of(depth)
        x, y = inputs(net, n, seed=seed), labels(n, seed=seed)
        got, want = credit(make("gevb", net, x), x, y), backward(net, x, y)
        for key, g in want.items():
            seen = g.abs() > 1e-12
            reached |= {key} if seen.any() else set()
            assert torch.equal(got[key][seen].sign(), g[seen].sign()), key
    assert reached == want.keys()


@pytest.mark.parametrize("optimizer", [lambda p: torch.optim.SGD(p, 0.5), lambda p: torch.optim.Adam(p, 0.1)])
def test_weights_stay_at_zero_or_above(optimizer):
    """Cut off before the next batch, and meanwhile nobody sees what lies below 0; the first layer keeps its signs."""
    net = net_of(3)
    x, y = inputs(net, N), labels(N)
    rule = make("gevb", net, x)
    steps, below = optimizer(rule.parameters()), 0
    for _ in range(20):
        steps.zero_grad()
        z = net(x)
        rule.credit(x, y)
        assert all((synapse.weight >= 0).all() for synapse in synapses(net)[1:])
        assert torch.equal(net(x), z)
        steps.step()
        below += sum(int((synapse.weight < 0).sum()) for synapse in synapses(net)[1:])
    assert below > 0 and (synapses(net)[0].weight < 0).any()


def test_credit_changes_no_weight_that_is_not_negative_and_none_that_is_frozen():
    net = net_of(3)
    x, y = inputs(net, N), labels(N)
    before = copy.deepcopy(net.state_dict())
    rule = make("gevb", net, x)
    rule.credit(x, y)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    last = synapses(net)[-1].requires_grad_(False)
    with torch.no_grad():
        last.weight[0, 0] = -1
    rule.credit(x, y)
    assert last.weight[0, 0] == -1


def test_a_weight_that_linear_shares_learns_too():
    """A layer of the user's own, with one bias for all components."""
    ours = net_of(2)
    net = copy.deepcopy(ours)
    at = [*net].index(synapses(net)[-1])
    net[at] = nn.Linear(7, 1).double()
    net[at].load_state_dict({"weight": ours[at].weight, "bias": torch.zeros(1)})
    nn.init.zeros_(ours[at].bias)
    x, y = inputs(net, N), labels(N)
    got, want = credit(make("gevb", net, x), x, y), credit(make("gevb", ours, x), x, y)
    assert_same(got, {key: g.sum().view(1) if key == f"{at}.bias" else g for key, g in want.items()}, 1e-12)


def test_of_an_on_and_an_off_gate_one_is_open():
    """For the same vector; zero passes both, and t is neither learned nor lost."""
    gate = VectorGate(8, K).double()
    a = torch.randn(50, K, 1).double().expand(-1, -1, 8)
    opened = (gate(a) != 0).any(1).int()  # (50, 8)
    assert (opened[:, ::2] + opened[:, 1::2] == 1).all() and opened.any(0).all()
    assert torch.equal(gate.t[:, 1::2], -gate.t[:, ::2]) and (gate.t.abs() == 1).all()
    assert [*gate.state_dict()] == ["t"] and not [*gate.parameters()]
    gate.t.fill_(1)  # at a right angle the gate is open
    across = torch.tensor([1.0, -1.0, 0.0]).double().view(1, K, 1).expand(1, K, 8)
    assert torch.equal(gate(across), across)
    one = VectorGate(1, 1)
    one.t.fill_(1)
    assert torch.equal(one(a[:, :1, :1].float()), a[:, :1, :1].float().relu())


@pytest.mark.parametrize("widths", [(8, 6), (7, 5)])
def test_off_units_start_as_the_opposite_of_on_units(widths):
    """Whatever their own signs may be, weights of 0 and more then compute what weights of both signs would."""
    torch.manual_seed(0)
    first, second = widths
    plain = nn.Sequential(nn.Linear(5, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, K))
    net = vectorised(plain).double()
    x = torch.randn(9, 5).double()
    even, a = not first % 2, net[0](x)
    pairs = [a] if not even else [a, net[:3](x)]
    for a in pairs:
        on, off = a[:, :, ::2], a[:, :, 1::2]
        torch.testing.assert_close(off, -on[:, :, : off.shape[2]], atol=1e-12, rtol=0)
    assert all((synapse.weight >= 0).all() and (synapse.weight == 0).any() for synapse in synapses(net)[1:])
    assert all((synapse.bias == 0).all() for synapse in synapses(net))


def test_the_size_of_the_first_weights():
    """Deviations of 1 / sqrt(n) in the first layer, of 2 / sqrt(n) in the Gaussian whose parts those above are."""
    torch.manual_seed(0)
    first, above = VectorInput(400, 100, 4), VectorLinear(900, 200, 4)
    assert first.weight.std().item() == pytest.approx(400**-0.5, rel=0.02)
    w = above.weight[::2, ::2] - above.weight[::2, 1::2]
    assert w.std().item() == pytest.approx(2 * 900**-0.5, rel=0.02) and abs(w.mean().item()) < 0.002
    assert torch.equal(above.weight[1::2, 1::2], above.weight[::2, ::2])
    assert torch.equal(above.weight[1::2, ::2], above.weight[::2, 1::2])


def test_a_spec_gives_the_vector_form_of_its_net():
    """The widths are those of units, the outputs the components of one."""
    net = build("64-12-6-10", (1, 8, 8), 10, init="on_off", seed=2)
    assert torch.equal(net[1].weight.view(10, 12, 64)[:, 1], -net[1].weight.view(10, 12, 64)[:, 0])
    kinds = [nn.Flatten, VectorInput, VectorGate, VectorLinear, VectorGate, VectorLinear, nn.Flatten]
    assert [type(module) for module in net] == kinds
    assert [tuple(p.shape) for p in net.parameters()] == [(120, 64), (120,), (6, 12), (10, 6), (1, 6), (10, 1)]
    again = build("64-12-6-10", (1, 8, 8), 10, init="on_off", seed=2)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert net(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert all(s.bias is None for s in synapses(build("4-6-2", (4,), 2, init="on_off", bias=False)))


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [("conv4k3-10", {}, "Conv2d has no form of vector units: give a net of Linear and ReLU"),
     ("64-8-10", {"act": "tanh"}, "Tanh has no form"), ("64-8-10", {"dropout": 0.5}, "Dropout has no form"),
     ("64-norm-8-10", {}, "BatchNorm1d has no form"), ("64-res64-10", {}, "Residual has no form")],
)  # fmt: skip
def test_what_has_no_form_of_vector_units_is_named(spec, options, words):
    with pytest.raises((Refused, NetError), match=words) as told:
        build(spec, (1, 8, 8), 10, **{"init": "on_off", **options})
    assert len(str(told.value)) <= 290 and "\n" not in str(told.value)


def test_a_net_without_a_last_linear_is_refused():
    for modules, words in (([], "ends in nothing"), ([nn.Linear(4, 3), nn.ReLU()], "ends in ReLU")):
        with pytest.raises(Refused, match=words):
            vectorised(modules)


@pytest.mark.parametrize(
    ("modules", "words"),
    [([nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, K)], r"vector units, \(3, units\), but layer '0' .* makes \(6,\)"),
     ([VectorInput(5, 6, 2), VectorGate(6, 2), nn.Flatten(), nn.Linear(12, K)], r"but layer '0' .* makes \(2, 6\)"),
     ([VectorInput(5, 6, K), nn.Tanh(), VectorLinear(6, 1, K), nn.Flatten()], "activation of layer '0' .*VectorGate"),
     ([VectorInput(5, 6, K), nn.ReLU(), VectorLinear(6, 1, K), nn.Flatten()], "activation of layer '0' .*VectorGate"),
     ([VectorInput(5, 6, K), VectorGate(6, K), VectorLinear(6, 1, K), nn.Flatten(), nn.Tanh()],
      "activation of layer '2'"),
     ([VectorInput(5, 6, K), VectorGate(6, K), nn.Dropout(0.5), VectorLinear(6, 1, K), nn.Flatten()],
      "Dropout in the activation")],
)  # fmt: skip
def test_other_units_are_refused(modules, words):
    """What would learn by another rule than the one that is told."""
    with pytest.raises(Refused, match=words) as told:
        GEVB(nn.Sequential(*modules), example=torch.rand(1, 5))
    assert len(str(told.value)) <= 290 and "\n" not in str(told.value)


def test_a_run_builds_the_vector_form_and_loads_it_again(tmp_path):
    """By what the rule says that it suits, from the spec of an ordinary net; any rule may have that net."""
    result = altprop.fit("gevb", "64-16-10", epochs=8, measure=False, out=tmp_path / "run")
    assert (result.recipe.net, result.recipe.init) == ("64-16-10", "on_off") and result.test_accuracy > 0.9
    shallow = altprop.fit("shallow", "64-16-10", epochs=1, measure=False, init="on_off")
    for net in (result.net, shallow.net):
        assert [type(module) for module in net][:2] == [nn.Flatten, VectorInput]
    with pytest.raises(Refused, match="build the net with init 'on_off'"):
        altprop.fit("gevb", "64-16-10", epochs=1, init="he_uniform")
    net, _ = altprop.load(tmp_path / "run")
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(net(x), result.net(x)) and gradients(net).keys() == gradients(result.net).keys()
