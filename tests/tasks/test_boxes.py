"""Visual discrimination, drawn and judged field by field in plain Python."""

import pytest
import torch

from altprop import Refused
from altprop.tasks import Boxes


def slow_trials(n):
    """Fields as rows of numbers, and the middle of each larger box."""
    places, trials = [round(1 + k * (n - 3) / 4) for k in range(5)], []
    for row in places:
        for column in places:
            for down, right in ((0, 1), (1, 0), (1, 1)):
                r = min(max((row + down * (n // 2)) % n, 1), n - 2)
                c = min(max((column + right * (n // 2)) % n, 1), n - 2)
                large = {(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
                field = [[float((i, j) in large or (i, j) == (row, column)) for j in range(n)] for i in range(n)]
                trials.append((field, (r, c)))
    return trials


class Points:
    """Individuals that point where they are told, trial by trial."""

    def __init__(self, tops, n):
        self.tops, self.n = tops, n

    def __len__(self):
        return len(self.tops)

    def __call__(self, x):
        answers = torch.zeros(len(self), len(x), self.n * self.n)
        for p, tops in enumerate(self.tops):
            for trial, (r, c) in enumerate(tops):
                answers[p, trial, r * self.n + c] = 1
        return answers

    def reset(self):
        pass


@pytest.mark.parametrize("n", [7, 11])
def test_trials_are_75_fields_with_two_boxes(n):
    """Of one unit and of nine, apart from each other."""
    task, slow = Boxes(n), slow_trials(n)
    assert len(slow) == 75 and task.x.reshape(75, n, n).tolist() == [field for field, _ in slow]
    assert task.middles.tolist() == [list(middle) for _, middle in slow] and (task.x.sum(1) == 10).all()


def test_fitness_is_the_squared_distance():
    """1 for the middle of the larger box in all trials; rows and columns both count, and the far corner is worst."""
    task, middles = Boxes(11), [middle for _, middle in slow_trials(11)]
    tops = [middles, [(r, c - 1) for r, c in middles], [(r + 1, c + 1) for r, c in middles], [(0, 0)] * 75]
    want = [1, 1 - 1 / 200, 1 - 2 / 200, 1 - sum(r * r + c * c for r, c in middles) / 75 / 200]
    assert task.fitness(Points(tops, 11)).tolist() == pytest.approx(want)


def test_small_fields_are_refused():
    """Boxes would meet."""
    with pytest.raises(Refused, match=r"a field of 6 x 6 came: give 7 or more"):
        Boxes(6)
