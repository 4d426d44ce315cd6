"""Two poles on a cart, against the equations of each pole by itself in plain Python."""

from math import cos, pi, radians, sin
from operator import mul

import pytest
import torch

from altprop.core import Refused
from altprop.searches import NEAT
from altprop.tasks import DoublePole, double_pole
from altprop.tasks.double_pole import Poles, advance, slopes

G, MU, M, POLES = -9.8, 2e-6, 1.0, ((0.1, 0.5), (0.01, 0.05))


def slow_slopes(state, F):
    """Wieland's equations, a pole at a time."""
    _, v, *poles = state
    force, mass = F, M
    for (m, length), (th, w) in zip(POLES, (poles[:2], poles[2:]), strict=True):
        force += m * length * w * w * sin(th) + 0.75 * m * cos(th) * (MU * w / (m * length) + G * sin(th))
        mass += m * (1 - 0.75 * cos(th) ** 2)
    a, out = force / mass, [v, force / mass]
    for (m, length), (th, w) in zip(POLES, (poles[:2], poles[2:]), strict=True):
        out += [w, -3 / (4 * length) * (a * cos(th) + G * sin(th) + MU * w / (m * length))]
    return out


def slow_advance(s, F, h=0.01):
    k1 = slow_slopes(s, F)
    k2 = slow_slopes([a + h / 2 * b for a, b in zip(s, k1, strict=True)], F)
    k3 = slow_slopes([a + h / 2 * b for a, b in zip(s, k2, strict=True)], F)
    k4 = slow_slopes([a + h * b for a, b in zip(s, k3, strict=True)], F)
    return [a + h / 6 * (p + 2 * q + 2 * r + u) for a, p, q, r, u in zip(s, k1, k2, k3, k4, strict=True)]


def slow_trial(answer, limit):
    """Steps that one controller lasts."""
    s = [0.0, 0.0, radians(1), 0.0, 0.0, 0.0]
    for step in range(limit):
        y = answer([a / b for a, b in zip(s, (4.8, 2, 0.52, 2, 0.52, 2), strict=True)])
        for _ in range(2):
            s = slow_advance(s, 20 * (y - 0.5))
        if abs(s[0]) > 2.4 or max(abs(s[2]), abs(s[4])) > 36 * pi / 180:
            return step
    return limit


class Lines:
    """Controllers that answer a clipped weighted sum of what they see."""

    def __init__(self, weights):
        self.weights = weights

    def __len__(self):
        return len(self.weights)

    def __call__(self, x):
        return ((x * self.weights[:, None]).sum(-1, keepdim=True) + 0.5).clamp(0, 1)

    def reset(self):
        pass


def test_motion_is_wieland_s():
    """Slopes and a hundred steps of RK4 in float64, of states drawn wide."""
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    force = 10 * torch.randn(5, generator=generator, dtype=torch.float64)
    pairs = list(zip(state.tolist(), force.tolist(), strict=True))
    want = torch.tensor([slow_slopes(*p) for p in pairs], dtype=torch.float64)
    torch.testing.assert_close(slopes(state, force, Poles.of(state)), want, rtol=1e-12, atol=1e-10)
    for _ in range(20):
        state, pairs = advance(state, force, Poles.of(state)), [(slow_advance(s, F), F) for s, F in pairs]
    torch.testing.assert_close(state, torch.tensor([s for s, _ in pairs], dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_fitness_is_the_steps_that_each_lasts():
    """Controllers as good as chance has them and one that is made to do well, each as by itself."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(12, 6, generator=generator)
    weights[0] = 0
    weights[1:5, 2:] = weights[1:5, 2:].abs()
    clipped = (lambda x, w=w: min(1.0, max(0.0, 0.5 + sum(map(mul, x, w)))) for w in weights.tolist())
    lasted = DoublePole(200).fitness(Lines(weights))
    assert lasted.tolist() == [slow_trial(row, 200) for row in clipped]
    assert len(set(lasted.tolist())) > 4


def test_cart_that_left_its_track_does_not_come_back(monkeypatch):
    """Two steps to the right and then left, by a motion of a metre a push: out after the second, whatever follows."""

    class Script(Lines):
        def __call__(self, x):
            self.time = getattr(self, "time", -1) + 1
            return torch.tensor([[1.0 if self.time < 2 else 0.0], [0.5]])[:, None]

    push = torch.tensor([0.1, 0, 0, 0, 0, 0])
    monkeypatch.setattr(double_pole, "advance", lambda state, force, poles: state + force[:, None] * push)
    assert DoublePole(6).fitness(Script(torch.zeros(2, 6))).tolist() == [1, 6]


def test_without_velocities_three_numbers_are_seen():
    """Places alone, scaled; a search with memory then has what it needs."""
    seen = []

    class Looks(Lines):
        def __call__(self, x):
            seen.append(x)
            return super().__call__(x)

    DoublePole(1, velocities=False, start=4.5).fitness(Looks(torch.zeros(2, 3)))
    assert DoublePole(velocities=False).inputs == (3,) and DoublePole().inputs == (6,)
    torch.testing.assert_close(seen[0], torch.tensor([0, radians(4.5) / 0.52, 0]).expand(2, 1, 3))


def test_neat_betters_itself():
    """The two seams fit: ask, fitness, tell."""
    search, task = NEAT(6, 1, size=60, seed=1), DoublePole(200)
    best = [search.tell(task.fitness(search.ask())) or search.watch()["best"] for _ in range(5)]
    assert best == sorted(best) and best[-1] > best[0]


def test_what_cannot_be_is_told():
    """Before the first step."""
    with pytest.raises(Refused, match=r"steps=0, start=1.0 came: give 1 step or more, and less than 36 degrees"):
        DoublePole(0)
    with pytest.raises(Refused, match="start=nan"):
        DoublePole(start=float("nan"))
