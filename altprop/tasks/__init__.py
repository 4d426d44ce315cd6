"""Where fitness comes from: what individuals are asked, and how well they answered."""

from altprop.tasks.creatures import Creature
from altprop.tasks.double_pole import DoublePole
from altprop.tasks.functions import OneMax, Rastrigin, Rosenbrock, Sphere
from altprop.tasks.supervised import Supervised
from altprop.tasks.task import Task
from altprop.tasks.xor import XOR

TASKS: dict[str, type[Task]] = {
    "sphere": Sphere,
    "rosenbrock": Rosenbrock,
    "rastrigin": Rastrigin,
    "onemax": OneMax,
    "xor": XOR,
    "double_pole": DoublePole,
    "creature": Creature,
}

__all__ = [
    "TASKS", "XOR", "Creature", "DoublePole", "OneMax", "Rastrigin", "Rosenbrock", "Sphere", "Supervised", "Task",
]  # fmt: skip
