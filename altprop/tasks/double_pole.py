"""Two poles on one cart, to be kept up by pushing the cart: the short pole falls before the long one does.

    f_i  = m_i l_i w_i^2 sin th_i + 3/4 m_i cos th_i (mu w_i / (m_i l_i) + g sin th_i)
    x''  = (F + sum_i f_i) / (M + sum_i m_i (1 - 3/4 cos^2 th_i))                       g = -9.8
    w_i' = -3 / (4 l_i) (x'' cos th_i + g sin th_i + mu w_i / (m_i l_i))

Fourth-order Runge-Kutta at .01 s, two of which make a step, with the same push F = 20 (y - 1/2) N, y in [0, 1].
A trial ends where the cart is 2.4 m from the middle, or a pole 36 degrees from upright.  Fitness is one of

    t                                                              the steps it lasted, of 100,000 at most
    .1 t / T + .9 f,  f = .75 / sum_{last 100 steps} (|x| + |x'| + |th_1| + |w_1|),  0 where t < 100       T = 1,000

The second is for nets that see no velocities: it forbids the trick of swinging to and fro, which balances without them.

References: Wieland, IJCNN 1991; Gruau, Whitley and Pyeatt, Genetic Programming 1996 (the second fitness, and the 625
starts); scales of the inputs and starts as in Stanley and Miikkulainen 2002.
Deviations from the papers:
    1. Without velocities the long pole starts at 4 degrees, as in the programs of the time; the papers do not agree.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import inf, radians
from typing import NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Population
from altprop.limits import Refused
from altprop.tasks.task import Task

GRAVITY, FRICTION, CART, PUSH, STEP = -9.8, 2e-6, 1.0, 10.0, 0.01  # m/s^2, of a hinge, kg, N, s
MASSES, LENGTHS = (0.1, 0.01), (0.5, 0.05)  # kg, and half of the poles in m
TRACK, FALLEN = 2.4, radians(36)
CALM = 100  # steps at the end of which the swing counts
CORNERS = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the ranges below, where the 625 starts lie
RANGES = (2.16, 1.35, radians(3.6), radians(8.6))  # +- of x, x', th_1, w_1; the short pole is upright
SCALES = (4.8, 2.0, 0.52, 2.0, 0.52, 2.0)  # of x, x', th_1, w_1, th_2, w_2


class DoublePole(Task):
    """Balance two poles of unlike length, with velocities, or without, which takes memory.

    steps: of .02 s, how long a trial is at most; start: degrees from upright of the long pole; calm: whether fitness is
    Gruau's.  By default 100,000 steps from 1 degree, and without velocities 1,000 from 4 degrees, calm.  Nothing is
    drawn.  ``solved`` is the fitness of who never falls; calm has no top: ask ``lasts`` and ``generalises``.

    Raises ``Refused`` for no step, or a start that has fallen already."""

    outputs = 1

    def __init__(
        self, steps: int | None = None, *, velocities: bool = True, start: float | None = None, calm: bool | None = None
    ) -> None:
        steps = (100_000 if velocities else 1000) if steps is None else steps
        start = (1.0 if velocities else 4.0) if start is None else start
        if steps < 1 or not abs(start) < 36:
            raise Refused(f"steps={steps}, start={start} came: give 1 step or more, and less than 36 degrees")
        self.steps, self.start = steps, radians(start)
        self.calm = not velocities if calm is None else calm
        self.solved: float = inf if self.calm else steps
        self.seen = [0, 1, 2, 3, 4, 5] if velocities else [0, 2, 4]
        self.inputs = (len(self.seen),)

    @torch.no_grad()
    def fitness(self, population: Population, generator: torch.Generator | None = None) -> Tensor:
        """(P,); nothing is drawn, but the device is that of the generator."""
        state = torch.zeros(len(population), 6, device="cpu" if generator is None else generator.device)
        state[:, 2] = self.start
        population.reset()
        lasted, swing = self._balance(lambda seen: population(seen[:, None])[:, 0, 0], state, self.steps)
        if not self.calm:
            return lasted
        f = torch.where(lasted >= CALM, 0.75 / swing, 0.0)
        return 0.1 * lasted / self.steps + 0.9 * f

    @torch.no_grad()
    def lasts(self, net: nn.Module, steps: int = 100_000) -> int:
        """How many steps one net lasts from the start."""
        return int(self._trials(net, torch.tensor([[0, 0, self.start, 0, 0, 0]]), steps)[0])

    @torch.no_grad()
    def generalises(self, net: nn.Module, steps: int = 1000) -> int:
        """From how many of Gruau's 625 starts one net lasts that many steps; 200 count as general."""
        grid = torch.tensor(list(product(CORNERS, repeat=4)))  # (625, 4)
        state = torch.zeros(len(grid), 6)
        state[:, :4] = (2 * grid - 1) * torch.tensor(RANGES)
        return int((self._trials(net, state, steps) >= steps).sum())

    def _trials(self, net: nn.Module, state: Tensor, steps: int) -> Tensor:
        reset = getattr(net, "reset", lambda: None)  # of nets with memory
        reset()
        lasted, _ = self._balance(lambda seen: net(seen)[:, 0], state, steps)
        reset()
        return lasted

    def _balance(self, answer: Callable[[Tensor], Tensor], state: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """answer: what is seen (S, I) -> y (S,); state (S, 6) -> steps that each lasts (S,), and its swing (S,)."""
        scales, poles = state.new_tensor(SCALES), Poles.of(state)
        lasted, up = state.new_zeros(len(state)), torch.ones_like(state[:, 0], dtype=torch.bool)
        swings = state.new_zeros(CALM, len(state))  # of the last steps that each was up
        for t in range(steps):
            y = answer((state / scales)[:, self.seen])  # (S,)
            force = 2 * PUSH * (y.to(state) - 0.5)
            later = advance(advance(state, force, poles), force, poles)
            state = torch.where(up[:, None], later, state)  # what has fallen stays there
            up = stands(state)
            lasted += up
            if self.calm:
                swings[t % CALM] = torch.where(up, state[:, :4].abs().sum(1), swings[t % CALM])
            if not up.any():
                break
        return lasted, swings.sum(0)


def stands(state: Tensor) -> Tensor:
    """state (P, 6) -> (P,), whether the cart is on its track and both poles are up; not where a number is none."""
    return (state[:, 0].abs() <= TRACK) & (state[:, [2, 4]].abs() <= FALLEN).all(1)


class Poles(NamedTuple):
    """What stays the same of both poles, (2,) each."""

    m: Tensor
    ml: Tensor
    friction: Tensor  # mu / (m l)
    lever: Tensor  # -3 / (4 l)

    @classmethod
    def of(cls, like: Tensor) -> Poles:
        """In the precision and on the device of a state."""
        m, length = like.new_tensor(MASSES), like.new_tensor(LENGTHS)
        return cls(m, m * length, FRICTION / (m * length), -0.75 / length)


def advance(state: Tensor, force: Tensor, poles: Poles) -> Tensor:
    """state (P, 6), force (P,) -> the state .01 s later."""
    k1 = slopes(state, force, poles)
    k2 = slopes(state + k1 * (STEP / 2), force, poles)
    k3 = slopes(state + k2 * (STEP / 2), force, poles)
    k4 = slopes(state + k3 * STEP, force, poles)
    return state + (k1 + 2 * (k2 + k3) + k4) * (STEP / 6)


def slopes(state: Tensor, force: Tensor, poles: Poles) -> Tensor:
    """state (P, 6), force (P,) -> its derivative in time (P, 6)."""
    m, ml, friction, lever = poles
    theta, w = state[:, 2::2], state[:, 3::2]  # (P, 2)
    sin, cos = theta.sin(), theta.cos()
    pull, mcos = torch.addcmul(GRAVITY * sin, friction, w), 0.75 * m * cos  # (P, 2)
    f = (ml * w * w * sin + mcos * pull).sum(1)  # (P,)
    x = (force + f) / (CART + (m - mcos * cos).sum(1))
    turn = torch.addcmul(pull, x[:, None], cos) * lever  # (P, 2)
    return torch.stack([state[:, 1], x, w[:, 0], turn[:, 0], w[:, 1], turn[:, 1]], 1)
