"""The local arithmetic of one layer against autograd: forward, slope, learn, pull and push, closed form or graph."""

import pytest
import torch
from helpers import UNTAUGHT, assert_same, credit, inputs, labels, make, mlp
from torch import nn
from torch.nn import functional as F

from altprop import RULES, Layer, Refused
from altprop.core import forward, learn, product, pull, push, slope, steps
from altprop.rules.pepita.modulation import products

CONVOLUTIONS = [
    (nn.Conv1d, {}),
    (nn.Conv1d, {"padding": 2, "stride": 2}),
    (nn.Conv1d, {"padding": "same", "kernel_size": 4}),
    (nn.Conv1d, {"padding": 2, "padding_mode": "circular"}),
    (nn.Conv2d, {"padding": "valid", "groups": 2}),
    (nn.Conv2d, {"padding": "same"}),
    (nn.Conv2d, {"padding": "same", "kernel_size": (2, 3)}),
    (nn.Conv2d, {"padding": "same", "kernel_size": 2, "padding_mode": "reflect"}),
    (nn.Conv2d, {"padding": "same", "dilation": 2}),
    (nn.Conv2d, {"padding": (2, 1), "stride": (1, 2), "dilation": (2, 1), "groups": 2}),
    (nn.Conv2d, {"padding": 1, "bias": False}),
    (nn.Conv2d, {"padding": (1, 2), "padding_mode": "reflect", "stride": 2}),
    (nn.Conv2d, {"padding": (2, 1), "padding_mode": "replicate"}),
    (nn.Conv2d, {"padding": 1, "padding_mode": "circular", "bias": False}),
    (nn.Conv3d, {"padding": (0, 1, 2), "stride": (1, 2, 1)}),
    (nn.Conv3d, {"padding": 1, "padding_mode": "replicate", "groups": 2}),
    (nn.Conv3d, {"padding": "same", "kernel_size": (1, 2, 3)}),
]
SIZES = {nn.Conv1d: (7,), nn.Conv2d: (6, 5), nn.Conv3d: (4, 5, 4)}
ARGUMENTS = {  # other than the defaults, so that a closed form cannot have them by heart
    nn.LeakyReLU: {"negative_slope": 0.3}, nn.ELU: {"alpha": 0.7}, nn.CELU: {"alpha": 1.5}, nn.GELU: {},
    nn.Softplus: {"beta": 2.0, "threshold": 1.0}, nn.Hardtanh: {"min_val": -0.5, "max_val": 0.8},
    nn.Hardshrink: {"lambd": 0.3}, nn.Softshrink: {"lambd": 0.3}, nn.Threshold: {"threshold": 0.2, "value": -0.4},
}  # fmt: skip


class Residual(nn.Module):
    """A synapse that altprop does not know."""

    def __init__(self, n=5):
        super().__init__()
        self.up, self.down, self.scale = nn.Linear(n, 8), nn.Linear(8, n), nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return x + self.scale * self.down(self.up(x).tanh())


class GraphLinear(nn.Linear):
    """A Linear that must take the graph's way, for it may compute anything."""


class GraphConv2d(nn.Conv2d):
    """The same, of a convolution."""


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(synapse, inlet=(), activation=()):
    torch.manual_seed(0)
    layer = Layer(nn.Sequential(*inlet).double(), synapse.double(), nn.Sequential(*activation).double(), "0")
    for part in (layer.inlet, layer.activation):  # norms that begin at 1 and 0 would hide themselves
        for parameter in part.parameters():
            nn.init.normal_(parameter)
    return layer


def local(layer, x, signal, seed=0):
    """(h, delta, signal at x, gradients) by the local arithmetic; the seed is that of the dropout."""
    for parameter in layer.parameters():
        parameter.grad = None
    torch.manual_seed(seed)
    with torch.no_grad():
        trace = forward(layer, x, reach=True, keep=True)
        delta = slope(trace, signal(trace.h))
        at_x = pull(trace, delta)
        learn(trace, delta)
    return trace, delta, at_x, [p.grad for p in layer.parameters()]


def check(layer, x, seed=0):
    """One layer forward and back, against autograd with the same dropout."""
    trace, delta, at_x, got = local(layer, x, lambda h: random(*h.shape, seed=3), seed)
    torch.manual_seed(seed)
    leaf = x.clone().requires_grad_()
    a = layer.synapse(layer.inlet(leaf))
    h = layer.activation(a)
    signal = random(*h.shape, seed=3)
    wanted = torch.autograd.grad(h, [a, leaf, *layer.parameters()], signal)
    for left, right in zip((trace.a, trace.h, delta, at_x, *got), (a, h, *wanted), strict=True):
        torch.testing.assert_close(left, right.detach(), atol=1e-10, rtol=0)
    assert not any(tensor.requires_grad for tensor in (trace.x, trace.a, trace.h, delta, at_x, *got))


def check_push(layer, x):
    """The forward derivative of a against torch.func.jvp."""
    tangent = random(*x.shape, seed=4)
    _, want = torch.func.jvp(lambda v: layer.synapse(layer.inlet(v)), (x,), (tangent,))
    with torch.no_grad():
        got = push(forward(layer, x, reach=True), tangent)
    torch.testing.assert_close(got, want.detach(), atol=1e-10, rtol=0)
    assert not got.requires_grad


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5), (1, 2, 3, 5)])
def test_linear_against_autograd(shape, bias):
    """A sum over samples that forgets positions."""
    layer = layer_of(nn.Linear(5, 6, bias=bias), activation=[nn.Tanh()])
    check(layer, random(*shape))
    check_push(layer, random(*shape))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kind,arguments", CONVOLUTIONS, ids=lambda v: str(getattr(v, "__name__", v)))
def test_convolution_against_autograd(kind, arguments):
    """Padding added twice or on one side, a stride forgotten on the way down, groups mixed."""
    layer = layer_of(kind(4, 6, **{"kernel_size": 3, **arguments}), activation=[nn.Tanh()])
    x = random(2, 4, *SIZES[kind])
    check(layer, x)
    check_push(layer, x)


@pytest.mark.parametrize("kind", steps.POINTWISE, ids=lambda kind: kind.__name__)
def test_pointwise_against_autograd(kind):
    """A derivative that belongs to another parameter or reads a where it needs h."""
    module = kind(**ARGUMENTS.get(kind, {}))
    a = torch.linspace(-7.03, 7.01, 211, dtype=torch.float64).view(1, -1).requires_grad_()
    h = module(a)
    signal = random(*h.shape)
    (want,) = torch.autograd.grad(h, a, signal)
    with torch.no_grad():
        got, step = steps.run(module, a.detach())
        at_a, ahead = steps.vjp(step, signal), steps.jvp(step, signal)
    torch.testing.assert_close(got, h.detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close(at_a, want, atol=1e-12, rtol=0)
    torch.testing.assert_close(ahead, want, atol=1e-12, rtol=0)


def test_tanh_gelu_is_another_function():
    """The approximation asked for is the one that is differentiated."""
    check(layer_of(nn.Linear(5, 6), activation=[nn.GELU(approximate="tanh")]), random(4, 5))


@pytest.mark.parametrize("kind", [nn.ReLU, nn.Hardtanh, nn.LeakyReLU, nn.SiLU])
def test_inplace_modules_leave_the_input_alone(kind):
    """A nonlinearity in place would overwrite the pre-activation that its own slope, or the caller, still reads."""
    layer = layer_of(nn.Linear(5, 6), inlet=[kind(inplace=True)], activation=[kind(inplace=True)])
    x = random(4, 5)
    kept = x.clone()
    with torch.no_grad():
        trace = forward(layer, x, reach=True, keep=True)
    torch.testing.assert_close(trace.a, layer.synapse(layer.inlet(x.clone())).detach())
    assert torch.equal(x, kept)


@pytest.mark.parametrize("dropout", [nn.Dropout(0.4), nn.Dropout1d(0.4), nn.Dropout(1.0), nn.Dropout(0.0)], ids=str)
def test_dropout_against_autograd(dropout):
    """A mask drawn in another way than torch draws it, or not applied on the way back."""
    synapse = nn.Conv1d(3, 4, 2)
    check(layer_of(synapse, activation=[nn.Tanh(), dropout]), random(3, 3, 6))
    check(layer_of(synapse, inlet=[dropout]), random(3, 3, 6))


def test_dropout_2d_and_3d_against_autograd():
    """Whole channels fall out, not entries."""
    check(layer_of(nn.Conv2d(3, 8, 2), activation=[nn.Dropout2d(0.4), nn.Tanh()]), random(3, 3, 4, 4))
    check(layer_of(nn.Conv3d(3, 8, 2), activation=[nn.Dropout3d(0.4), nn.Tanh()]), random(3, 3, 3, 3, 3))


def test_eval_mode_drops_nothing():
    """Dropout that runs in eval mode."""
    layer = layer_of(nn.Linear(5, 6), activation=[nn.Dropout(0.9).eval()])
    with torch.no_grad():
        trace = forward(layer, random(4, 5), keep=True)
    assert torch.equal(trace.h, trace.a)


@pytest.mark.parametrize("inlet", [[nn.Dropout(0.5)], [nn.Dropout2d(0.5), nn.MaxPool2d(2)]], ids=str)
def test_like_replays_the_masks(inlet):
    """Two passes with two masks: PEPITA would learn the difference of its masks."""
    layer = layer_of(nn.Conv2d(3, 4, 2), inlet=inlet, activation=[nn.Tanh(), nn.Dropout(0.5)])
    x = random(2, 3, 6, 6)
    with torch.no_grad():
        first, other = forward(layer, x, keep=True), forward(layer, x, keep=True)
        state = torch.get_rng_state()
        again = forward(layer, x, like=first, keep=True)
    assert torch.equal(again.h, first.h) and torch.equal(again.a, first.a)
    assert not torch.equal(other.h, first.h)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("inlet", [
    [nn.MaxPool2d(2)], [nn.AvgPool2d(2)], [nn.MaxPool2d(3, 1, padding=1), nn.Tanh()], [nn.AdaptiveAvgPool2d(3)],
    [nn.AdaptiveMaxPool2d(3)], [nn.LPPool2d(2, 2), nn.ReLU()], [nn.ZeroPad2d(1)], [nn.ReflectionPad2d(1)],
    [nn.Upsample(scale_factor=2)], [nn.BatchNorm2d(4, track_running_stats=False)], [nn.BatchNorm2d(4).eval()],
    [nn.GroupNorm(2, 4)], [nn.MaxPool2d(2), nn.LayerNorm([4, 3, 3])], [nn.PReLU(4)],
], ids=lambda inlet: "-".join(type(module).__name__ for module in inlet))  # fmt: skip
def test_inlets_against_autograd(inlet):
    """A pool that spreads the signal instead of sending it to the winner; norms without a gradient of their own."""
    layer = layer_of(nn.Conv2d(4, 5, 2), inlet=inlet, activation=[nn.Tanh()])
    check(layer, random(3, 4, 6, 6))
    check_push(layer, random(3, 4, 6, 6))


def test_flatten_inlet_against_autograd():
    """Flatten has a closed form of its own."""
    layer = layer_of(nn.Linear(24, 5), inlet=[nn.Unflatten(1, (6, 4)), nn.Flatten()])
    check(layer, random(3, 24))
    check(layer_of(nn.Linear(12, 5), inlet=[nn.Flatten(2)]), random(2, 2, 3, 4))
    check_push(layer_of(nn.Linear(12, 5), inlet=[nn.Flatten(2)]), random(2, 2, 3, 4))


@pytest.mark.parametrize("activation", [
    [nn.BatchNorm1d(6), nn.ReLU()], [nn.Tanh(), nn.LayerNorm(6)], [nn.LayerNorm(6), nn.GELU(), nn.Dropout(0.3)],
    [nn.BatchNorm1d(6).eval(), nn.Tanh()], [nn.PReLU(6)], [nn.Softmax(1)], [nn.GLU()], [nn.GroupNorm(3, 6)],
], ids=lambda modules: "-".join(type(module).__name__ for module in modules))  # fmt: skip
def test_activations_against_autograd(activation):
    """Batch statistics have a derivative too, and scale and shift a gradient."""
    check(layer_of(nn.Linear(5, 6), activation=activation), random(7, 5))


def test_batchnorm_statistics_move_once_a_pass():
    """Running statistics that move twice, or not at all, spoil the evaluation."""
    norm, twin = nn.BatchNorm1d(6).double(), nn.BatchNorm1d(6).double()
    layer = layer_of(nn.Linear(5, 6), activation=[norm])
    x = random(7, 5)
    local(layer, x, torch.ones_like)
    twin(layer.synapse(x))
    torch.testing.assert_close(norm.running_var, twin.running_var)
    assert norm.num_batches_tracked == 1


def test_residual_block_against_autograd():
    """A synapse of any kind, by its own vector-Jacobian product."""
    layer = layer_of(Residual(), inlet=[nn.Tanh()], activation=[nn.Tanh()])
    check(layer, random(4, 5))
    check_push(layer, random(4, 5))


@pytest.mark.parametrize("known,graph,shape", [
    (nn.Linear(5, 6), GraphLinear(5, 6), (4, 5)),
    (nn.Linear(5, 6), GraphLinear(5, 6), (4, 3, 5)),
    (nn.Conv2d(4, 6, 3, padding=1), GraphConv2d(4, 6, 3, padding=1), (2, 4, 5, 5)),
], ids=["2-D", "3-D", "Conv2d"])  # fmt: skip
def test_closed_form_and_graph_agree(known, graph, shape):
    """The same module by either way, so that a subclass is not another rule."""
    graph.load_state_dict(known.state_dict())
    x = random(*shape)
    left, right = (layer_of(synapse, activation=[nn.Tanh()]) for synapse in (known, graph))
    results = [local(layer, x, lambda h: random(*h.shape, seed=3)) for layer in (left, right)]
    for one, other in zip(*[(r[0].h, r[1], r[2], *r[3]) for r in results], strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    tangent = random(*shape, seed=4)
    with torch.no_grad():
        torch.testing.assert_close(push(results[0][0], tangent), push(results[1][0], tangent))
    assert products(results[0][0]) == products(results[1][0])


SERVES = [  # decoders are weights that lead back, of which a module of one's own has none
    n for n, rule in RULES.items()
    if n == "bp" or (rule.claims.signal != "layerwise" and n not in UNTAUGHT and "decoders" not in rule.claims.learns)
]  # fmt: skip


@pytest.mark.parametrize("name", SERVES)
def test_a_subclass_learns_as_its_parent_does(name):
    """A rule that scales a hidden layer by something only the closed form knows."""
    twins = []
    for linear, conv in ((nn.Linear, nn.Conv2d), (GraphLinear, GraphConv2d)):
        torch.manual_seed(0)
        net = nn.Sequential(conv(2, 3, 3), nn.Tanh(), nn.Flatten(), linear(48, 6), nn.Tanh(), linear(6, 3)).double()
        x = inputs(net)
        twins.append(credit(make(name, net, x), x, labels()))
    assert_same(*twins, atol=1e-12)


@pytest.mark.parametrize("name", UNTAUGHT)
def test_a_subclass_is_refused_where_only_the_closed_form_will_do(name):
    """What its own forward does to the weight, no Hebbian rule could know."""
    net = nn.Sequential(GraphLinear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    with pytest.raises(Refused, match=r"layer '0'.*use Linear or convolutions"):
        make(name, net, inputs(net))


def test_pull_through_a_feedback_matrix():
    """weight= stands in the synapse's place and nowhere else."""
    for synapse, x in ((nn.Linear(5, 6), random(4, 5)), (nn.Conv2d(4, 6, 3, padding=1, stride=2), random(2, 4, 5, 5))):
        layer = layer_of(synapse, inlet=[nn.Tanh()])
        B = random(*synapse.weight.shape, seed=8)
        with torch.no_grad():
            trace = forward(layer, x, reach=True)
            got = pull(trace, torch.ones_like(trace.h), weight=B)
            synapse.weight.copy_(B)
            trace = forward(layer, x, reach=True)
            want = pull(trace, torch.ones_like(trace.h))
        torch.testing.assert_close(got, want)


def test_pull_refuses_a_matrix_for_a_synapse_without_one():
    """Feedback alignment through a block would have to fall back on its weights."""
    layer = layer_of(Residual())
    with torch.no_grad():
        trace = forward(layer, random(4, 5), reach=True)
        with pytest.raises(Refused, match=r"(?s)layer '0' .*has no weight matrix"):
            pull(trace, trace.h, weight=random(5, 5))


def test_a_known_preactivation_spares_the_product():
    """``a=`` is taken as it is, bias and all."""
    layer = layer_of(nn.Linear(5, 6), activation=[nn.Tanh()])
    a = random(4, 6)
    with torch.no_grad():
        assert torch.equal(forward(layer, random(4, 5), a=a).h, a.tanh())


def test_products_count_the_positions_that_share_a_weight():
    """N for a matrix on rows, N times the positions of a map."""
    with torch.no_grad():
        for synapse, x, want in (
            (nn.Linear(5, 6), random(4, 5), 4),
            (nn.Linear(5, 6), random(4, 3, 5), 12),
            (nn.Conv2d(4, 6, 3, groups=2), random(2, 4, 6, 5), 2 * 4 * 3),
        ):
            assert products(forward(layer_of(synapse), x)) == want


@pytest.fixture(params=[True, False], ids=["onednn", "mkl"])
def route(request, monkeypatch):
    """Large products by either library, whichever this processor prefers."""
    monkeypatch.setattr(product, "onednn_is_faster", lambda x, weight: request.param)


@pytest.mark.parametrize("n,m,k", [(256, 128, 128), (64, 400, 300), (3, 5, 4)])
def test_float32_products_are_as_exact_as_float32(n, m, k, route):
    """A faster product that rounds to bfloat16 would be 100 times worse."""
    x, w, b, s = random(n, k).float(), random(m, k, seed=2).float(), random(m).float(), random(n, m, seed=5).float()
    for got, want in (
        (product.linear(x, w, b), F.linear(x.double(), w.double(), b.double())),
        (product.linear(x.view(1, n, k), w), F.linear(x.double(), w.double())[None]),
        (product.linear(s, w.T), s.double() @ w.double()),
        (product.outer(s, x), s.double().T @ x.double()),
    ):
        assert got.dtype == torch.float32
        assert (got.double() - want).norm() < 1e-6 * want.norm()


def test_large_products_take_the_fast_route(monkeypatch):
    """A condition that is never true would leave the fast route untested."""
    if not product.HAS_ONEDNN:
        pytest.skip("this torch has no oneDNN")
    x, w = random(256, 128).float(), random(128, 128).float()
    taken, faster = [], [True]
    monkeypatch.setattr(product.F, "linear", lambda *a: taken.append(a))
    monkeypatch.setattr(product, "onednn_is_faster", lambda x, weight: faster[0])
    with torch.no_grad():
        product.linear(x, w)
        assert not taken
        product.linear(x[:4], w)
        product.linear(x.double(), w.double())
    assert len(taken) == 2
    product.linear(x, w)  # where a graph is wanted, which the fast route cannot give
    assert len(taken) == 3
    faster[0] = False
    with torch.no_grad():
        product.linear(x, w)
    assert len(taken) == 4


def test_float32_layer_agrees_with_float64(route):
    """The whole layer above the size where products change their route."""
    layer = layer_of(nn.Linear(300, 256), activation=[nn.Tanh()])
    x = random(64, 300)
    want = local(layer, x, lambda h: random(*h.shape, seed=3))
    layer.synapse.float()
    got = local(layer, x.float(), lambda h: random(*h.shape, seed=3).float())
    for left, right in zip((got[0].h, got[2], *got[3]), (want[0].h, want[2], *want[3]), strict=True):
        assert (left.double() - right).norm() < 1e-4 * right.norm()


@pytest.mark.parametrize(
    "synapse", [nn.Linear(5, 5), GraphLinear(5, 5), nn.Conv1d(4, 4, 1), Residual()], ids=lambda m: type(m).__name__
)
def test_gradients_add_up(synapse):
    """Two batches, or two rules, share one .grad, as in torch."""
    layer = layer_of(synapse, activation=[nn.PReLU()])
    x = random(3, 4, 5)
    once = [g.clone() for g in local(layer, x, torch.ones_like)[3]]
    with torch.no_grad():
        trace = forward(layer, x)
        learn(trace, slope(trace, torch.ones_like(trace.h)))
    for parameter, gradient in zip(layer.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)


@pytest.mark.parametrize(
    "synapse", [nn.Linear(5, 5), GraphLinear(5, 5), nn.Conv1d(4, 4, 1), Residual()], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("frozen", ["first", "last", "all"])
def test_frozen_parameters_get_no_gradient(synapse, frozen):
    """A frozen layer that drifts, or one that cannot be passed."""
    layer = layer_of(synapse, activation=[nn.Tanh(), nn.PReLU()])
    parameters = list(layer.parameters())
    chosen = {"first": parameters[:1], "last": parameters[-1:], "all": parameters}[frozen]
    for parameter in chosen:
        parameter.requires_grad_(False)
    try:
        x = random(3, 4, 5)
        _, _, at_x, _ = local(layer, x, torch.ones_like)
        assert all((p.grad is None) == any(p is c for c in chosen) for p in parameters)
        leaf = x.clone().requires_grad_()
        torch.testing.assert_close(at_x, torch.autograd.grad(layer(leaf).sum(), leaf)[0])
    finally:
        for parameter in chosen:
            parameter.requires_grad_(True)


def test_autocast_is_refused():
    """Half of the arithmetic in another dtype, without a word."""
    net = mlp().float()
    x = inputs(net)
    for name in RULES:
        rule = make(name, net, x)
        with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(Refused, match=r"autocast.*leave autocast"):
            rule.credit(x, labels())


@pytest.mark.parametrize("tie", ["prune", "weight_norm", "spectral_norm"])
def test_hooked_weights_learn_or_are_refused(tie):
    """Pruning and hook-made weights leave type(module) alone and put the parameter elsewhere."""
    from torch.nn.utils import parametrizations, prune

    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    if tie == "prune":
        prune.l1_unstructured(net[0], "weight", 0.5)
    else:
        getattr(parametrizations, tie)(net[0])
    x = inputs(net)
    net.eval()
    try:
        got = credit(make("bp", net, x), x, labels())
    except Refused:
        return
    net.zero_grad()
    F.cross_entropy(net(x), labels()).backward()
    assert_same(got, {name: p.grad for name, p in net.named_parameters()}, 1e-10)
