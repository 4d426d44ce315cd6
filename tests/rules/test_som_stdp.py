"""The masked self-organising map against a plain loop over samples and units, and the options of the classic one."""

import copy
import math

import pytest
import torch
from torch import nn

from altprop import Refused
from altprop.data import from_torch
from altprop.measure import by_depth, winners
from altprop.rules.hebbian.som import SOM
from altprop.run.experiment import run_recipe
from altprop.run.metrics import evaluate
from altprop.run.values import make_recipe


def conv(**options):
    """Twelve units on patches, in float64."""
    torch.manual_seed(0)
    shape = {"kernel_size": 3, "stride": 2, **options}
    return nn.Sequential(nn.Conv2d(2, 12, **shape), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).double()


def dense(units=12, act=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, units), act(), nn.Linear(units, 3)).double()


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def patches(layer, x):
    """The samples of a layer, one a row: inputs of a Linear, patches of a convolution."""
    if isinstance(layer, nn.Linear):
        return x
    if layer.padding_mode != "zeros":
        x = nn.functional.pad(x, layer._reversed_padding_repeated_twice, layer.padding_mode)
        return nn.functional.unfold(x, 3, stride=2).transpose(1, 2).flatten(0, 1)
    return nn.functional.unfold(x, 3, padding=layer.padding, stride=2).transpose(1, 2).flatten(0, 1)


def masked_som(X, W, v, place, maps, sigma, mask_lr):
    """Sample by sample, unit by unit: (Delta W, new masks); ``place`` gives a unit's row and column on its map."""
    K, M = len(W), len(X)
    size, dW, dv = K // maps, torch.zeros_like(W), torch.zeros_like(W)
    for x in X:
        u = [float((W[i] * (x * v[i])).sum()) for i in range(K)]
        c = max(range(K), key=lambda i: u[i])
        residual = x.clone()
        for k in range(c // size * size, (c // size + 1) * size):
            residual -= (x * v[k]) * v[k]
            d = math.dist(place(k % size), place(c % size))
            dW[k] += math.exp(-(d**2) / (2 * sigma**2)) * (x * v[k] - W[k]) / M
        dv[c] += mask_lr * (x * v[c]) * residual / M
    return dW, v + dv


def square(i):
    """Six units in two rows of three."""
    return divmod(i, 3)


MASKED = {
    "linear": (dense, (20, 6)),
    "conv": (lambda: conv(), (6, 2, 7, 7)),
    "padded": (lambda: conv(padding=1), (6, 2, 7, 7)),
    "reflected": (lambda: conv(padding=1, padding_mode="reflect"), (6, 2, 7, 7)),
    "few_patches": (lambda: conv(), (1, 2, 7, 7)),  # fewer than units, which the family takes apart itself
}


@pytest.mark.parametrize("case", MASKED)
def test_masked_som_is_the_plain_loop(case):
    """A neighbour on another map, a mask on the wrong side, a residual of all maps, 1 / M left out."""
    build, shape = MASKED[case]
    net, x = build(), draw(*shape)
    net(x)
    rule = SOM(net, example=x, masks=True, maps=2, grid="grid", sigma=0.8, mask_lr=0.3)
    W, v = net[0].weight.detach().flatten(1), rule.masks[0].clone()
    want, masks = masked_som(patches(net[0], x), W, v.flatten(1), square, 2, 0.8, 0.3)
    rule.credit(x)
    torch.testing.assert_close(net[0].weight.grad.flatten(1), -want, atol=1e-12, rtol=0)
    torch.testing.assert_close(rule.masks[0].flatten(1), masks, atol=1e-12, rtol=0)
    assert not torch.allclose(rule.masks[0], v)


@pytest.mark.parametrize("frozen", [False, True])
def test_masked_layers_hand_on_what_they_see(frozen):
    """Readout of the bare response: in credit, in inference, or only where the layer below is frozen."""
    net, x = conv(padding=1, padding_mode="reflect"), draw(5, 2, 7, 7)
    net(x)
    rule = SOM(net, example=x, masks=True)
    seen = copy.deepcopy(net)
    with torch.no_grad():
        seen[0].weight *= rule.masks[0]
    torch.testing.assert_close(rule(x), seen(x))
    y = torch.tensor([0, 1, 2, 0, 1])
    net[0].weight.requires_grad_(not frozen)
    loss = rule.credit(x, y)
    want = nn.functional.cross_entropy(seen(x), y)
    want.backward()
    torch.testing.assert_close(loss, want.detach())
    torch.testing.assert_close(net[3].weight.grad, seen[3].weight.grad)
    assert (net[0].weight.grad is None) == frozen


def test_measures_look_through_the_masks():
    """Winners and readouts of the bare weights would be those of another net."""
    net, x = conv(padding=1, padding_mode="reflect"), draw(60, 2, 7, 7)
    net(x)
    rule, y = SOM(net, example=x, masks=True), torch.arange(60) % 3
    seen = copy.deepcopy(net)
    with torch.no_grad():
        seen[0].weight *= rule.masks[0]
    assert torch.equal(winners(rule, x)["0"].share, winners(seen, x)["0"].share)
    assert not torch.equal(winners(rule, x)["0"].share, winners(net, x)["0"].share)
    parts = (x[:40], y[:40]), (x[40:], y[40:])
    assert by_depth(rule, *parts) == by_depth(seen, *parts) != by_depth(net, *parts)


def test_a_readout_of_augmented_images_looks_through_the_masks():
    """A head that was trained on another net than the one that is asked afterwards."""
    x, y = torch.rand(40, 2, 7, 7, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    told = {"epochs": 8, "optimizer": "adam", "lr": 0.05, "augment": "flip"}
    net = "norm-conv12k3-pool2-3"
    recipe = make_recipe(rule="som", arguments={"masks": True}, net=net, data="custom", epochs=1, readout=told)
    data = from_torch((x, y), (x, y))
    result = run_recipe(recipe, data)
    assert evaluate(result.rule, data.x_test, data.y_test)[1] == pytest.approx(result.test_accuracy)


def test_masks_belong_to_seed_and_training():
    """Masks from the global generator, or that move in eval mode or where mask_lr is 0, or in a grad step."""
    net, x = dense(), draw(20, 6)
    first, again, other = (SOM(net, example=x, masks=True, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.masks[0], again.masks[0]) and not torch.equal(first.masks[0], other.masks[0])
    assert first.masks[0].abs().max() <= 1 and first.masks[0].std() > 0.4
    before = first.masks[0].clone()
    first.eval().credit(x)
    SOM(net, example=x, masks=True, seed=3, mask_lr=0.0).credit(x)
    assert torch.equal(first.masks[0], before) and not any(p is first.masks[0] for p in first.parameters())
    twin = copy.deepcopy(first.double().train())
    twin.credit(x)
    assert torch.equal(first.masks[0], before) and not torch.equal(twin.masks[0], before)
    moved = twin(x)
    twin.masks[0].zero_()
    assert not torch.allclose(twin(x), moved)  # the copy's layers look through the copy's masks


def test_without_masks_maps_only_part_the_neighbours():
    """Classic maps side by side: the nearest unit of all decides which map learns."""
    net, x = dense(), draw(30, 6)
    SOM(net, example=x, maps=3, grid="chain", sigma=2.0).credit(x)
    W, want = net[0].weight.detach(), torch.zeros_like(net[0].weight)
    for sample in x:
        c = int((W - sample).norm(dim=1).argmin())
        for i in range(c // 4 * 4, c // 4 * 4 + 4):
            want[i] += math.exp(-((i - c) ** 2) / 8) * (sample - W[i]) / 30
    torch.testing.assert_close(net[0].weight.grad, -want)


def test_a_grid_of_any_number_of_units_is_near_square():
    """Seven units stand in rows of three, the last row short."""
    net, x = dense(7), draw(9, 6)
    SOM(net, example=x, grid="grid", sigma=1.3).credit(x)
    W, want = net[0].weight.detach(), torch.zeros_like(net[0].weight)
    for sample in x:
        c = int((W - sample).norm(dim=1).argmin())
        for i in range(7):
            want[i] += math.exp(-(math.dist(square(i), square(c)) ** 2) / (2 * 1.3**2)) * (sample - W[i]) / 9
    torch.testing.assert_close(net[0].weight.grad, -want)


@pytest.mark.parametrize("options", [{"grid": "torus"}, {"sigma": 0.0}, {"maps": 5}, {"maps": 0}, {"mask_lr": -1.0}])
def test_som_refuses_what_does_not_fit(options):
    """A silent default grid, a division by sigma = 0, units that belong to no map."""
    with pytest.raises(Refused, match=next(iter(options))):
        SOM(dense(), example=draw(1, 6), **options)


def test_som_refuses_groups():
    """Distances of units that see different channels would be compared with each other."""
    net = conv(groups=2)
    net(draw(1, 2, 7, 7))
    with pytest.raises(Refused, match="groups=1"):
        SOM(net, example=draw(1, 2, 7, 7))
