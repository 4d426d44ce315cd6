"""Norms against sums of squares; fits against samples of known distributions and against the densities by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from altprop import RULES, Refused
from altprop.measure.weights import norms, unit_norms, weight_distribution


def normal(count=2000, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def student(degrees, count=2000, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_t(degrees, size=count))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).double()


def test_unit_norms_are_means_over_units():
    """The norm of the whole layer, or of the weights that leave a unit."""
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3))
    net[0].weight.data = torch.tensor([[3.0, 4.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).view(2, 1, 2, 2)
    net[3].weight.data = torch.tensor([[0.0, 2.0], [0.0, 0.0], [4.0, 3.0]])
    assert unit_norms(net) == pytest.approx({"0": 3.0, "3": 7 / 3})


def test_norms_are_roots_of_sums_of_squares():
    """A spectral norm, or one that counts biases and norms' gains, grows differently."""
    model = net()
    by_hand = {
        name: math.sqrt(sum(float(w) ** 2 for w in model[int(name)].weight.detach().flatten())) for name in ("0", "4")
    }
    rule = RULES["bp"](model, example=torch.randn(1, 2, 6, 6))
    assert norms(model) == pytest.approx(by_hand) and norms(rule) == pytest.approx(by_hand)
    assert list(norms(rule)) == [layer.name for layer in rule.layers]


def test_norm_of_a_synapse_without_a_weight_is_that_of_its_parameters():
    """A block of modules is a synapse as well, and must not be left out of the table."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([[4.0]]))

        def forward(self, x):
            return x * self.a + self.b

    assert norms(nn.Sequential(Block())) == {"0": 5.0}


def test_a_normal_sample_is_called_normal():
    """The t distribution contains the Normal: without its price of a parameter it would always win."""
    found = weight_distribution(0.3 * normal() + 2)
    assert found.normal.aic < found.student.aic
    assert found.normal.parameters == pytest.approx((2, 0.3), abs=0.02)


def test_a_student_sample_is_called_student():
    """Heavy tails are the finding of the paper: a fit that misses them reports the opposite."""
    found = weight_distribution(0.3 * student(3.0) + 2)
    assert found.student.aic < found.normal.aic - 10
    degrees, location, scale = found.student.parameters
    assert degrees == pytest.approx(3, abs=0.5) and (location, scale) == pytest.approx((2, 0.3), abs=0.03)


def test_likelihood_and_aic_equal_the_formulas():
    """A mean in place of a sum, or the wrong number of parameters, changes which distribution wins."""
    w = student(4.0, count=500)
    found = weight_distribution(w.view(20, 25))
    mean, spread = found.normal.parameters
    by_hand = sum(-0.5 * math.log(2 * math.pi * spread**2) - (float(v) - mean) ** 2 / (2 * spread**2) for v in w)
    assert found.samples == 500
    assert found.normal.log_likelihood == pytest.approx(by_hand)
    assert found.normal.aic == pytest.approx(2 * 2 - 2 * by_hand)
    n, location, s = found.student.parameters
    constant = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - 0.5 * math.log(n * math.pi) - math.log(s)
    by_hand = sum(constant - (n + 1) / 2 * math.log1p(((float(v) - location) / s) ** 2 / n) for v in w)
    assert found.student.log_likelihood == pytest.approx(by_hand)
    assert found.student.aic == pytest.approx(2 * 3 - 2 * by_hand)


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_the_fit_does_not_depend_on_the_scale_of_weights(scale):
    """A search that stops at absolute differences finds anything for weights of 1e-6."""
    w = student(3.0)
    one, other = weight_distribution(w), weight_distribution(w * scale)
    degrees, location, spread = one.student.parameters
    assert other.student.parameters == pytest.approx((degrees, location * scale, spread * scale), rel=1e-4)
    assert other.student.aic - other.normal.aic == pytest.approx(one.student.aic - one.normal.aic, rel=1e-6)


def test_a_large_weight_is_thinned_without_a_preference_for_extremes():
    """Two outliers of 100 000 that are always picked weigh as forty: the Normal would lose against the t."""
    values = norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    values[0], values[-1] = -50, 50
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(values))
    found = weight_distribution(shuffled)
    assert found.samples == 5000
    assert found.normal.aic < found.student.aic
    assert found.normal.parameters == pytest.approx((0, 1), abs=0.01)


def test_quantiles_lie_on_the_diagonal_of_the_right_distribution():
    """Theoretical and observed swapped or unsorted, or quantiles of the standard distribution."""
    right = weight_distribution(0.3 * normal(5000) + 2).normal.quantiles
    wrong = weight_distribution(student(2.0, 5000)).normal.quantiles
    assert right.shape == (200, 2) and (np.diff(right, axis=0) >= 0).all()
    assert np.abs(right[10:-10, 0] - right[10:-10, 1]).max() < 0.03
    assert np.abs(wrong[:, 0] - wrong[:, 1]).max() > 1
    assert wrong[-1, 1] > wrong[-1, 0], "of heavy tails the observed extreme is the larger one"


def test_quantiles_of_a_small_weight_are_its_entries():
    """With 100 entries each is a point of its own, at probability (i + 1/2) / 100."""
    w = normal(100)
    found = weight_distribution(w)
    for fit in (found.normal, found.student):
        assert fit.quantiles[:, 1] == pytest.approx(np.sort(w.numpy()))
    mean, spread = found.normal.parameters
    assert found.normal.quantiles[:, 0] == pytest.approx(norm.ppf((np.arange(100) + 0.5) / 100) * spread + mean)


@pytest.mark.parametrize(
    ("weight", "message"),
    [(torch.zeros(4, 5), "all weights are 0"), (torch.full((9,), 0.1), "all weights are 0.1"),
     (torch.randn(7), "7 weights"), (torch.tensor([1.0, math.nan] * 8), "nan")],
)  # fmt: skip
def test_what_has_no_distribution_is_refused(weight, message):
    """Weights that start at zero have none: scipy would fit a scale of 0 and a likelihood of nan."""
    with pytest.raises(Refused, match=message):
        weight_distribution(weight)
