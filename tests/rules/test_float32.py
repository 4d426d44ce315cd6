"""float32 against float64 on the same numbers: a difference of two large numbers is the rounding of both."""

import copy

import pytest
import torch
from helpers import suited
from torch import nn

from altprop import RULES, SOM
from altprop.core import forward, learn, slope
from altprop.rules.hebbian import som as som_file

CLASSES = 4


def mlp(act):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(108, 24), act(), nn.Linear(24, 16), act(), nn.Linear(16, CLASSES)
    )  # fmt: skip


def cnn(act):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), act(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 2), act(), nn.Dropout(0.2),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, CLASSES),
    )  # fmt: skip


NETS = {"mlp": mlp, "cnn": cnn}
INPUTS = {  # far from zero the maps of a convolution are so flat that a pool chooses among them by rounding
    "normal": lambda x: x, "offset": lambda x: x + 1e3, "offset below": lambda x: x - 1e2,
    "pixels": lambda x: (x * 60 + 128).clamp(0, 255).round(),
}  # fmt: skip
BY_SIGN = ("sdfa",)  # of an error, which is 0 or some 1e-50 where softmax is certain: no tie that a test could break
LIMITS = {"lpl": 5e-3}  # it divides by the deviation of h over the batch: h is rounded to 2e-4 of that far from zero


def samples(kind, n=8):
    return INPUTS[kind](torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(1)))


def labels(n=8):
    return torch.arange(n) % CLASSES


def in_both(name, net, x, **options):
    """The same rule, in float32 and in float64, both after credit."""
    net = suited(name, net)
    single = RULES[name](net, example=x[:1], **options).eval()
    double = copy.deepcopy(single).double()
    for rule, batch in ((single, x), (double, x.double())):
        torch.manual_seed(0)
        rule.credit(batch, labels(len(x)))
    return single, double


def errors(single, double):
    """{parameter: |difference| / |gradient|} where there is a gradient."""
    pairs = zip(single.net.named_parameters(), double.net.parameters(), strict=True)
    return {
        name: float((p.grad.double() - q.grad).norm() / q.grad.norm())
        for (name, p), q in pairs
        if q.grad is not None and q.grad.norm() > 0
    }


@pytest.mark.parametrize("kind", [kind for kind in INPUTS if kind != "normal"])  # which is among the contracts
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_keeps_three_digits(name, net, kind):
    """Of every parameter's gradient, wherever the inputs lie."""
    if name in BY_SIGN and "offset" in kind:
        pytest.skip("the sign of an error that is zero but for rounding")
    torch.manual_seed(0)
    found = errors(*in_both(name, NETS[net](nn.ReLU), samples(kind)))
    assert found and max(found.values()) < LIMITS.get(name, 1e-3), found


@pytest.mark.parametrize("name", ["pepita", "pepita_hebbian", "pepita_local"])
@pytest.mark.parametrize("act", [nn.Tanh, nn.LeakyReLU, nn.GELU, nn.Hardtanh, nn.Identity, nn.PReLU])
def test_two_passes_keep_three_digits_behind_any_activation(name, act):
    """Whose kinks lie elsewhere, or which has none; saturated units say the same in both passes."""
    torch.manual_seed(0)
    net = cnn(act).requires_grad_(act is not nn.PReLU)
    for module in net:
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.requires_grad_(True)
    kind = "normal" if act in (nn.Tanh, nn.Hardtanh) else "pixels"
    found = errors(*in_both(name, net, samples(kind)))
    assert max(found.values()) < 1e-3, found


@pytest.mark.parametrize("name", ["pepita", "pepita_hebbian", "pepita_local"])
@pytest.mark.parametrize("act", [nn.ReLU, nn.LeakyReLU, nn.Identity])
def test_two_passes_lose_nothing_to_a_subtraction_where_activations_are_lines(name, act):
    """What is left is the rounding of sums, a hundredth of what h^m - h would have for its own."""
    torch.manual_seed(0)
    assert max(errors(*in_both(name, cnn(act), samples("pixels"))).values()) < 1e-5


class Own(nn.Module):
    """An activation of the user's, of which nobody knows a second derivative."""

    def forward(self, x):
        return Once.apply(x)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, signal):
        return signal


@pytest.mark.parametrize("name", ["pepita", "pepita_hebbian", "pepita_local"])
def test_two_passes_take_no_derivative_of_a_users_module(name):
    """It is run twice, and what it says is subtracted: to the bit the ReLU that it is, in float64."""
    x = samples("normal").double()
    gradients = []
    for act in (Own, nn.ReLU):
        torch.manual_seed(0)
        rule = RULES[name](mlp(act).double(), example=x[:1])
        rule.credit(x, labels())
        gradients.append([p.grad for p in rule.parameters()])
    for own, relu in zip(*gradients, strict=True):
        torch.testing.assert_close(own, relu, atol=1e-12, rtol=0)


def trained(net, x):
    """The net whose first layer lies where the inputs lie, as a map that has learned."""
    weight = net[0].weight
    with torch.no_grad():
        of_channels = x.transpose(0, 1).flatten(1).mean(1).view(-1, *(1 for _ in weight.shape[2:]))
        weight.copy_(x[: len(weight)] if weight.dim() == 2 else torch.randn_like(weight) + of_channels)
    return net


FIRST = {
    "linear": lambda: nn.Sequential(nn.Linear(32, 20), nn.Linear(20, CLASSES)),
    "patches": lambda: nn.Sequential(nn.Conv2d(2, 300, 3), nn.Flatten(), nn.Linear(1200, CLASSES)),
    "padded": lambda: nn.Sequential(nn.Conv2d(2, 20, 3, padding=1), nn.Flatten(), nn.Linear(320, CLASSES)),
    "packed": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(64, CLASSES)),
    "reflected": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(64, CLASSES)
    ),
    "series": lambda: nn.Sequential(nn.Conv1d(4, 6, 3, padding=1, stride=2), nn.Flatten(), nn.Linear(24, CLASSES)),
}


def first_inputs(kind, offset):
    shape = {"linear": (32,), "series": (4, 8)}.get(kind, (2, 4, 4))
    signs = 1 - 2 * (torch.arange(shape[0]) % 2)  # channels lie on either side of zero
    x = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0))
    return x + offset * signs.view(-1, *(1 for _ in shape[1:]))


@pytest.mark.parametrize("offset", [1e3, 1e4, -1e5])
@pytest.mark.parametrize("kind", FIRST)
def test_a_map_finds_the_same_winners_wherever_its_inputs_lie(kind, offset, monkeypatch):
    """Of |x - w|^2 expanded, float32 keeps nothing at 1e4: nine winners of ten were others."""
    seen = []
    own = som_file.neighbourhood
    monkeypatch.setattr(som_file, "neighbourhood", lambda c, *a, **k: [seen.append(c), own(c, *a, **k)][1])
    torch.manual_seed(0)
    x = first_inputs(kind, offset)
    single, double = in_both("som", trained(FIRST[kind](), x), x)
    assert torch.equal(seen[0], seen[1])
    assert errors(single, double)["0.weight"] < 1e-4


@pytest.mark.parametrize("kind", FIRST)
def test_the_winner_is_the_nearest(kind, monkeypatch):
    """Against the distances themselves, of every patch as the convolution sees it, padding included."""
    seen = []
    own = som_file.neighbourhood
    monkeypatch.setattr(som_file, "neighbourhood", lambda c, *a, **k: [seen.append(c), own(c, *a, **k)][1])
    torch.manual_seed(0)
    x = first_inputs(kind, 3.0).double()
    net = trained(FIRST[kind]().double(), x)
    SOM(net, example=x[:1]).credit(x, labels(len(x)))
    layer = net[0]
    if isinstance(layer, nn.Linear):
        patches = x
    else:
        around = layer._reversed_padding_repeated_twice
        padded = nn.functional.pad(x, around, "constant" if layer.padding_mode == "zeros" else layer.padding_mode)
        for dim, (size, step) in enumerate(zip(layer.kernel_size, layer.stride, strict=True), 2):
            padded = padded.unfold(dim, size, step)
        patches = padded.movedim(1, layer.weight.dim() - 1).flatten(layer.weight.dim() - 1)
    distances = torch.cdist(patches.flatten(0, -2), layer.weight.flatten(1))
    assert torch.equal(seen[0].flatten(), distances.argmin(1))


def first_error(single, x):
    """Of the first weight's gradient in float32, against that of the same rule in float64."""
    double = copy.deepcopy(single).double()
    for rule, batch in ((single, x), (double, x.double())):
        rule.credit(batch, labels(len(x)))
    return errors(single, double)["0.weight"]


@pytest.mark.parametrize("kind", [kind for kind in FIRST if kind != "series"])
def test_winners_with_thresholds_move_to_the_mean_of_what_they_won(kind):
    """y (x - w) in float32 where x and w lie at 1e3; thresholds decide the contest, so that it has no tie."""
    torch.manual_seed(0)
    x = first_inputs(kind, 1e3)
    net = trained(FIRST[kind](), x)
    single = RULES["hard_wta"](net, example=x[:1], thresholds=True, k=1).eval()
    single.theta[0][1:] = 1e9
    assert first_error(single, x) < 1e-4


def test_a_convolution_of_groups_is_centred_channel_by_channel():
    """Each unit sees its own channels, whose means differ."""
    torch.manual_seed(0)
    x = torch.randn(32, 4, 5, 5) + torch.tensor([1e3, -1e3, 1e3, -1e3]).view(4, 1, 1)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, padding=1), nn.Flatten(), nn.Linear(150, CLASSES))
    with torch.no_grad():
        net[0].weight.add_(torch.tensor([1e3, -1e3]).view(1, 2, 1, 1))
    single = RULES["hard_wta"](net, example=x[:1], thresholds=True, k=6).eval()
    assert first_error(single, x) < 1e-5


def test_the_check_of_digits_can_fail():
    """A rule that subtracts two large products keeps none of them."""
    torch.manual_seed(0)
    x = samples("pixels")
    single = RULES["bp"](cnn(nn.ReLU), example=x[:1]).eval()
    double = copy.deepcopy(single).double()
    with torch.no_grad():
        for rule, batch in ((single, x), (double, x.double())):
            d = torch.full_like(batch, 0.01)
            for sign, h in ((1, batch), (-1, batch + d)):
                trace = forward(rule.layers[0], h)
                learn(trace, slope(trace, sign * trace.h))
    assert errors(single, double)["0.weight"] > 1e-3


@pytest.mark.parametrize("options", [{}, {"normalise": "sample"}, {"normalise": "batch"}], ids=str)
def test_the_halves_of_the_local_rule_add_up_to_the_whole(options):
    """With ready each half is learned by itself, under the same masks; without it both are one difference."""
    torch.manual_seed(0)
    x = samples("normal").double()
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 7), nn.ReLU(),
                        nn.Dropout(0.5), nn.Linear(7, CLASSES)).double()  # fmt: skip
    rule = RULES["pepita_local"](net, example=x[:1], **options)
    gradients = []
    for ready in (None, lambda layer: None):
        rule.zero_grad()
        torch.manual_seed(1)
        rule.credit(x, labels(), ready)
        gradients.append([p.grad.clone() for p in rule.net.parameters()])
    for whole, halves in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, halves, atol=1e-13, rtol=1e-9)


@pytest.mark.parametrize("name", ["pepita_hebbian", "pepita_local"])
def test_a_net_that_ends_in_a_nonlinearity_learns_through_its_slope_in_either_pass(name):
    """W_L.grad = (y_hat f'(a))^T h / N - (t f'(a^m))^T h^m / N, as the two products stand in the equation."""
    torch.manual_seed(0)
    x, t = torch.randn(6, 5).double(), torch.rand(6, 3).double()
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh()).double()
    rule = RULES[name](net, example=x[:1], loss="mse", scale=2.0)
    rule.credit(x, t)
    with torch.no_grad():
        h, y_hat = net[:2](x), net(x)
        x_m = x + (y_hat - t) @ rule.feedback[0]
        h_m, y_m = net[:2](x_m), net(x_m)
        up, down = y_hat * (1 - y_hat.square()) / 6, t * (1 - y_m.square()) / 6
    torch.testing.assert_close(net[2].weight.grad, up.T @ h - down.T @ h_m, atol=1e-13, rtol=1e-9)
    torch.testing.assert_close(net[2].bias.grad, (up - down).sum(0), atol=1e-13, rtol=1e-9)
    torch.testing.assert_close(net[0].weight.grad, (h.T @ x - h_m.T @ x_m) / 6, atol=1e-13, rtol=1e-9)
