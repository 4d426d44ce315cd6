"""A body as text that MuJoCo compiles (MJCF): one world with a floor and the body, its muscles and what is measured.

Muscles are servos: torque = k (wanted angle - angle) - d velocity, at most as strong as their cross-section allows,
pi S r^3 N m.  Segments touch the floor, not one another.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import pi

from altprop.tasks.creatures.body import Body, Segment

DENSITY = 1000.0  # kg/m^3, that of water
STRENGTH = 1e5  # N/m^2 of a muscle's cross-section, about a third of what an animal's has
STIFFNESS, DAMPING = 2.0, 0.1  # torques by the strongest, a radian and a radian a second
GRIP = 'condim="6" friction="1 0.02 0.02"'  # along the floor, and in m against turning on it and rolling away
GAP = 1e-3  # m above the floor where it begins


def world(body: Body, step: float) -> str:
    """The text, for steps of so many seconds.  Sensors: centre of mass, muscles, then how joints turn."""
    joints = range(1, len(body.segments))
    muscles = "".join(_muscle(i, body.segments[i]) for i in joints)
    felt = "".join(f'<{what} actuator="m{i}"/>' for what in ("actuatorfrc", "actuatorvel") for i in joints)
    return f"""<mujoco>
<compiler angle="radian"/>
<option timestep="{step!r}" integrator="implicitfast"><flag autoreset="disable"/></option>
<default><geom type="capsule" density="{DENSITY}" contype="0" conaffinity="1" {GRIP}/></default>
<worldbody>
<geom type="plane" size="0 0 1" contype="1" conaffinity="0"/>
{_segment(body, 0, (0.0, 0.0, GAP - body.lowest()))}
</worldbody>
<actuator>{muscles}</actuator>
<sensor><subtreecom body="s0"/>{felt}</sensor>
</mujoco>"""


def _segment(body: Body, index: int, place: Iterable[float]) -> str:
    """A segment with all that hangs on it; its frame is that of the world, at its start or at the torso's middle."""
    one = body.segments[index]
    origin = one.start if index else 0 * one.start
    joint = f'<joint name="j{index}" axis="{_said(one.axis)}" range="{-one.reach!r} {one.reach!r}"/>'
    hanging = [(i, other) for i, other in enumerate(body.segments) if other.parent == index]
    inner = "".join(_segment(body, i, other.start - origin) for i, other in hanging)
    capsule = f'<geom fromto="{_said(one.start - origin)} {_said(one.end - origin)}" size="{one.radius!r}"/>'
    return f'<body name="s{index}" pos="{_said(place)}">{joint if index else "<freejoint/>"}{capsule}{inner}</body>'


def _muscle(index: int, one: Segment) -> str:
    strongest = pi * STRENGTH * one.radius**3
    return (f'<position name="m{index}" joint="j{index}" kp="{STIFFNESS * strongest!r}" kv="{DAMPING * strongest!r}" '
            f'forcerange="{-strongest!r} {strongest!r}"/>')  # fmt: skip


def _said(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
