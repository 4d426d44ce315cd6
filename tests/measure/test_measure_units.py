"""Kinds of units against Gabor functions and colour blobs that were drawn, with known shares of everything else."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize._numdiff import approx_derivative

from altprop import Refused
from altprop.measure import shares, unit_kinds, units


def gabor(side=5, theta=0.0, f=0.25, phase=0.0, spread=0.3, at=(0.0, 0.0), width=None):
    """(side, width or side) of norm 1, by a loop over pixels."""
    image = torch.zeros(side, width or side, dtype=torch.float64)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            y, x = row - (image.shape[0] - 1) / 2 - at[0], column - (image.shape[1] - 1) / 2 - at[1]
            along = x * math.cos(theta) + y * math.sin(theta)
            envelope = math.exp(-(x * x + y * y) / (2 * (spread * side) ** 2))
            image[row, column] = envelope * math.cos(2 * math.pi * f * along + phase)
    image = image - image.mean()
    return image / image.norm()


def checkers(image):
    """Of norm 1, orthogonal to the image and to a constant; too fine for any Gabor function of half a cycle a pixel."""
    rows, columns = (torch.arange(side) for side in image.shape)
    board = (-1.0) ** (rows[:, None] + columns).double()
    board = board - board.mean()
    board = board - (board * image).sum() * image
    return board / board.norm()


def rgb(grey, colour=(0.0, 0.0, 0.0), blob=None):
    """(3, h, w): the grey image in each channel, and a blob of that colour on top."""
    blob = torch.zeros_like(grey) if blob is None else blob
    return grey.expand(3, -1, -1) + torch.tensor(colour, dtype=grey.dtype)[:, None, None] * blob


@pytest.mark.parametrize("side", [5, 7, 11])
@pytest.mark.parametrize("channels", [1, 3])
def test_gabor_functions_are_gabor_like(side, channels):
    """A start that misses an orientation, a phase that cannot turn, x taken for y."""
    drawn = [
        gabor(side, theta, f, phase, at=(0.1 * side, -0.05 * side))
        for theta in (0.0, 0.6, math.pi / 2, 2.3)
        for f, phase in ((0.12, math.pi / 2), (0.2, 0.7), (0.33, 0.0))
    ]
    weights = torch.stack(drawn)[:, None].expand(-1, channels, -1, -1)
    assert unit_kinds(weights) == ["gabor"] * len(drawn)


def test_images_need_not_be_square():
    """Height taken for width: the centre, near an edge of the longer side, would lie out of bounds."""
    for theta, at in ((0.0, (-1.8, 0.0)), (1.2, (1.8, -6.0)), (0.0, (0.0, 5.0))):
        image = gabor(5, theta, 0.2, 1.0, 0.2, width=15, at=at)
        assert unit_kinds(torch.stack([image[None]])) == unit_kinds(torch.stack([image.T[None]])) == ["gabor"]


def test_a_grey_blob_is_a_gabor_function():
    """Of less than a cycle; without its offset C a third of the variance would go unexplained."""
    for side in (5, 11):
        assert unit_kinds(gabor(side, f=0.0)[None, None]) == ["gabor"]


@pytest.mark.parametrize("theta", [0.5, 1.0, 2.25])
def test_the_second_peak_of_the_spectrum_is_tried(theta):
    """A grating all over the kernel has the highest peak of all, though most of the variance is a small Gabor's."""
    grating = gabor(7, theta + math.pi / 2, 0.45, spread=1e6)
    assert unit_kinds((gabor(7, theta, 0.3, 1.3, 0.1) + 0.45 * grating)[None, None]) == ["gabor"]


def test_colour_is_colour():
    """A blob, two opponent bars, and one colour all over, which has no pattern at all."""
    blob, flat = gabor(7, f=0.0), torch.ones(7, 7, dtype=torch.float64)
    drawn = [
        rgb(0 * blob, (1.0, 0.0, -1.0), blob),
        rgb(0 * blob, (0.0, 0.0, 1.0), flat),
        rgb(0 * blob, (1.0, -1.0, 0.0), gabor(7, 0.4)),
    ]
    assert unit_kinds(torch.stack(drawn)) == ["colour"] * 3


@pytest.mark.parametrize(("chromatic", "kind"), [(0.45, "gabor"), (0.55, "colour")])
def test_half_of_the_energy_decides_between_grey_and_colour(chromatic, kind):
    """Another threshold, or grey counted once instead of in all three channels."""
    grey, blob = gabor(7, 0.4), gabor(7, f=0.0)
    colour = [value * math.sqrt(chromatic) for value in (1 / math.sqrt(2), -1 / math.sqrt(2), 0.0)]
    unit = rgb(grey * math.sqrt((1 - chromatic) / 3), colour, blob)
    assert float(unit.square().sum()) == pytest.approx(1)
    assert unit_kinds(unit[None]) == [kind]


@pytest.mark.parametrize(("explained", "kind"), [(0.78, "gabor"), (0.70, "other")])
@pytest.mark.parametrize("side", [7, 11])
def test_three_quarters_of_the_variance_decide(side, explained, kind):
    """Another threshold, or deviation in place of variance."""
    image = gabor(side, 0.5, 0.2, 1.0)
    mixed = math.sqrt(explained) * image + math.sqrt(1 - explained) * checkers(image)
    assert unit_kinds(mixed[None, None]) == [kind]


def test_what_has_no_pattern_is_other():
    """Noise; and kernels that weigh all pixels alike, whose energy is 0 or what rounding left of it."""
    noise = torch.randn(12, 3, 11, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grey = noise.mean(1, keepdim=True)
    alike = torch.tensor([0.0, 0.1, -3.3], dtype=torch.float64).view(3, 1, 1, 1).expand(3, 1, 5, 5)
    assert unit_kinds(grey) == ["other"] * 12 and unit_kinds(alike) == ["other"] * 3
    assert "gabor" not in unit_kinds(noise)  # two thirds of its energy are chromatic, in most


def test_size_and_brightness_do_not_matter():
    """A kind is a matter of pattern; the weights themselves stay as they are."""
    image = gabor(5, 0.5, 0.2, 1.0)
    weights = torch.stack([rgb(image), rgb(0 * image, (1.0, -0.5, 0.0), gabor(5, f=0.0)), rgb(checkers(image))])
    weights = weights.float().requires_grad_()
    before, want = weights.detach().clone(), ["gabor", "colour", "other"]
    for scale, shift in ((1.0, 0.0), (1e-4, 0.0), (1e4, 0.0), (1.0, 3.0)):
        assert unit_kinds(weights * scale + shift) == want, (scale, shift)
    assert torch.equal(weights, before) and weights.grad is None


def test_slopes_are_those_of_the_function():
    """With a wrong slope the solver stops early, and Gabor functions pass for something else now and then."""
    y, x = (axis.ravel() - 2.0 for axis in np.mgrid[:5, :5])
    low, span = np.array([-2.5, -2.5, 0.0, 0.5, 0.5]), np.array([5.0, 5.0, 0.5, 4.5, 4.5])
    p = np.array([0.3, -0.4, 0.2, -0.7, -0.2, 0.9, 0.8, -0.6, 0.1])

    def value(p):
        return units._waves(p, x, y, low, span) @ p[6:]

    want = approx_derivative(value, p, method="3-point")
    assert np.allclose(units._slopes(p, x, y, low, span), want, atol=1e-7)


@pytest.mark.parametrize("shape", [(4, 2, 5, 5), (4, 3, 4, 5), (4, 3, 5, 4), (3, 5, 5), (4, 25)])
def test_what_is_no_picture_is_refused(shape):
    """Nine parameters fit any kernel of 3 x 3; two channels have no colour."""
    with pytest.raises(Refused, match="at least 5 x 5"):
        unit_kinds(torch.ones(shape))


def test_broken_weights_are_refused():
    """An error from within the solver names no cause."""
    with pytest.raises(Refused, match="nan or infinity"):
        unit_kinds(torch.full((1, 1, 5, 5), math.nan))


def test_shares_are_counted():
    """Every kind stands there, one that does not occur too."""
    assert shares(["other", "gabor", "gabor", "gabor"]) == {"gabor": 0.75, "colour": 0.0, "other": 0.25}
    with pytest.raises(Refused, match="no units"):
        shares([])
