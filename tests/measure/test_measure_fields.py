"""Fields against weights, products of weights and random search."""

import math

import pytest
import torch
from torch import nn

from altprop import RULES, Refused
from altprop.measure.fields import receptive_fields

SHAPE = (1, 4, 5)


def example(n=1, shape=SHAPE):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def make(*modules, shape=SHAPE):
    return RULES["bp"](nn.Sequential(*modules).double(), example=example(shape=shape))


def deep(act=nn.Identity, seed=0):
    torch.manual_seed(seed)
    return make(nn.Flatten(), nn.Linear(20, 9), act(), nn.Linear(9, 6), act(), nn.Linear(6, 3))


def unit(x):
    return x / x.flatten(1).norm(dim=1).view(-1, *(1 for _ in x.shape[1:]))


def test_fields_of_the_first_layer_are_its_weights():
    """Rows of W in the shape of the image: transposed, or normalised, they are others."""
    rule = deep(nn.Tanh)
    fields = receptive_fields(rule, count=7)
    assert torch.equal(fields, rule.net[1].weight[:7].view(7, *SHAPE)) and not fields.requires_grad
    fields.zero_()
    assert rule.net[1].weight.abs().min() > 0, "the weights themselves were handed out"


def test_fields_of_a_convolution_are_its_kernels():
    """25 are asked for, 6 are there."""
    rule = make(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    assert torch.equal(receptive_fields(rule), rule.net[0].weight)


@pytest.mark.parametrize(("layer", "radius"), [(1, 1.0), ("3", 2.5), (-1, 0.5)])
def test_field_of_a_deep_linear_net_is_the_normalised_product_of_weights(layer, radius):
    """On a ball a linear function is largest along its gradient, the row of W_l ... W_1 of that unit."""
    rule = deep()
    W = [rule.net[index].weight.detach() for index in (1, 3, 5)]
    product = W[1] @ W[0] if layer in (1, "3") else W[2] @ W[1] @ W[0]
    want = radius * unit(product).view(-1, *SHAPE)
    torch.testing.assert_close(receptive_fields(rule, layer, radius=radius), want, atol=1e-5, rtol=0)


def test_field_behind_a_convolution_counts_all_positions():
    """The mean over positions, not one of them: its gradient, by autograd through the whole map."""
    torch.manual_seed(0)
    rule = make(nn.Conv2d(1, 3, 2, padding=1), nn.AvgPool2d(2), nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(8, 3))
    fields = receptive_fields(rule, 1)
    for channel in range(4):
        x = torch.zeros(1, *SHAPE, dtype=torch.float64, requires_grad=True)
        rule.net[2](rule.net[1](rule.net[0](x)))[0, channel].mean().backward()
        torch.testing.assert_close(fields[channel], unit(x.grad)[0], atol=1e-5, rtol=0)


def test_units_of_a_linear_on_sequences_are_its_last_dimension():
    """(N, time, features): positions come before the units there."""
    rule = make(nn.Linear(5, 4), nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 2), shape=(2, 5))
    want = (rule.net[1].weight @ rule.net[0].weight).detach()[:, None].expand(3, 2, 5)
    torch.testing.assert_close(receptive_fields(rule, 1), unit(want), atol=1e-5, rtol=0)


def test_fields_of_a_nonlinear_net_beat_random_inputs_of_the_ball():
    """Down the gradient, another unit's, or outside the ball: none of them is a maximum within it."""
    rule = deep(nn.Tanh)
    with torch.no_grad():
        rule.net[1].weight.mul_(3)
    fields = receptive_fields(rule, 1, radius=2.0)
    activity = rule.net[:5]
    assert fields.shape == (6, *SHAPE) and fields.flatten(1).norm(dim=1).max() <= 2 + 1e-9
    others = 2 * unit(torch.randn(500, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    assert (activity(fields).diagonal() > activity(others).amax(0)).all()


class Negative(nn.Module):
    def forward(self, a):
        return -a


def test_it_is_the_activity_that_is_climbed():
    """An activation that falls with its input has its maximum where the pre-activation is least."""
    torch.manual_seed(0)
    rule = make(nn.Flatten(), nn.Linear(20, 9), nn.Identity(), nn.Linear(9, 6), Negative(), nn.Linear(6, 3))
    want = -unit(rule.net[3].weight.detach() @ rule.net[1].weight.detach()).view(-1, *SHAPE)
    torch.testing.assert_close(receptive_fields(rule, 1), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_silent_unit_climbs_by_its_preactivation(inplace):
    """A rectified unit that is off everywhere has no slope: its field would be noise."""
    torch.manual_seed(0)
    rule = make(nn.Flatten(), nn.Linear(20, 9), nn.Identity(), nn.Linear(9, 6), nn.ReLU(inplace), nn.Linear(6, 3))
    with torch.no_grad():
        rule.net[3].bias.fill_(-100)
    want = unit(rule.net[3].weight.detach() @ rule.net[1].weight.detach()).view(-1, *SHAPE)
    torch.testing.assert_close(receptive_fields(rule, 1), want, atol=1e-5, rtol=0)


def test_a_net_that_writes_into_its_input_is_borne():
    """In place on a leaf autograd gives up."""
    torch.manual_seed(0)
    rule = make(nn.Hardtanh(-9, 9, inplace=True), nn.Flatten(), nn.Linear(20, 9), nn.Linear(9, 3))
    want = unit(rule.net[3].weight.detach() @ rule.net[2].weight.detach()).view(-1, *SHAPE)
    torch.testing.assert_close(receptive_fields(rule, 1), want, atol=1e-5, rtol=0)


def test_a_first_layer_behind_pooling_is_climbed_too():
    """Its rows are no images of the input; the field still is one."""
    rule = make(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    W = rule.net[2].weight.detach().view(6, 2, 2)
    want = torch.zeros(6, *SHAPE, dtype=torch.float64)
    want[:, 0, :, :4] = W.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(receptive_fields(rule, 0), unit(want), atol=1e-5, rtol=0)


def test_looking_leaves_no_trace():
    """Gradients, modes, statistics, random state: the run that is watched must not change."""
    torch.manual_seed(0)
    rule = make(nn.Flatten(), nn.Linear(20, 9), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.Linear(9, 6), nn.Linear(6, 3))
    rule.train()
    rule.net[2].eval()
    rule.credit(example(8), torch.zeros(8, dtype=torch.int64))
    gradients = {p: (p.grad, p.grad.clone()) for p in rule.net.parameters()}
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    modes, random = {m: m.training for m in rule.modules()}, torch.get_rng_state()
    first = receptive_fields(rule, 1, steps=3)
    assert all(p.grad is held and torch.equal(held, copy) for p, (held, copy) in gradients.items())
    assert all(torch.equal(state[key], value) for key, value in rule.state_dict().items())
    assert modes == {m: m.training for m in rule.modules()} and torch.equal(torch.get_rng_state(), random)
    torch.manual_seed(9)
    with torch.no_grad():  # a caller who measures needs no gradients of his own
        assert torch.equal(receptive_fields(rule, 1, steps=3), first)
    assert not torch.equal(receptive_fields(rule, 1, steps=3, seed=1), first)


class Cut(nn.Module):
    def forward(self, x):
        return x.detach()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layer": 3}, r"no layer 3; give an index below 3, or one of the names '1', '3', '5'"),
     ({"layer": "2"}, "no layer '2'"), ({"count": 0}, "count 0"), ({"layer": 1, "steps": 0}, "steps 0"),
     ({"layer": 1, "radius": -math.inf}, "radius -inf")],
)  # fmt: skip
def test_what_has_no_field_is_refused(options, message):
    """A name that is not there, in place of the nearest."""
    with pytest.raises(Refused, match=message):
        receptive_fields(deep(), **options)


def test_a_layer_that_no_gradient_leaves_is_refused():
    """Noise would be shown as what the unit likes."""
    rule = make(nn.Flatten(), nn.Linear(20, 9), Cut(), nn.Linear(9, 3))
    with pytest.raises(Refused, match="no gradient comes from layer '3'"):
        receptive_fields(rule, 1)
    tokens = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(Refused, match="integers came"):
        receptive_fields(RULES["bp"](tokens, example=torch.zeros(1, 3, dtype=torch.int64)), 1)
