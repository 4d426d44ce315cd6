"""A body in its world: what MuJoCo says of it step by step, and where its parts are at any of them."""

from __future__ import annotations

import importlib
import logging
from typing import Any, NamedTuple

import numpy as np

from altprop.limits import Refused
from altprop.tasks.creatures.body import Body, Vector
from altprop.tasks.creatures.mjcf import world

LOG = logging.getLogger("altprop")
TOO_FAST = 100.0, 1000.0  # m/s of the torso, rad/s of a joint: no body does it, a simulation that breaks does
TOUCH = 2e-3  # m above the floor that count as touching it


class Course(NamedTuple):
    """What happened in T steps of so many seconds; the first row is the state before them."""

    model: Any
    step: float
    settled: int  # steps at first in which the muscles stood still
    states: Vector  # (T + 1, S), time, places and velocities as MuJoCo has them
    centres: Vector  # (T, 3) of mass
    forces: Vector  # (T, J), N m of the muscles
    turns: Vector  # (T, J), rad/s of the joints

    @property
    def sound(self) -> bool:
        """Whether all numbers are numbers, nothing was faster than a body can be, and MuJoCo did not give up before the
        end, where it repeats the last state."""
        first, ended = 1 + self.model.nq, self.step * (len(self.states) - 1.5)
        fast = np.abs(self.states[:, first : first + 3]).max(), np.abs(self.turns).max(initial=0)
        whole = np.isfinite(self.states).all() and self.states[-1, 0] > ended
        return bool(whole and fast[0] < TOO_FAST[0] and fast[1] < TOO_FAST[1])

    @property
    def work(self) -> float:
        """J that the muscles did or took up."""
        return float(np.abs(self.forces * self.turns).sum() * self.step)

    def at(self, row: int) -> tuple[Vector, Vector]:
        """Where the segments' ends are after so many steps, (2, B, 3), and their radii (B,)."""
        mujoco = engine()
        data = mujoco.MjData(self.model)
        data.qpos[:] = self.states[row, 1 : 1 + self.model.nq]
        mujoco.mj_kinematics(self.model, data)
        middles, axes = data.geom_xpos[1:], data.geom_xmat[1:, 2::3]  # the floor apart; an axis points to the start
        half = self.model.geom_size[1:, 1:2] * axes
        return np.stack([middles + half, middles - half]), self.model.geom_size[1:, 0].copy()


def engine() -> Any:
    """The module ``mujoco``, which then tells our log of what is unstable, and not the terminal and a file of its own.
    Raises ``Refused`` where it is missing."""
    try:
        importlib.import_module("mujoco.rollout")
        mujoco: Any = importlib.import_module("mujoco")
    except ImportError as error:
        raise Refused("task 'creature' needs mujoco to simulate: pip install 'altprop[creatures]'") from error
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(LOG.debug)
    return mujoco


def simulate(body: Body, step: float, settle: float, seconds: float) -> Course:
    """It is let down and its muscles want angles of 0 for ``settle`` seconds, then it is held still for a moment, so
    that nothing rolls on from its fall; and its muscles move it for so many seconds more."""
    mujoco = engine()
    model = mujoco.MjModel.from_xml_string(world(body, step))
    still, moving = (round(time / step) for time in (settle, seconds))
    state = np.concatenate([[0.0], model.qpos0, np.zeros(model.nv)])  # (S,), time, places, velocities
    states, felt = [state[None]], []
    for wanted in (np.zeros((still, model.nu)), body.angles(step * np.arange(moving, dtype=np.float64))):
        if len(wanted):
            went, sensed = mujoco.rollout.rollout(model, mujoco.MjData(model), state[None], wanted[None])
            states.append(went[0])
            felt.append(sensed[0])
            state = np.concatenate([went[0, -1, : 1 + model.nq], np.zeros(model.nv)])
    centres, forces, turns = np.split(np.concatenate(felt), [3, 3 + model.nu], axis=1)
    return Course(model, step, still, np.concatenate(states), centres, forces, turns)


def longest(ends: Vector, radii: Vector) -> float:
    """The largest distance between any two points of the capsules: ends (2, B, 3), radii (B,)."""
    p, r = ends.reshape(-1, 3), np.tile(radii, 2)  # (2 B, 3), (2 B,)
    return float((np.linalg.norm(p[:, None] - p, axis=2) + r[:, None] + r).max())
