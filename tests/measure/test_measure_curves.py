"""Plateau and slowness against a brute-force grid and against the curve that they describe."""

import math

import numpy as np
import pytest

from altprop import Refused
from altprop.measure.curves import Plateau, plateau


def curve(maximum, slowness, epochs):
    """The accuracies after epochs 1, 2, ... of the formula itself."""
    return [maximum * x / (slowness + x) for x in range(1, epochs + 1)]


def noisy(slowness, seed, epochs=40):
    generator = np.random.default_rng(seed)
    return [value + generator.normal(scale=0.02) for value in curve(0.8, slowness, epochs)]


@pytest.mark.parametrize(("true", "seed"), [(0.1, 0), (0.7, 1), (3.0, 2), (9.0, 3)])
def test_slowness_is_the_best_of_a_grid(true, seed):
    """Epochs counted from 0, a maximum that is fitted too, or an optimiser that stops early."""
    accuracies = noisy(true, seed)
    maximum = max(accuracies)
    errors = {
        slowness: sum((y - maximum * (n + 1) / (slowness + n + 1)) ** 2 for n, y in enumerate(accuracies))
        for slowness in np.arange(0.001, 12, 0.001)
    }
    assert plateau(accuracies, 0.1) == pytest.approx((maximum, min(errors, key=errors.get)), abs=6e-4)


@pytest.mark.parametrize("slowness", [0.05, 0.5, 4.0])
def test_slowness_of_the_formula_is_recovered(slowness):
    """Given the time to reach its maximum, the curve must give back the number it was made from."""
    found = plateau(curve(0.9, slowness, 20_000), 0.1, epochs=20_000)
    assert found == pytest.approx(Plateau(0.9, slowness), rel=5e-3)


def test_half_of_the_maximum_is_reached_after_slowness_epochs():
    """The unit: a slowness in steps or in fractions of the run would rank rules by how long they ran."""
    short, long = curve(1.0, 2.0, 60), curve(1.0, 2.0, 600)
    assert plateau(long, 0.1).slowness == plateau(short, 0.1).slowness == pytest.approx(2, rel=0.25)


def test_only_the_first_epochs_count():
    """A jump at epoch 61, when the rate decays, belongs to the schedule; epoch 60 belongs to the fit."""
    rising = curve(0.6, 1.0, 60)
    assert plateau([*rising, 0.99], 0.1) == plateau(rising, 0.1)
    assert plateau([*rising[:-1], 0.99], 0.1).maximum == 0.99
    assert plateau(rising, 0.1, epochs=10) == plateau(rising[:10], 0.1)


def test_percent_and_fractions_have_one_slowness():
    """Tables hold percent, metrics fractions; the fit must not depend on it."""
    fractions = noisy(1.0, 4)
    in_percent = plateau([100 * value for value in fractions], 10.0)
    maximum, slowness = plateau(fractions, 0.1)
    assert in_percent == pytest.approx((100 * maximum, slowness), rel=1e-5)


def test_a_run_that_is_at_its_best_at_once_is_not_slow():
    """Slowness 0 is a pole at x = 0: nan, or a negative number, would end up in a table."""
    assert 0 <= plateau([0.9] * 20, 0.1).slowness < 1e-3
    assert 0 <= plateau([0.1] * 5, 0.1).slowness < 1e-3
    assert 0 <= plateau([0.9, 0.8, 0.7], 0.1).slowness < 0.5


@pytest.mark.parametrize(
    ("accuracies", "chance", "epochs", "message"),
    [([0.1, 0.2], 0.1, 60, "2 epochs"), ([], 0.1, 60, "0 epochs"), ([0.1] * 9, 0.1, 2, "2 epochs"),
     ([0.2, math.nan, 0.3], 0.1, 60, "after epoch 2 is nan"), ([0.2, 0.3, math.inf], 0.1, 60, "after epoch 3 is inf"),
     ([0.2, 0.3, 0.4], math.nan, 60, "of chance is nan"), ([0.0] * 5, 0.0, 60, "above 0")],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(accuracies, chance, epochs, message):
    """A number from two points, or from nan, looks like any other in a table."""
    with pytest.raises(Refused, match=message):
        plateau(accuracies, chance, epochs)
