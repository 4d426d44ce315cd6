"""What counts as having moved: the honest measure, and two that can be cheated.

honest     how far the centre of mass came since it was at rest, in lengths of the body at rest, less a price of the
           work; muscles of at most 3 Hz; and at half the step it must come as far: the less of the two counts
falling    how far its highest point came since it was let go, in m            a tall tower that falls over wins
vibrating  as honest, but muscles as fast as the simulator's steps are, at no price, and at one step only
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from altprop.tasks.creatures.simulation import Course, longest


def lengths(course: Course) -> float:
    """The horizontal way of the centre of mass since it was at rest, in lengths of the body at rest."""
    return distance(course) / longest(*course.at(course.settled))


def distance(course: Course) -> float:
    """The same in m."""
    way = course.centres[-1] - course.centres[max(course.settled, 1) - 1]
    return float(np.hypot(way[0], way[1]))


def highest(course: Course) -> float:
    """How far the end that was the highest came, in m."""
    (before, radii), (after, _) = course.at(0), course.at(-1)  # (2, B, 3)
    top = np.unravel_index((before[:, :, 2] + radii).argmax(), before.shape[:2])
    way = after[top] - before[top]
    return float(np.hypot(way[0], way[1]))


class Shaping(NamedTuple):
    """A measure, and what keeps it honest."""

    measure: Callable[[Course], float] = lengths
    settle: float = 2.0  # s before anything counts
    fastest: float | None = 3.0  # Hz of the muscles; None: half a period a step
    halved: bool = True  # whether it is simulated again at half the step
    price: float = 0.01  # of a work that would lift the body by its length

    def bound(self, step: float) -> float:
        """The fastest muscles, in Hz."""
        return 1 / (2 * step) if self.fastest is None else self.fastest


SHAPINGS = {
    "honest": Shaping(),
    "falling": Shaping(measure=highest, settle=0.0, price=0.0),
    "vibrating": Shaping(fastest=None, halved=False, price=0.0),
}
