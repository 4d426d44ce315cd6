"""Where fitness comes from: what individuals are asked, and how well they answered."""

from altprop.tasks.functions import OneMax, Rastrigin, Rosenbrock, Sphere
from altprop.tasks.task import Task
from altprop.tasks.xor import XOR

TASKS: dict[str, type[Task]] = {
    "sphere": Sphere,
    "rosenbrock": Rosenbrock,
    "rastrigin": Rastrigin,
    "onemax": OneMax,
    "xor": XOR,
}

__all__ = ["TASKS", "XOR", "OneMax", "Rastrigin", "Rosenbrock", "Sphere", "Task"]
