"""CMA-ES against a plain one in NumPy, written from the equations of Hansen's tutorial in the form of purecma."""

import math
import statistics

import numpy as np
import pytest
import torch

from altprop import CMAES
from altprop.searches.draws import generator_of
from altprop.tasks import Rosenbrock, Sphere


class Plain:
    """One loop an equation; C full, or its diagonal alone."""

    def __init__(self, start, sigma, lam, active=False, tutorial=False, diagonal=False):
        N = self.N = len(start)
        self.mean, self.sigma, self.lam, self.diagonal = np.array(start), sigma, lam, diagonal
        self.mu = lam // 2
        raw = [math.log(lam / 2 + 0.5) - math.log(i + 1) for i in range(lam)]
        total = sum(raw[: self.mu])
        self.weights = [raw[i] / total if i < self.mu else 0.0 for i in range(lam)]
        mueff = self.mueff = 1 / sum(w * w for w in self.weights)
        self.cc, self.cs = (4 + mueff / N) / (N + 4 + 2 * mueff / N), (mueff + 2) / (N + mueff + 5)
        faster = (N + 2) / 3 if diagonal else 1
        self.c1 = min(1, faster * 2 / ((N + 1.3) ** 2 + mueff))
        self.cmu = min(1 - self.c1, faster * 2 * (mueff - 2 + 1 / mueff) / ((N + 2) ** 2 + mueff))
        self.damps = 2 * mueff / lam + 0.3 + self.cs
        if tutorial:
            self.damps = 1 + 2 * max(0, math.sqrt((mueff - 1) / (N + 1)) - 1) + self.cs
        if active:
            below = [w for w in raw if w < 0]
            mueff_below = sum(below) ** 2 / sum(w * w for w in below)
            alpha = min(
                1 + self.c1 / self.cmu, 1 + 2 * mueff_below / (mueff + 2), (1 - self.c1 - self.cmu) / N / self.cmu
            )
            self.weights = [alpha * w / -sum(below) if w < 0 else v for w, v in zip(raw, self.weights, strict=True)]
        self.ps, self.pc, self.C, self.evals, self.split_at = np.zeros(N), np.zeros(N), np.eye(N), 0, 0
        self.split()

    def split(self):
        values, B = np.linalg.eigh(self.C)
        self.root, self.inverse = B @ np.diag(values**0.5) @ B.T, B @ np.diag(values**-0.5) @ B.T

    def ask(self, z):
        lag = 0.5 * self.N * self.lam / (self.c1 + self.cmu) / self.N**2
        if self.evals > self.split_at + lag:
            self.split()
            self.split_at = self.evals
        return np.array([self.mean + self.sigma * self.root @ one for one in z])

    def tell(self, x, costs):
        N, old = self.N, self.mean
        self.evals += len(x)
        x = [x[i] for i in np.argsort(costs, kind="stable")]
        self.mean = sum(w * one for w, one in zip(self.weights[: self.mu], x, strict=False))
        step = (self.mean - old) / self.sigma
        self.ps = (1 - self.cs) * self.ps + math.sqrt(self.cs * (2 - self.cs) * self.mueff) * self.inverse @ step
        squared = sum(self.ps**2)
        hsig = squared / N / (1 - (1 - self.cs) ** (2 * self.evals / self.lam)) < 2 + 4 / (N + 1)
        self.pc = (1 - self.cc) * self.pc + hsig * math.sqrt(self.cc * (2 - self.cc) * self.mueff) * step
        c1a = self.c1 * (1 - (1 - hsig**2) * self.cc * (2 - self.cc))
        C = (1 - c1a - self.cmu * sum(self.weights)) * self.C + self.c1 * np.outer(self.pc, self.pc)
        for w, one in zip(self.weights, x, strict=True):
            y = (one - old) / self.sigma
            if w < 0:
                w *= N / sum((self.inverse @ y) ** 2)
            C = C + self.cmu * w * np.outer(y, y)
        self.C = np.diag(np.diag(C)) if self.diagonal else C
        self.sigma *= math.exp(min(1, self.cs / self.damps * (squared / N - 1) / 2))
        return bool(hsig)


def cost(x):
    """Rosenbrock's valley, whose best direction turns."""
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


CASES = {
    "default": ({}, {}),
    "large": ({"size": 21}, {}),
    "active and large": ({"active": True, "size": 70}, {"active": True}),
    "active": ({"active": True, "size": 13}, {"active": True}),
    "tutorial": ({"damping": "tutorial", "size": 40}, {"tutorial": True}),
    "diagonal": ({"diagonal": True}, {"diagonal": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_twenty_generations_are_those_of_the_plain_one(case):
    """Mean, sigma, C and both paths, on the same draws; a sign or a factor in any equation shows after one."""
    ours, plain = CASES[case]
    start = torch.tensor([3.0, -1.0, 2.0, 0.5, -2.0, 4.0], dtype=torch.float64)
    search = CMAES(start, sigma=2.0, seed=5, **ours)
    oracle = Plain(start.tolist(), 2.0, search.size, **plain)
    drawn, held = generator_of(5), []
    for _ in range(20):
        z = torch.randn((search.size, 6), generator=drawn, dtype=torch.float64).numpy()
        x = search.ask().genomes
        expected = oracle.ask(z)
        np.testing.assert_allclose(x.numpy(), expected, rtol=0, atol=1e-10)
        search.tell([-cost(one) for one in x.tolist()])
        held.append(oracle.tell(expected, [cost(one) for one in expected]))
    C = search.C.diag() if search.C.dim() == 1 else search.C
    pairs = ((search.mean, oracle.mean), (search.sigma, oracle.sigma), (C, oracle.C), (search.p_s, oracle.ps),
             (search.p_c, oracle.pc))  # fmt: skip
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=0, atol=1e-10)
    assert abs(oracle.C - np.eye(6)).max() > 0.1  # it has learned something


@pytest.mark.parametrize(("size", "seed"), [(6, 4), (12, 0), (200, 1)])
def test_a_long_step_stalls_the_path(size, seed):
    """h is 0 while |p_s| grows along a slope, and C then keeps a little more, and 1 once the slope has turned back.

    Both must be the plain one's; of 200 candidates steps agree so well that sigma grows by no more than e."""
    search = CMAES(torch.zeros(4, dtype=torch.float64), sigma=1e-3, seed=seed, size=size)
    oracle, drawn, held = Plain([0.0] * 4, 1e-3, size), generator_of(seed), []
    for generation in range(16):
        x = oracle.ask(torch.randn((size, 4), generator=drawn, dtype=torch.float64).numpy())
        side = 1 if generation < 6 else -1
        search.ask()
        search.tell([side * one.sum() for one in x])
        held.append(oracle.tell(x, [-side * one.sum() for one in x]))
    assert False in held and (True in held or size == 200)
    np.testing.assert_allclose(search.C.numpy(), oracle.C, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(search.p_c.numpy(), oracle.pc, rtol=1e-9, atol=1e-10)
    assert float(search.sigma) == pytest.approx(oracle.sigma, rel=1e-10)


def evaluations(search, task, goal, most):
    while search.evaluations < most and search.reached < goal:
        search.tell(task.fitness(search.ask()))
    return search.evaluations if search.reached >= goal else math.inf


def test_sphere_in_ten_dimensions():
    """Below 1e-8 within 3000 evaluations, the median of 5 seeds (measured: 1390)."""
    used = [evaluations(CMAES(torch.ones(10), seed=seed), Sphere(10), -1e-8, 3000) for seed in range(5)]
    assert statistics.median(used) < 3000


def test_rosenbrock_in_five_dimensions():
    """Below 1e-8 within 4000 evaluations, the median of 3 seeds: along a valley that C must follow."""
    start = torch.zeros(5, dtype=torch.float64)
    used = [evaluations(CMAES(start, seed=seed), Rosenbrock(5), -1e-8, 4000) for seed in range(3)]
    assert statistics.median(used) < 4000


def test_covariance_stays_symmetric_and_positive_and_weights_sum_to_one():
    """After 100 generations on a narrow valley; with weights below 0, too, whose sum is then smaller."""
    for active in (False, True):
        search = CMAES(torch.full((5,), 2.0), sigma=1.0, active=active)
        positive = search.weights[search.weights > 0]
        assert float(positive.sum()) == pytest.approx(1, abs=1e-12) and bool((search.weights < 0).any()) == active
        assert (positive.diff() < 0).all() and len(positive) == search.size // 2
        evaluations(search, Rosenbrock(5), math.inf, 100 * search.size)
        torch.testing.assert_close(search.C, search.C.mT, rtol=0, atol=1e-12)
        assert torch.linalg.eigvalsh(search.C).min() > 0


def test_full_form_does_not_see_rotations():
    """An ellipsoid of axes 1 to 1000, straight and turned: as many evaluations within a third; the diagonal form needs
    the straight one."""
    scales = torch.logspace(0, 3, 5, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]

    class Ellipsoid(Sphere):
        def __init__(self, turn):
            super().__init__(5)
            self.turn = turn

        def height(self, x):
            return super().height(x @ self.turn * scales)

    def used(turn, **form):
        start = torch.ones(5, dtype=torch.float64)
        search = CMAES(start @ turn.mT, seed=2, **form)
        return evaluations(search, Ellipsoid(turn), -1e-8, 6000)

    straight = torch.eye(5, dtype=torch.float64)
    assert 0.67 < used(turn) / used(straight) < 1.5
    assert used(straight, diagonal=True) < 3000 and used(turn, diagonal=True) == math.inf


def test_beyond_a_thousand_dimensions_it_is_separable():
    """Memory grows with n, not with its square; what is asked for is kept."""
    assert CMAES(torch.zeros(1001)).C.shape == (1001,) and CMAES(torch.zeros(1000)).C.shape == (1000, 1000)
    assert CMAES(torch.zeros(3), diagonal=True).C.shape == (3,)
    assert CMAES(torch.zeros(1001), diagonal=False).C.shape == (1001, 1001)
    assert CMAES(torch.zeros(10)).size == 4 + 6 and CMAES(torch.zeros(10), size=31).size == 31


def test_nothing_becomes_infinite_on_a_slope_without_an_end():
    """sigma grows by up to e a generation: 1,000 of them, and then constant fitness, end in numbers."""
    search = CMAES(torch.zeros(2, dtype=torch.float64), size=8)
    for _ in range(1000):
        search.tell(search.ask().genomes.sum(1))
    for _ in range(50):
        search.ask()
        search.tell([0.0] * 8)
    assert search.mean.isfinite().all() and search.C.isfinite().all() and 0 < search.sigma < torch.inf
