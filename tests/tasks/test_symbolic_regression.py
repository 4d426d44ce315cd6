"""Symbolic regression against plain loops."""

import math

import pytest
import torch

from altprop import GP, Refused
from altprop.tasks import SymbolicRegression


class Answers:
    """Individuals that answer points as a function of the number of each."""

    def __init__(self, *functions):
        self.functions, self.forgotten = functions, 0

    def __len__(self):
        return len(self.functions)

    def __call__(self, x):
        return torch.stack([function(x[:, :1]) for function in self.functions])

    def reset(self):
        self.forgotten += 1


def formula(x):
    return x**4 + x**3 + x**2 + x


def test_the_quartic_at_twenty_points_by_hand():
    """Perfect is 0; constants have the mean of squares by a plain loop; states are forgotten first."""
    task, asked = SymbolicRegression(), Answers(formula, lambda x: formula(x) + 0.5, lambda x: 0 * x)
    points = [i / 10 for i in range(-10, 10)]
    assert task.x[:, 0].tolist() == pytest.approx(points) and (task.inputs, task.outputs) == ((1,), 1)
    squares = sum(formula(p) ** 2 for p in points) / 20
    assert task.fitness(asked, torch.Generator()).tolist() == pytest.approx([0, -0.25, -squares], abs=1e-12)
    assert asked.forgotten == 1


def test_hits_are_within_a_hundredth():
    """And a fitness above ``solved`` means that all are hit, though one point has the whole error."""
    task = SymbolicRegression()
    one = lambda by: lambda x: formula(x) + by * (x == 0)  # noqa: E731
    asked = Answers(one(0.0099), one(0.0101), lambda x: formula(x) + 0.02, lambda x: x * math.nan)
    assert task.hits(asked).tolist() == [20, 19, 0, 0]
    assert (task.fitness(asked) > task.solved).tolist() == [True, False, False, False]
    assert task.fitness(asked)[3].isnan()


def test_any_target_of_any_number_of_inputs():
    """Points of one's own, in their precision; answers in another are compared there."""
    x = torch.rand(7, 3)
    task = SymbolicRegression(lambda x: x.sum(1), x)
    assert task.inputs == (3,) and task.fitness(GP(3, size=5, dtype=torch.float64).ask()).shape == (5,)
    assert task.fitness(Answers(lambda first: x.double().sum(1, keepdim=True))).tolist() == pytest.approx(
        [0], abs=1e-12
    )


def test_what_is_no_regression_is_refused():
    """Points, targets and answers of another shape, and targets that are no numbers."""
    with pytest.raises(Refused, match=r"points of shape \(5,\) came: give \(N, k\)"):
        SymbolicRegression(x=torch.ones(5))
    with pytest.raises(Refused, match=r"points of shape \(0, 1\)"):
        SymbolicRegression(x=torch.ones(0, 1))
    with pytest.raises(Refused, match=r"the target gave \(5, 1\), 5 of them finite: let it give .*, \(5,\)"):
        SymbolicRegression(lambda x: x, torch.ones(5, 1))
    with pytest.raises(Refused, match="4 of them finite"):
        SymbolicRegression(lambda x: 1 / x[:, 0], torch.arange(5.0)[:, None])
    with pytest.raises(Refused, match=r"answered \(2,\) numbers: give a search of 1 output"):
        SymbolicRegression().fitness(GP(1, 2, size=5).ask())
