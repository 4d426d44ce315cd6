"""Nets against modules written by hand, torch's own shapes, and the published formulas of the initialisers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from altprop.nets import ACTIVATIONS, INITIALISERS, NetError, RePU, Triangle, build

IMAGE = (3, 8, 8)

GRAMMAR = {
    "64-10": ((64,), [nn.Linear(64, 10)]),
    "64-32-16-10": (
        (64,), [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10)]),
    "192-32-10": (IMAGE, [nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 10)]),
    "conv4k3-10": (IMAGE, [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10)]),
    "conv4k3s2p1-10": (IMAGE, [nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)]),
    "conv4k3s2-10": (IMAGE, [nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10)]),
    "conv4k3p2-10": (IMAGE, [nn.Conv2d(3, 4, 3, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(400, 10)]),
    "conv4k3p0-10": (IMAGE, [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)]),
    "pool2-10": (IMAGE, [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 10)]),
    "pool3s2-10": (IMAGE, [nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(27, 10)]),
    "avgpool4-10": (IMAGE, [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(12, 10)]),
    "avgpool3s1-10": (IMAGE, [nn.AvgPool2d(3, 1), nn.Flatten(), nn.Linear(108, 10)]),
    "conv16k5-10": ((3, 20), [nn.Conv1d(3, 16, 5), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)]),
    "norm-conv4k3s2p1-pool3s2-avgpool2-10": (
        (3, 40),
        [nn.BatchNorm1d(3, affine=False), nn.Conv1d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool1d(3, 2), nn.AvgPool1d(2),
         nn.Flatten(), nn.Linear(16, 10)]),
    "conv4k3r1-10": (
        (3, 12), [nn.Conv1d(3, 4, 3, 1, 1, padding_mode="reflect"), nn.ReLU(), nn.Flatten(), nn.Linear(48, 10)]),
    "norm-conv4k3-pool2-10": (
        (1, 6, 6, 8),
        [nn.BatchNorm3d(1, affine=False), nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(),
         nn.Linear(48, 10)]),
    "conv4k3-pool2-conv5k2-20-10": (
        IMAGE,
        [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten(),
         nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10)]),
}  # fmt: skip


@pytest.mark.parametrize("spec", GRAMMAR)
def test_spec_gives_the_modules_written_by_hand(spec):
    """A stride read as a padding, or an activation after a pool, would train another net than the one named."""
    shape, modules = GRAMMAR[spec]
    net = build(spec, shape, 10)
    assert [repr(module) for module in net] == [repr(module) for module in modules]
    assert net(torch.zeros(2, *shape)).shape == (2, 10)


@settings(max_examples=60, deadline=None)
@given(
    side=st.integers(1, 9), kernel=st.integers(1, 5), stride=st.integers(1, 4), padding=st.integers(0, 3),
    pool=st.integers(1, 4), step=st.integers(1, 3), kind=st.sampled_from(["pool", "avgpool"]),
)  # fmt: skip
def test_spec_is_refused_exactly_where_torch_cannot_run_it(side, kernel, stride, padding, pool, step, kind):
    """An own formula of output sizes that differs from torch's would build nets that fail at the first batch."""
    spec = f"conv2k{kernel}s{stride}p{padding}-{kind}{pool}s{step}-3"
    x = torch.zeros(1, 1, side, side)
    body = nn.Sequential(nn.Conv2d(1, 2, kernel, stride, padding), nn.MaxPool2d(pool, step))
    try:
        runs = body(x).numel() > 0
    except RuntimeError:
        runs = False
    if runs:
        assert build(spec, (1, side, side), 3)(x).shape == (1, 3)
    else:
        with pytest.raises(NetError, match="larger than its input"):
            build(spec, (1, side, side), 3)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_same_seed_gives_the_same_weights_whatever_the_activation(act):
    """Rules with different default activations would otherwise start from different weights: unfair."""
    state, reference = build("6-5-4-3", (6,), 3, act=act, seed=4).state_dict(), build("6-5-4-3", (6,), 3, seed=4)
    for mine, other in zip(state.values(), reference.state_dict().values(), strict=True):
        assert torch.equal(mine, other)


def test_another_seed_gives_other_weights():
    """Means over seeds would otherwise be means over one run."""
    first, second = (build("6-5-3", (6,), 3, seed=seed)[0].weight for seed in (0, 1))
    assert not torch.equal(first, second)


def test_layers_of_one_shape_are_drawn_independently():
    """A generator that is seeded anew for each layer would give every layer the same weights."""
    net = build("5-5-5-5", (5,), 5)
    assert not torch.equal(net[0].weight, net[2].weight)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_does_not_change_the_weights(dropout):
    """A comparison with and without dropout would start from different weights."""
    weights = [m.weight for m in build("6-5-3", (6,), 3, dropout=dropout) if isinstance(m, nn.Linear)]
    reference = [m.weight for m in build("6-5-3", (6,), 3) if isinstance(m, nn.Linear)]
    assert all(map(torch.equal, weights, reference))


@pytest.mark.parametrize("init", INITIALISERS)
def test_building_leaves_the_global_random_state_alone(init):
    """A user's own random numbers would depend on whether a net was built before them."""
    torch.manual_seed(7)
    before = torch.get_rng_state()
    build("192-4-10" if init == "on_off" else "conv2k3-10", IMAGE, 10, init=init, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("spec", "shape", "fan_in"), [("300-400-10", (300,), 300), ("conv200k5-10", (7, 6, 6), 7 * 25)]
)
def test_he_uniform_bounds_and_variance(spec, shape, fan_in):
    """gain sqrt(2): |w| < sqrt(6 / fan_in), var 2 / fan_in; torch's own default has a sixth of that variance."""
    weight = next(build(spec, shape, 10).parameters())
    assert weight.abs().max() <= math.sqrt(6 / fan_in)
    assert weight.abs().max() > 0.99 * math.sqrt(6 / fan_in)
    assert weight.var().item() == pytest.approx(2 / fan_in, rel=0.05)


@pytest.mark.parametrize(
    ("init", "variance"),
    [("he_normal", 2 / 300), ("glorot_uniform", 2 / 700), ("glorot_normal", 2 / 700), ("torch", 1 / 3 / 300)],
)
def test_variance_of_the_other_initialisers(init, variance):
    """Published learning rates belong to published initialisers."""
    weight = build("300-400-10", (300,), 10, init=init)[0].weight
    assert weight.var().item() == pytest.approx(variance, rel=0.05)


def test_orthogonal_and_zeros():
    """Rows of an orthogonal matrix are orthonormal; zeros are zeros."""
    weight = build("30-20-10", (30,), 10, init="orthogonal")[0].weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(20), atol=1e-5, rtol=0)
    assert not build("30-20-10", (30,), 10, init="zeros")[0].weight.any()


@pytest.mark.parametrize("init", [name for name in INITIALISERS if name not in ("torch", "on_off")])
def test_biases_start_at_zero(init):
    """Biases left as torch draws them would differ from every paper's setting."""
    for module in build("conv4k3-20-10", IMAGE, 10, init=init):
        if hasattr(module, "weight"):
            assert module.bias is not None and not module.bias.any()


def test_no_bias_means_none_at_all():
    """PEPITA has no biases in the paper; one layer that keeps its own would be another net."""
    net = build("conv4k3-20-10", IMAGE, 10, bias=False)
    assert [name for name, _ in net.named_parameters() if "bias" in name] == []
    assert len(list(net.parameters())) == 3


def test_torch_initialiser_is_torchs_own_with_biases():
    """``--init torch`` promises what a plain nn.Linear draws from that seed."""
    net = build("6-5-3", (6,), 3, init="torch", seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first, second = nn.Linear(6, 5), nn.Linear(5, 3)
    assert torch.equal(net[0].bias, first.bias) and torch.equal(net[2].weight, second.weight)


def test_dropout_stands_only_after_hidden_linear_layers():
    """Dropout after a convolution or on the logits would be another experiment."""
    net = build("conv4k3-pool2-20-12-10", IMAGE, 10, dropout=0.3)
    kinds = [type(module).__name__ for module in net]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU",
                     "Dropout", "Linear"]  # fmt: skip
    assert {module.p for module in net if isinstance(module, nn.Dropout)} == {0.3}


BAD = {
    "unreadable": ("64-3x-10", (64,), {}, ["64-3x-10", "'3x'", "expected", "conv32k5"]),
    "empty": ("", (64,), {}, ["cannot read the part ''"]),
    "doubled dash": ("64--10", (64,), {}, ["cannot read the part ''"]),
    "negative": ("64-a-10", (64,), {}, ["'a'"]),
    "conv without kernel": ("conv32-10", IMAGE, {}, ["'conv32'"]),
    "conv with padding before stride": ("conv4k3p1s2-10", IMAGE, {}, ["'conv4k3p1s2'"]),
    "capital": ("Conv4k3-10", IMAGE, {}, ["'Conv4k3'"]),
    "width 0": ("64-0-10", (64,), {}, ["'0'", "at least 1"]),
    "stride 0": ("conv4k3s0-10", IMAGE, {}, ["'conv4k3s0'", "at least 1"]),
    "pool 0": ("pool0-10", IMAGE, {}, ["'pool0'", "at least 1"]),
    "kernel 0": ("conv4k0-10", IMAGE, {}, ["'conv4k0'", "at least 1"]),
    "inputs": ("65-10", (64,), {}, ["65", "64", "start it with 64"]),
    "image inputs": ("100-10", IMAGE, {}, ["192", "3x8x8", "start it with 192"]),
    "outputs": ("64-9", (64,), {}, ["'9'", "10 outputs", "'-10'"]),
    "no output": ("conv4k3-pool2", IMAGE, {}, ["'pool2'", "'-10'"]),
    "only the output": ("10", (64,), {}, ["starts with 10 inputs", "64"]),
    "only the input": ("192", IMAGE, {}, ["'192'", "'-10'"]),
    "convolution on features": ("conv4k3-10", (64,), {}, ["'conv4k3'", "needs an image", "sequence", "64"]),
    "convolution after a width": ("192-32-conv4k3-10", IMAGE, {}, ["'conv4k3'", "needs an image", "shape 32"]),
    "pool after a width": ("192-32-pool2-10", IMAGE, {}, ["'pool2'", "needs an image"]),
    "kernel too large": ("conv4k9-10", IMAGE, {}, ["'conv4k9'", "3x8x8", "smaller kernel"]),
    "kernel longer than a sequence": ("conv4k9-10", (3, 8), {}, ["'conv4k9'", "3x8", "smaller kernel"]),
    "reflected beyond a sequence": ("conv4k3r8-10", (3, 8), {}, ["'conv4k3r8' reflects more", "3x8"]),
    "pools too many": ("pool4-pool4-10", IMAGE, {}, ["'pool4'", "3x2x2"]),
    "activation": ("64-10", (64,), {"act": "relo"}, ["unknown activation 'relo'", "relu", "tanh"]),
    "initialiser": ("64-10", (64,), {"init": "he"}, ["unknown initialiser 'he'", "he_uniform"]),
    "dropout 1": ("64-10", (64,), {"dropout": 1.0}, ["dropout 1.0", "below 1"]),
    "dropout negative": ("64-10", (64,), {"dropout": -0.1}, ["dropout -0.1"]),
    "dropout nan": ("64-10", (64,), {"dropout": float("nan")}, ["dropout nan"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_spec_is_refused_with_one_line(case):
    """What came, where, and what to write instead; a guess would train another net than the one meant."""
    spec, shape, options, words = BAD[case]
    with pytest.raises(NetError) as caught:
        build(spec, shape, 10, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_norms_reflected_borders_and_padded_pools():
    """The parts of competitive nets, against the same modules by hand."""
    net = build("norm-conv4k3r1-pool4s2p1-norm-conv6k3p1-avgpool2-10", (3, 8, 8), 10, act="triangle0.7,repu2")
    assert [type(module) for module in net] == [
        nn.BatchNorm2d, nn.Conv2d, Triangle, nn.MaxPool2d, nn.BatchNorm2d, nn.Conv2d, RePU, nn.AvgPool2d, nn.Flatten,
        nn.Linear,
    ]  # fmt: skip
    assert not list(net[0].parameters()) and (net[2].power, net[6].power) == (0.7, 2.0)
    assert (net[1].padding_mode, net[1].padding, net[5].padding_mode) == ("reflect", (1, 1), "zeros")
    assert (net[3].kernel_size, net[3].stride, net[3].padding) == (4, 2, 1)
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 10)


def test_a_norm_before_a_linear_layer_takes_each_feature_by_itself():
    """One mean for all pixels of an image would leave them as uncentred as they came."""
    net = build("64-norm-5-norm-7-10", (1, 8, 8), 10)
    assert [type(module) for module in net[:2]] == [nn.Flatten, nn.BatchNorm1d] and net[1].num_features == 64
    assert [m.num_features for m in net if isinstance(m, nn.BatchNorm1d)] == [64, 5]


@pytest.mark.parametrize(("init", "least"), [("radius25", None), ("positive25", 0.0)])
def test_radius_is_the_norm_of_hidden_units(init, least):
    """The rate of SoftHebb goes by the distance of that norm to 1; the readout starts as elsewhere."""
    net = build("300-64-32-10", (300,), 10, init=init)
    for layer, inputs in ((net[0], 300), (net[2], 64)):
        assert layer.weight.norm(dim=1).mean().item() == pytest.approx(25, rel=0.05), inputs
        assert least is None or layer.weight.min() >= least
    assert net[4].weight.abs().max().item() <= (6 / 32) ** 0.5


@pytest.mark.parametrize(
    ("spec", "act", "words"),
    [
        ("64-5-10", "relu,tanh", ["1 hidden layers", "2 activations", "one a hidden layer"]),
        ("64-5-10", "triangle0.7x", ["unknown activation 'triangle0.7x'"]),
        ("conv4k3-pool2p2-10", "relu", ["'pool2p2' pads by more than half", "p1"]),
        ("conv4k3r9-10", "relu", ["'conv4k3r9' reflects more"]),
    ],
)
def test_parts_that_cannot_be(spec, act, words):
    """torch would fail later, in words of its own, or in training."""
    with pytest.raises(NetError) as error:
        build(spec, (1, 8, 8), 10, act=act)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(("act", "formula"), [
    ("hard_sigmoid", lambda a: (1 + torch.nn.functional.hardtanh(2 * a - 1)) / 2),
    ("wide_hard_sigmoid", lambda a: (1 + torch.nn.functional.hardtanh(a - 1)) / 2),
    ("shifted_sigmoid", lambda a: 1 / (1 + torch.exp(-4 * (a - 0.5)))),
    ("relu6", lambda a: a.clamp(0, 6)),
])  # fmt: skip
def test_sigma_of_states_that_settle(act, formula):
    """As the papers write them; what comes in is left as it is."""
    a = torch.linspace(-8, 8, 101, dtype=torch.float64)
    before, sigma = a.clone(), build("6-5-3", (6,), 3, act=act)[1]
    torch.testing.assert_close(sigma(a), formula(before), atol=1e-15, rtol=0)
    assert torch.equal(a, before)
