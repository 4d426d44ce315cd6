"""Where fitness comes from: what individuals are asked, and how well they answered."""

import re
from typing import Any

from altprop.core import Refused
from altprop.limits import nearest, shown
from altprop.tasks.boxes import Boxes
from altprop.tasks.creatures import Creature
from altprop.tasks.double_pole import DoublePole
from altprop.tasks.functions import OneMax, Rastrigin, Rosenbrock, Sphere
from altprop.tasks.gym import Gym
from altprop.tasks.supervised import Supervised
from altprop.tasks.symbolic_regression import SymbolicRegression
from altprop.tasks.task import Task
from altprop.tasks.xor import XOR

TASKS: dict[str, type[Task]] = {
    "sphere": Sphere,
    "rosenbrock": Rosenbrock,
    "rastrigin": Rastrigin,
    "onemax": OneMax,
    "xor": XOR,
    "double_pole": DoublePole,
    "symbolic_regression": SymbolicRegression,
    "boxes": Boxes,
    "gym": Gym,
    "creature": Creature,
}
CONTROL = (
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "Pendulum-v1",
)  # come with Gymnasium; others by their ids, too


def named(name: str, *arguments: Any, **settings: Any) -> Task:
    """A task by its name in ``TASKS``, or an environment of Gymnasium by its id, as "CartPole-v1"; arguments are the
    task's own.  Raises ``Refused`` for an unknown name."""
    kind, first = kind_of(name)
    return kind(*first, *arguments, **settings)


def kind_of(name: str) -> tuple[type[Task], tuple[str, ...]]:
    """The class of the task of that name, and what it is given first; raises ``Refused`` for an unknown name."""
    if name in TASKS:
        return TASKS[name], ()
    if re.search(r"-v\d+$", name):
        return Gym, (name,)
    raise Refused(f"unknown task {shown(name)}{nearest(name, [*TASKS, *CONTROL])}")


__all__ = [
    "CONTROL", "TASKS", "XOR", "Boxes", "Creature", "DoublePole", "Gym", "OneMax", "Rastrigin", "Rosenbrock", "Sphere",
    "Supervised", "SymbolicRegression", "Task", "kind_of", "named",
]  # fmt: skip
