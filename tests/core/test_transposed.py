"""Transposed convolutions, whose weight is (in, out / groups, *kernel): the other way round than every other."""

import pytest
import torch
from torch import nn

from altprop import RULES
from altprop.core import correlate, forward
from altprop.measure import receptive_fields, unit_norms, winners
from altprop.rules.pepita.modulation import products

CLASSES, N = 3, 4
KINDS = {
    "1d": lambda: nn.ConvTranspose1d(2, 6, 3, stride=2),
    "2d": lambda: nn.ConvTranspose2d(2, 6, 2, stride=2),
    "2d padded": lambda: nn.ConvTranspose2d(2, 4, 3, padding=1, bias=False),
    "groups": lambda: nn.ConvTranspose2d(4, 6, (2, 3), stride=(2, 3), groups=2),
    "groups 1d": lambda: nn.ConvTranspose1d(4, 2, 3, stride=3, groups=2, output_padding=1),
    "dilated": lambda: nn.ConvTranspose2d(2, 3, 2, dilation=2, stride=2),
}


def case(kind):
    """(net in float64, x, y): the transposed convolution is its first layer."""
    torch.manual_seed(0)
    layer = KINDS[kind]()
    x = torch.randn(N, layer.in_channels, *(3, 4)[: len(layer.kernel_size)])
    head = nn.Linear(layer(x)[0].numel(), CLASSES)
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), head).double(), x.double(), torch.tensor([0, 1, 2, 1])


def laid_out(layer, x, signal):
    """sum_p x_p (x) signal_{p s + k d - pad}, position by position and tap by tap, in the weight's shape."""
    total, groups = torch.zeros_like(layer.weight), layer.groups
    dims = len(layer.kernel_size)
    ins, outs = layer.in_channels // groups, layer.out_channels // groups
    for n in range(len(x)):
        for p in torch.cartesian_prod(*(torch.arange(s) for s in x.shape[2:])).view(-1, dims).tolist():
            for k in torch.cartesian_prod(*(torch.arange(s) for s in layer.kernel_size)).view(-1, dims).tolist():
                q = [
                    a * s + b * d - r
                    for a, s, b, d, r in zip(p, layer.stride, k, layer.dilation, layer.padding, strict=True)
                ]
                if any(not 0 <= a < size for a, size in zip(q, signal.shape[2:], strict=True)):
                    continue
                for g in range(groups):
                    into, out = slice(g * ins, (g + 1) * ins), slice(g * outs, (g + 1) * outs)
                    here = torch.outer(x[(n, into, *p)], signal[(n, out, *q)])
                    total[(into, slice(None), *k)] += here
    return total


def count(x):
    """The products that a weight sums: a sample's positions at the input, from each of which the kernel is laid out."""
    return len(x) * x[0, 0].numel()


@pytest.mark.parametrize("kind", KINDS)
def test_pepita_takes_the_mean_over_the_products_of_a_weight(kind):
    """The factor that axis 0 gives is too large by outputs over inputs."""
    net, x, y = case(kind)
    layer, head = net[0], net[3]
    rules = {name: RULES[name](net, example=x) for name in ("pepita", "pepita_hebbian", "pepita_local")}
    F = rules["pepita"].feedback[0]
    with torch.no_grad():
        h, t = torch.tanh(layer(x)), torch.eye(CLASSES).double()[y]
        e = head(h.flatten(1)).softmax(1) - t
        x_m = x + torch.einsum("nc,c...->n...", e, F)
        h_m = torch.tanh(layer(x_m))
        want = {
            "pepita": laid_out(layer, x_m, h - h_m) / count(x),
            "pepita_hebbian": (laid_out(layer, x, h) - laid_out(layer, x_m, h_m)) / count(x),
        }
        want["pepita_local"] = want["pepita_hebbian"]
    for name, rule in rules.items():
        net.zero_grad()
        rule.credit(x, y)
        torch.testing.assert_close(layer.weight.grad, want[name], atol=1e-12, rtol=1e-9, msg=name)
        if layer.bias is not None:
            over = [0, *range(2, h.dim())]
            torch.testing.assert_close(layer.bias.grad, (h - h_m).sum(over) / count(x), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_correlate_is_the_gradient_of_its_weight(kind):
    """Tap by tap."""
    net, x, _ = case(kind)
    signal = torch.randn_like(net[0](x))
    with torch.no_grad():
        got = correlate(net[0], x, signal)
    torch.testing.assert_close(got, laid_out(net[0], x, signal))


def test_a_kernel_of_one_pixel_is_a_convolution():
    """Of the same weight, transposed: the same M, the same update."""
    torch.manual_seed(0)
    up, plain, head = nn.ConvTranspose2d(2, 5, 1), nn.Conv2d(2, 5, 1), nn.Linear(20, CLASSES)
    x, y = torch.rand(N, 2, 2, 2), torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        plain.weight.copy_(up.weight.transpose(0, 1))
        plain.bias.copy_(up.bias)
    gradients = []
    for layer in (up, plain):
        rule = RULES["pepita"](nn.Sequential(layer, nn.ReLU(), nn.Flatten(), head), example=x)
        assert products(forward(rule.layers[0], x)) == 4 * N
        rule.credit(x, y)
        gradients.append(layer.weight.grad)
    torch.testing.assert_close(gradients[0].transpose(0, 1), gradients[1])


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_the_channels_that_come_out(kind):
    """In norms, in wins and in fields, which are no pictures but inputs that are climbed to."""
    net, x, _ = case(kind)
    layer, units = net[0], net[0].out_channels
    rule = RULES["bp"](net, example=x)
    each = layer.out_channels // layer.groups
    rows = [
        layer.weight.view(layer.groups, -1, *layer.weight.shape[1:])[unit // each, :, unit % each].norm()
        for unit in range(units)
    ]
    assert abs(unit_norms(rule)["0"] - float(sum(rows)) / units) < 1e-12
    assert len(winners(rule, x)["0"].share) == units
    assert receptive_fields(rule, 0, 100, steps=2).shape == (units, *x.shape[1:])
