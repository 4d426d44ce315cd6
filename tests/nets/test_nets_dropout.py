"""Bit dropout against what defines it: the binomial count of entries kept, an unbiased sum, a diagonal Jacobian."""

import math

import pytest
import torch

from altprop.nets import BitDropout

N = 200_003  # no multiple of the four entries that share a word


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75, 0.999])
def test_as_many_fall_out_as_the_binomial_law_says(p):
    """Kept entries are x / (1 - p), the others zero; five standard deviations of the count."""
    torch.manual_seed(0)
    x = torch.linspace(1, 2, N, dtype=torch.float64)
    y = BitDropout(p)(x)
    kept = y != 0
    assert abs(kept.sum().item() - N * (1 - p)) < 5 * math.sqrt(N * p * (1 - p))
    torch.testing.assert_close(y[kept], x[kept] / (1 - p), rtol=2**-16 / (1 - p), atol=0)


def test_neighbours_and_batches_fall_out_independently():
    """Were a word's entries one draw, or two calls the same bits, pairs would be kept together too often."""
    torch.manual_seed(1)
    drop = BitDropout(0.5)
    first, second = drop(torch.ones(N)) != 0, drop(torch.ones(N)) != 0
    for distance in (1, 2, 3, 4):
        together = (first[distance:] & first[:-distance]).float().mean().item()
        assert abs(together - 0.25) < 5 * math.sqrt(0.25 * 0.75 / N) * 1.5
    assert abs((first & second).float().mean().item() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / N)


def test_its_jacobian_is_the_mask():
    """By autograd, and from the same state of torch's generator."""
    drop, x = BitDropout(0.3), torch.ones(7, 13, requires_grad=True)
    torch.manual_seed(2)
    y = drop(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and 0 < (y == 0).sum() < y.numel()
    torch.manual_seed(2)
    assert torch.equal(drop(torch.ones(7, 13)), y)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_are_those_of_torch(p):
    assert torch.equal(BitDropout(p)(torch.ones(3, 5)), torch.nn.Dropout(p)(torch.ones(3, 5)))


def test_nothing_falls_out_in_evaluation():
    x = torch.ones(3, 5)
    assert torch.equal(BitDropout(0.5).eval()(x), x)
