"""Whitening against what it is defined by: the identity as covariance, and for zca the least change."""

import pytest
import torch

from altprop import Refused
from altprop.measure.whitening import fit_whitening

SHAPE = (2, 3, 2)


def data(n=200, seed=0, dtype=torch.float64):
    """Correlated images with a mean and features of different size."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(12, 12, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    x = torch.randn(n, 12, generator=generator, dtype=torch.float64) @ mixing + 3
    return x.view(n, *SHAPE).to(dtype)


def covariance(x):
    flat = x.flatten(1).double()
    return torch.cov(flat.T, correction=0)


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_covariance_becomes_the_identity(kind):
    """The definition: not centred, not divided by the root, or U and its transpose confused."""
    x = data()
    white = fit_whitening(x, kind, epsilon=0).apply(x)
    torch.testing.assert_close(covariance(white), torch.eye(12, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(white.mean(0), torch.zeros_like(white[0]), atol=1e-10, rtol=0)


def test_epsilon_is_added_to_the_variance():
    """Every direction keeps the variance S / (S + epsilon), the largest first; added to the root it would not."""
    x = data()
    S = torch.linalg.eigvalsh(covariance(x)).flip(0)
    kept = covariance(fit_whitening(x, epsilon=2.0).apply(x))
    torch.testing.assert_close(kept, torch.diag(S / (S + 2.0)), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("kind", "epsilon"), [("pca", 1e-5), ("zca", 0.1)])
def test_defaults_are_those_of_the_kind(kind, epsilon):
    """The published runs use 1e-5 and 0.1; exchanged, zca shows noise and pca stays correlated."""
    x = data()
    assert torch.equal(fit_whitening(x, kind).matrix, fit_whitening(x, kind, epsilon=epsilon).matrix)


def test_zca_is_symmetric_and_the_closest_to_the_input():
    """Any rotation of a whitening is one as well; zca is that which leaves images what they were."""
    x = data()
    zca = fit_whitening(x, "zca", epsilon=0)
    torch.testing.assert_close(zca.matrix, zca.matrix.T, atol=1e-12, rtol=0)
    centred = (x - x.mean(0)).flatten(1)
    distance = (zca.apply(x).flatten(1) - centred).square().sum()
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        Q = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))[0]
        assert (zca.apply(x).flatten(1) @ Q - centred).square().sum() > distance
    assert (fit_whitening(x, "pca", epsilon=0).apply(x) - centred).square().sum() > distance


def test_only_the_training_part_is_looked_at():
    """Statistics of the test part leak into it when ``apply`` centres what it gets; one sample alone would become 0."""
    whitening, test = fit_whitening(data()), data(n=30, seed=5) + 1
    together = whitening.apply(test)
    alone = torch.cat([whitening.apply(sample.unsqueeze(0)) for sample in test])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
    assert together.mean().abs() > 0.01


def test_directions_have_a_sign_of_their_own():
    """A solver may return -u for u: another machine, or another order of samples, would give other inputs."""
    x = data()
    matrix = fit_whitening(x).matrix
    assert (matrix.gather(0, matrix.abs().argmax(0, keepdim=True)) > 0).all()
    for other in (x.flip(0), -x, x + 1):
        torch.testing.assert_close(fit_whitening(other).matrix, matrix, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype(dtype):
    """zca gives images back, pca coordinates; a net in float32 cannot take float64."""
    x = data(dtype=dtype)
    pca, zca = (fit_whitening(x, kind).apply(x) for kind in ("pca", "zca"))
    assert pca.shape == (200, 12) and zca.shape == x.shape and pca.dtype == zca.dtype == dtype


def test_directions_of_small_variance_survive_float32():
    """Variances 10^10 apart: computed in float32, the small one is rounding."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 2, generator=generator) * torch.tensor([1.0, 1e-5])
    kept = covariance(fit_whitening(x, epsilon=0).apply(x))
    torch.testing.assert_close(kept, torch.eye(2, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_constant_pixel_does_no_harm():
    """The border of MNIST: variance 0 becomes slightly negative, and its root nan."""
    x = data()
    x[:, 0, 0, 0] = 0.1
    for kind in ("pca", "zca"):
        white = fit_whitening(x, kind).apply(x)
        assert white.isfinite().all() and white.abs().max() < 100
    with pytest.raises(Refused, match="1 of 12 directions"):
        fit_whitening(x, epsilon=0)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [(data(), {"kind": "svd"}, "'svd'; there are pca, zca"), (data(n=1), {}, "1 samples"),
     (data().to(torch.uint8), {}, "uint8"), (data(), {"epsilon": -1.0}, "epsilon -1.0"), (torch.zeros(9), {}, "(9,)")],
)  # fmt: skip
def test_what_cannot_be_whitened_is_refused(x, options, message):
    """One line that says what came, in place of an error from linear algebra."""
    with pytest.raises(Refused, match=message):
        fit_whitening(x, **options)


def test_fewer_samples_than_features_do_no_harm():
    """Variances of exactly 0 come out of the solver on either side of it, and a root makes nan of the lower."""
    x = data(n=6)
    for kind in ("pca", "zca"):
        assert fit_whitening(x, kind, epsilon=1e-18).matrix.isfinite().all()


def test_samples_of_another_shape_are_refused():
    """Twelve features in another order fit the matrix and mean nothing."""
    with pytest.raises(Refused, match=r"\(12,\) came"):
        fit_whitening(data()).apply(data().flatten(1))
