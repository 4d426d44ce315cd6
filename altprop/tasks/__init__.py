"""Where fitness comes from: what individuals are asked, and how well they answered."""

from altprop.tasks.double_pole import DoublePole
from altprop.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "double_pole": DoublePole,
}

__all__ = ["TASKS", "DoublePole", "Task"]
