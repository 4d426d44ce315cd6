"""Selection, recombination and mutation, each against a slow plain loop that draws the same numbers."""

import math

import pytest
import torch

from altprop.searches import MUTATIONS, RECOMBINATIONS, SELECTIONS
from altprop.searches.draws import generator_of
from altprop.searches.mutation import adaptive_rate, self_adapted
from altprop.searches.recombination import midpoint
from altprop.searches.selection import champions, elite

HEIGHTS = torch.tensor([0.5, 3.0, -torch.inf, 1.0, 2.5, 0.0], dtype=torch.float64)
A, B = (torch.arange(start, start + 20.0, dtype=torch.float64).view(4, 5) for start in (0, 100))
SEEDS = pytest.mark.parametrize("seed", range(5))


def rand(*shape, generator):
    return torch.rand(shape, generator=generator, dtype=torch.float64).tolist()


def randint(high, *shape, generator):
    return torch.randint(high, shape, generator=generator).tolist()


@SEEDS
@pytest.mark.parametrize("lift", [0.0, -1.0, 1.0])
def test_roulette_spins_a_wheel(seed, lift):
    """Sectors as long as the fitness, lifted by the lowest if that is below 0; what failed has none."""
    lengths = [max(h + lift, -math.inf) for h in HEIGHTS.tolist()]
    lowest = min(min(h for h in lengths if h > -math.inf), 0)
    lengths = [h - lowest if h > -math.inf else 0.0 for h in lengths]
    spun = []
    for u in rand(50, generator=generator_of(seed)):
        place, index = u * sum(lengths), 0
        while place >= lengths[index]:
            place -= lengths[index]
            index += 1
        spun.append(index)
    assert SELECTIONS["roulette"](HEIGHTS + lift, 50, generator_of(seed)).tolist() == spun
    assert 2 not in spun and len(set(spun)) > 2


def test_roulette_is_in_proportion():
    """5,000 spins; the widest deviation of a share is about .02."""
    drawn = SELECTIONS["roulette"](HEIGHTS, 5000, generator_of(0))
    shares = torch.bincount(drawn, minlength=6) / 5000
    torch.testing.assert_close(shares, torch.tensor([0.5, 3, 0, 1, 2.5, 0]) / 7, atol=0.03, rtol=0)


@pytest.mark.parametrize("height", [-torch.inf, 0.0, -3.0, 2.0])
def test_roulette_of_equals_is_fair(height):
    """Where all failed, or none is better than another, there is still a next generation."""
    drawn = SELECTIONS["roulette"](torch.full((4,), height, dtype=torch.float64), 4000, generator_of(1))
    assert (torch.bincount(drawn, minlength=4) - 1000).abs().max() < 120


@pytest.mark.parametrize("scale", [1e308, 1e-308])
def test_roulette_of_numbers_at_the_end_of_float64(scale):
    """Sums of large fitnesses are infinite, of which all sectors would be NaN."""
    drawn = SELECTIONS["roulette"](torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64) * scale, 400, generator_of(1))
    assert sorted(set(drawn.tolist())) == [0, 1]


@SEEDS
def test_tournament_takes_the_fittest_of_k(seed):
    """k of them, drawn with replacement."""
    rounds = randint(6, 50, 3, generator=generator_of(seed))
    expected = [max(drawn, key=lambda i: float(HEIGHTS[i])) for drawn in rounds]
    assert SELECTIONS["tournament"](HEIGHTS, 50, generator_of(seed)).tolist() == expected


@SEEDS
def test_truncation_draws_from_the_best(seed):
    """The best ceil(.4 * 6) = 3 alike, and at least one of however few."""
    best = sorted(range(6), key=lambda i: -float(HEIGHTS[i]))[:3]
    expected = [best[i] for i in randint(3, 50, generator=generator_of(seed))]
    assert SELECTIONS["truncation"](HEIGHTS, 50, generator_of(seed), share=0.4).tolist() == expected
    assert SELECTIONS["truncation"](HEIGHTS, 5, generator_of(seed), share=0.01).tolist() == [1] * 5


def test_elite_is_in_order_and_the_first_of_equals():
    """Equal ones are not shuffled: a resumed run takes the same."""
    assert elite(HEIGHTS, 3).tolist() == [1, 4, 3]
    assert elite(torch.zeros(40, dtype=torch.float64), 30).tolist() == list(range(30))


@SEEDS
def test_champions_win_most_contests(seed):
    """q = 4 opponents each; of equal wins the fitter."""
    heights = torch.randn(20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    met = randint(20, 20, 4, generator=generator_of(seed))
    wins = [sum(float(heights[i]) >= float(heights[j]) for j in met[i]) for i in range(20)]
    expected = sorted(range(20), key=lambda i: (-wins[i], -float(heights[i])))[:7]
    assert champions(heights, 7, 4, generator_of(seed)).tolist() == expected


def test_champions_have_the_best_among_them():
    """However many win all of their contests: with one opponent each these are many."""
    for seed in range(40):
        heights = torch.rand(10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert int(heights.argmax()) in champions(heights, 2, 1, generator_of(seed))


@SEEDS
def test_one_point_cuts_once(seed):
    """Each pair at a place of its own, so that both give at least one entry."""
    cuts = [1 + row[0] for row in randint(4, 4, 1, generator=generator_of(seed))]
    expected = [[(A if j < cuts[i] else B)[i, j].item() for j in range(5)] for i in range(4)]
    assert RECOMBINATIONS["one_point"](A, B, generator_of(seed)).tolist() == expected


def test_one_point_cuts_everywhere_inside():
    """All of 1 ... n - 1 come, 0 and n do not; a single entry is of the first parent."""
    child = RECOMBINATIONS["one_point"](torch.zeros(300, 5), torch.ones(300, 5), generator_of(0))
    assert set(child.sum(1).tolist()) == {1, 2, 3, 4}
    assert RECOMBINATIONS["one_point"](torch.zeros(9, 1), torch.ones(9, 1), generator_of(0)).sum() == 0


@SEEDS
def test_uniform_tosses_a_coin_an_entry(seed):
    """Heads: of a."""
    coins = rand(4, 5, generator=generator_of(seed))
    expected = [[(A if coins[i][j] < 0.5 else B)[i, j].item() for j in range(5)] for i in range(4)]
    assert RECOMBINATIONS["uniform"](A, B, generator_of(seed)).tolist() == expected


@SEEDS
def test_arithmetic_is_on_the_line_between(seed):
    """One place for each pair, not for each entry."""
    alpha = rand(4, 1, generator=generator_of(seed))
    child = RECOMBINATIONS["arithmetic"](A, B, generator_of(seed))
    for i in range(4):
        for j in range(5):
            assert float(child[i, j]) == pytest.approx(
                alpha[i][0] * float(A[i, j]) + (1 - alpha[i][0]) * float(B[i, j])
            )
    assert midpoint(A, B, generator_of(seed)).tolist() == [[(j + 50.0) + 5 * i for j in range(5)] for i in range(4)]


@SEEDS
def test_gaussian_moves_some_entries(seed):
    """Normal noise first, then who moves."""
    generator = generator_of(seed)
    noise = torch.randn((4, 5), generator=generator, dtype=torch.float64).tolist()
    moves = rand(4, 5, generator=generator)
    child = MUTATIONS["gaussian"](A, 0.4, 0.1, generator_of(seed))
    for i in range(4):
        for j in range(5):
            assert float(child[i, j]) == float(A[i, j]) + (0.1 * noise[i][j] if moves[i][j] < 0.4 else 0)


@SEEDS
def test_flip_turns_some_bits(seed):
    """A rate for each individual: none of the first, all of the last."""
    bits = torch.arange(20).view(4, 5) % 3 == 0
    rate = torch.tensor([[0.0], [0.3], [0.6], [1.0]])
    coins = rand(4, 5, generator=generator_of(seed))
    expected = [[bool(bits[i, j]) != (coins[i][j] < float(rate[i])) for j in range(5)] for i in range(4)]
    child = MUTATIONS["flip"](bits, rate, 0.1, generator_of(seed))
    assert child.tolist() == expected and torch.equal(child[0], bits[0]) and torch.equal(child[3], ~bits[3])


def test_adaptive_rate_by_hand():
    """Mean of the finite heights 1.4, best 3: f = 2.5 gives rate * .5 / 1.6; the best 0; those below the mean all."""
    rate = adaptive_rate(torch.tensor([2.5, 3.0, 1.0, -torch.inf], dtype=torch.float64), HEIGHTS, 0.2)
    assert rate.shape == (4, 1) and rate.flatten().tolist() == pytest.approx([0.2 * 0.5 / 1.6, 0, 0.2, 0.2])
    for equals in (torch.full((3,), -torch.inf), torch.ones(3)):
        assert adaptive_rate(equals, equals, 0.2).flatten().tolist() == pytest.approx([0.2] * 3)


@SEEDS
def test_log_normal_steps_by_hand(seed):
    """sigma_i exp(N / sqrt(2 n) + N_i / sqrt(2 sqrt n)): one N an individual, one N_i an entry."""
    sigma, generator = A[:3] / 20 + 0.1, generator_of(seed)
    common = torch.randn((3, 1), generator=generator, dtype=torch.float64).tolist()
    own = torch.randn((3, 5), generator=generator, dtype=torch.float64).tolist()
    steps = self_adapted(sigma, generator_of(seed))
    for i in range(3):
        for j in range(5):
            change = common[i][0] / math.sqrt(2 * 5) + own[i][j] / math.sqrt(2 * math.sqrt(5))
            assert float(steps[i, j]) == pytest.approx(float(sigma[i, j]) * math.exp(change), rel=1e-12)


def test_log_normal_steps_have_their_moments():
    """Logarithms of variance tau'^2 + tau^2 and covariance tau'^2, around those of the parents."""
    logs = self_adapted(torch.full((20000, 4), 2.0, dtype=torch.float64), generator_of(0)).log()
    expected = torch.full((4, 4), 1 / 8, dtype=torch.float64) + torch.eye(4, dtype=torch.float64) / 4
    torch.testing.assert_close(logs.T.cov(), expected, atol=0.012, rtol=0)
    assert (logs.mean(0) - math.log(2)).abs().max() < 0.02
