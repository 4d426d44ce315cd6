"""The tasks that are tensors, against plain loops over numbers and known tops."""

import math
from itertools import pairwise

import pytest
import torch

from altprop import Refused
from altprop.searches.genome import Points
from altprop.tasks import TASKS, XOR, OneMax, Rastrigin, Rosenbrock, Sphere, Task

X = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SLOW = {
    Sphere: lambda x: -sum(v**2 for v in x),
    Rosenbrock: lambda x: -sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in pairwise(x)),
    Rastrigin: lambda x: -(10 * len(x) + sum(v**2 - 10 * math.cos(2 * math.pi * v) for v in x)),
    OneMax: lambda x: sum(v > 0.5 for v in x),
}
TOPS = {Sphere: (0.0, 0), Rosenbrock: (1.0, 0), Rastrigin: (0.0, 0), OneMax: (1.0, 4)}


@pytest.mark.parametrize("task", SLOW)
def test_functions_against_plain_loops(task):
    """One number an individual, larger is better."""
    fitness = task(4).fitness(Points(X), torch.Generator())
    assert fitness.tolist() == pytest.approx([float(SLOW[task](x)) for x in X.tolist()], rel=1e-12)


@pytest.mark.parametrize("task", SLOW)
def test_tops_are_where_they_are_said_to_be(task):
    """And nothing near them, or far, is higher."""
    place, height = TOPS[task]
    assert task(4).fitness(Points(torch.full((1, 4), place, dtype=torch.float64))).tolist() == [height]
    near = torch.cat([place + X * scale for scale in (1e-3, 0.1, 1, 10)])
    assert (task(4).fitness(Points(near)) <= height).all()


class Answers:
    """Individuals that answer four patterns as they were told to."""

    def __init__(self, table):
        self.table, self.forgotten = table, 0

    def __len__(self):
        return len(self.table)

    def __call__(self, x):
        at = (2 * x[:, 0] + x[:, 1]).long()
        return torch.tensor([[row[i] for i in at.tolist()] for row in self.table])[:, :, None]

    def reset(self):
        self.forgotten += 1


def test_xor_by_hand():
    """4 for the table, 3 for a half everywhere, 0 for its opposite, 3 for one mistake; states are forgotten first."""
    asked = Answers([[0.0, 1, 1, 0], [0.5] * 4, [1.0, 0, 0, 1], [0.0, 1, 1, 1], [0.1, 0.8, 1.0, 0.0]])
    fitness = XOR().fitness(asked, torch.Generator())
    assert fitness.tolist() == pytest.approx([4, 3, 0, 3, 4 - 0.01 - 0.04]) and asked.forgotten == 1


SHAPES = {
    "xor": ((2,), 1),
    "symbolic_regression": ((1,), 1),
    "double_pole": ((6,), 1),
    "gym": ((4,), 2),
    "boxes": ((121,), 121),
    "creature": ((1,), 82),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_it_asks(name):
    """Shapes of inputs and outputs, and a docstring."""
    pytest.importorskip({"gym": "gymnasium", "creature": "mujoco"}.get(name, "torch"))
    inputs, outputs = SHAPES.get(name, ((1,), 5))
    task = TASKS[name](5) if outputs == 5 else TASKS[name]()
    assert isinstance(task, Task) and task.__doc__ and (task.inputs, task.outputs) == (inputs, outputs)


def test_wrong_sizes_are_refused():
    """Dimensions that the function does not have, and answers of another number."""
    with pytest.raises(Refused, match="Rosenbrock of 1 dimensions came: give 2 or more"):
        Rosenbrock(1)
    with pytest.raises(Refused, match="give 1 or more"):
        Sphere(0)
    with pytest.raises(
        Refused, match=r"Sphere of 3 dimensions was answered by \(4,\): give a search over vectors \(3,\)"
    ):
        Sphere(3).fitness(Points(X))
