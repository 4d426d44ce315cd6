"""Two poles on a cart, against the equations of each pole by itself in plain Python."""

from itertools import product
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


def slow_trial(answer, limit, start=1, swings=None):
    """Steps that one controller lasts, from degrees or a state; swings: a list that hears how far each was off."""
    s = [0.0, 0.0, radians(start), 0.0, 0.0, 0.0] if isinstance(start, int) else list(start)
    for step in range(limit):
        y = answer([a / b for a, b in zip(s, (4.8, 2, 0.52, 2, 0.52, 2), strict=True)])
        for _ in range(2):
            s = slow_advance(s, 20 * (y - 0.5))
        if abs(s[0]) > 2.4 or max(abs(s[2]), abs(s[4])) > 36 * pi / 180:
            return step
        if swings is not None:
            swings.append(sum(map(abs, s[:4])))
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


class Balances(torch.nn.Module):
    """A line of what is seen, or of places and their changes since the last step: a net with memory."""

    def __init__(self, weights, memory=False):
        super().__init__()
        self.weights, self.memory, self.before, self.resets = torch.tensor(weights), memory, None, 0

    def forward(self, x):
        seen = torch.cat([x, x - (x if self.before is None else self.before)], 1) if self.memory else x
        self.before = x
        return ((seen * self.weights).sum(-1, keepdim=True) + 0.5).clamp(0, 1)

    def reset(self):
        self.before, self.resets = None, self.resets + 1


GOOD = [-2.43, -0.21, -3.01, -0.86, 1.22, 0.19]  # of x, x', th_1, w_1, th_2, w_2; found by CMA-ES


def clipped(weights):
    return lambda x: min(1.0, max(0.0, 0.5 + sum(map(mul, x, weights))))


def test_calm_fitness_is_gruau_s():
    """.1 t / T + .9 * .75 / the swing of the last hundred steps, and no swing where it fell before them."""
    weights = torch.tensor([GOOD, [0.0] * 6, [0.1 * w for w in GOOD], [*GOOD[:4], 3.0, 1.0]])
    task, want = DoublePole(150, calm=True), []
    for row in weights.tolist():
        swings = []
        t = slow_trial(clipped(row), 150, swings=swings)
        want.append(0.1 * t / 150 + (0.9 * 0.75 / sum(swings[-100:]) if t >= 100 else 0))
    assert task.fitness(Lines(weights)).tolist() == pytest.approx(want, rel=0.02)
    assert max(want) > 0.14 and 0.02 > min(want) > 0 and (task.calm, task.solved) == (True, float("inf"))


def test_generalisation_is_counted_over_625_starts():
    """Of each of five places of four ranges, and memory is forgotten before and after."""
    edges = [[s * r for s in (-0.9, -0.5, 0, 0.5, 0.9)] for r in (2.16, 1.35, radians(3.6), radians(8.6))]
    starts = list(product(*edges))
    net, task = Balances(GOOD), DoublePole()
    some = starts[:: len(starts) // 20]
    slow = [slow_trial(clipped(GOOD), 60, (*start, 0.0, 0.0)) >= 60 for start in some]
    seen = []
    task._balance, inner = lambda answer, state, steps: seen.append(state) or inner(answer, state, steps), task._balance
    count = task.generalises(net, 60)
    torch.testing.assert_close(seen[0][:, :4], torch.tensor(starts))
    assert not seen[0][:, 4:].any() and net.resets == 2
    alone = [task._trials(net, torch.tensor([[*start, 0.0, 0.0]]), 60)[0] >= 60 for start in some]
    assert [bool(one) for one in alone] == slow and 0 < sum(slow) < len(slow) and 0 < count < 625


def test_memory_is_what_velocities_are_for():
    """A net that remembers places lasts without them; the same net that forgets does not."""
    places, changes = [GOOD[0], GOOD[2], GOOD[4]], [GOOD[1] * 4.8 / 2, GOOD[3] * 0.52 / 2, GOOD[5] * 0.52 / 2]
    task = DoublePole(velocities=False, start=1.0)
    assert (task.steps, task.calm, task.inputs) == (1000, True, (3,))
    with_memory = Balances([*places, *[50 * c for c in changes]], memory=True)  # per .02 s
    assert task.lasts(with_memory, 400) == 400 > 10 * task.lasts(Balances(places), 400)
    assert DoublePole(velocities=False).start == radians(4) and DoublePole().start == radians(1)


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
