"""The norm of one deviation against its definition, written out in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from altprop.nets import Centre1d, Centre2d, build


def defined(x):
    """Entry minus the mean of its feature, over the root of the mean of the features' variances."""
    features = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    mean, variance = features.mean(1), np.mean([row.var() for row in features])
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    return (x - mean.reshape(shape)) / np.sqrt(variance + 1e-5), mean, variance


@pytest.mark.parametrize(("norm", "shape"), [(Centre1d, (6, 4)), (Centre2d, (3, 4, 2, 5))])
def test_one_deviation_for_all_features(norm, shape):
    """A deviation each, a mean of all, statistics that a batch norm would not keep."""
    torch.manual_seed(0)
    scales = torch.tensor([0.01, 1.0, 5.0, 0.0]).view(1, -1, *(1 for _ in shape[2:]))
    x = (torch.randn(shape) * scales + 3).double()
    module = norm(4).double()
    want, mean, variance = defined(x.numpy())
    np.testing.assert_allclose(module(x).numpy(), want, rtol=1e-10, atol=1e-12)
    values = x.numel() // 4
    np.testing.assert_allclose(module.running_mean.numpy(), 0.1 * mean, rtol=1e-10)
    np.testing.assert_allclose(module.running_var.item(), 0.9 + 0.1 * variance * values / (values - 1), rtol=1e-10)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    still = module.eval()(x[:1])
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    shift = before["running_mean"].view(1, -1, *(1 for _ in shape[2:]))
    torch.testing.assert_close(still, (x[:1] - shift) / (before["running_var"] + 1e-5).sqrt())
    module.reset_running_stats()
    assert module.running_var.shape == () and not module.running_mean.any()


def test_pixels_that_hardly_vary_stay_small():
    """What a batch norm makes of them is noise as large as the rest."""
    x = torch.randn(200, 8) * torch.tensor([1.0] * 7 + [0.001])
    small = Centre1d(8)(x)[:, 7].abs().max()
    assert small < 0.01 < 0.5 < nn.BatchNorm1d(8, affine=False)(x)[:, 7].abs().max()


def test_what_it_cannot_take():
    """One value has no deviation; images are not flat samples."""
    with pytest.raises(ValueError, match="one value a feature came to Centre1d"):
        Centre1d(3)(torch.rand(1, 3))
    with pytest.raises(ValueError, match="expected 4D"):
        Centre2d(3)(torch.rand(2, 3))


def test_centre_in_the_spec():
    """Each pixel by itself before a linear layer, each channel before a convolution; the other parts stay."""
    net = build("64-centre-5-centre-10", (1, 8, 8), 10)
    assert [type(module) for module in net] == [
        nn.Flatten, Centre1d, nn.Linear, nn.ReLU, Centre1d, nn.Linear,
    ]  # fmt: skip
    assert (net[1].num_features, net[4].num_features) == (64, 5) and not list(net[1].parameters())
    net = build("centre-conv4k3-norm-conv2k3-10", (3, 8, 8), 10)
    assert isinstance(net[0], Centre2d) and net[0].num_features == 3 and type(net[3]) is nn.BatchNorm2d


@pytest.mark.parametrize(("spec", "shape"), [("sample-10", (7,)), ("sample-conv2k3-10", (3, 8, 8)),
                                             ("sample-conv2k3-10", (2, 9))])  # fmt: skip
def test_sample_standardises_each_sample_by_itself(spec, shape):
    """All its numbers at once, whatever else is in the batch; nothing in it learns or moves."""
    norm = build(spec, shape, 10)[0]
    x = 3 * torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)) + 5
    flat = norm(x).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(flat.std(1, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm(x[:1]), norm(x)[:1])
    assert not list(norm.parameters()) and not list(norm.buffers())
