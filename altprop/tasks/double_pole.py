"""Two poles on one cart, to be kept up by pushing the cart: the short pole falls before the long one does.

    f_i  = m_i l_i w_i^2 sin th_i + 3/4 m_i cos th_i (mu w_i / (m_i l_i) + g sin th_i)
    x''  = (F + sum_i f_i) / (M + sum_i m_i (1 - 3/4 cos^2 th_i))                       g = -9.8
    w_i' = -3 / (4 l_i) (x'' cos th_i + g sin th_i + mu w_i / (m_i l_i))

Fourth-order Runge-Kutta at .01 s, two of which make a step, with the same push F = 20 (y - 1/2) N, y in [0, 1].
Fitness is the number of steps until the cart is 2.4 m from the middle, or a pole 36 degrees from upright.

Reference: Wieland, IJCNN 1991; start and scales of the inputs as in Stanley and Miikkulainen 2002.
"""

from __future__ import annotations

from math import radians
from typing import NamedTuple

import torch
from torch import Tensor

from altprop.core import Population
from altprop.limits import Refused
from altprop.tasks.task import Task

GRAVITY, FRICTION, CART, PUSH, STEP = -9.8, 2e-6, 1.0, 10.0, 0.01  # m/s^2, of a hinge, kg, N, s
MASSES, LENGTHS = (0.1, 0.01), (0.5, 0.05)  # kg, and half of the poles in m
TRACK, FALLEN = 2.4, radians(36)
SCALES = (4.8, 2.0, 0.52, 2.0, 0.52, 2.0)  # of x, x', th_1, w_1, th_2, w_2


class DoublePole(Task):
    """Balance two poles of unlike length, with velocities (x, x', th_1, w_1, th_2, w_2) or without.

    steps: of .02 s, how long a trial is at most; start: degrees from upright of the long pole.  Nothing is drawn.
    Raises ``Refused`` for no step, or a start that has fallen already."""

    outputs = 1

    def __init__(self, steps: int = 100_000, *, velocities: bool = True, start: float = 1.0) -> None:
        if steps < 1 or not abs(start) < 36:
            raise Refused(f"steps={steps}, start={start} came: give 1 step or more, and less than 36 degrees")
        self.steps, self.solved, self.start = steps, steps, radians(start)
        self.seen = [0, 1, 2, 3, 4, 5] if velocities else [0, 2, 4]
        self.inputs = (len(self.seen),)

    @torch.no_grad()
    def fitness(self, population: Population, generator: torch.Generator | None = None) -> Tensor:
        """(P,), steps; nothing is drawn, but the device is that of the generator."""
        P = len(population)
        device = torch.device("cpu") if generator is None else generator.device
        scales = torch.tensor(SCALES, device=device)
        state = torch.zeros(P, 6, device=device)
        state[:, 2] = self.start
        poles = Poles.of(state)
        lasted, up = torch.zeros(P, device=device), torch.ones(P, dtype=torch.bool, device=device)
        population.reset()
        for _ in range(self.steps):
            y = population((state / scales)[:, None, self.seen])[:, 0, 0]  # (P,)
            force = 2 * PUSH * (y.to(state) - 0.5)
            later = advance(advance(state, force, poles), force, poles)
            state = torch.where(up[:, None], later, state)  # what has fallen stays there
            up = stands(state)
            lasted += up
            if not up.any():
                break
        return lasted


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
