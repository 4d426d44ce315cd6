"""Visual discrimination: point at the middle of the larger of two boxes on a field of n x n.

The small box, one unit, stands at 25 places, five by five; the large one, 3 x 3, half a field to the right of it, below
it, or both, and round the edge: 75 trials.  A net gets the field and answers as large a one, whose largest unit it
points at, d units away from the middle of the large box:

    fitness = 1 - mean d^2 / d_max^2,   d_max^2 = 2 (n - 1)^2

Reference: Stanley, D'Ambrosio and Gauci, Artificial Life 15(2), 2009, where n = 11.
Deviations from the paper:
    1. The large box is kept whole: one that would cross the edge is moved in by a unit.
    2. Fitness is in [0, 1]; the order is that of the sum of d^2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from altprop.core import Population, Refused
from altprop.tasks.task import Task


class Boxes(Task):
    """Point at the larger box.  n: units of a side, seen and answered.  Nothing is drawn.  ``Refused``
    are fields below 7 units, on which the boxes meet."""

    solved = 0.999  # half a unit beside, where n = 11

    def __init__(self, n: int = 11) -> None:
        if n < 7:
            raise Refused(f"a field of {n} x {n} came: give 7 or more, so that the boxes stand apart")
        self.n, self.inputs, self.outputs = n, (n * n,), n * n
        places = torch.linspace(1, n - 2, 5).round().long().tolist()
        middles, fields = [], []
        for row, column, (down, right) in (
            (r, c, by) for r in places for c in places for by in ((0, 1), (1, 0), (1, 1))
        ):
            moved = [(row + down * (n // 2)) % n, (column + right * (n // 2)) % n]
            r, c = (min(max(place, 1), n - 2) for place in moved)
            field = torch.zeros(n, n)
            field[row, column] = 1
            field[r - 1 : r + 2, c - 1 : c + 2] = 1
            middles.append([r, c])
            fields.append(field.flatten())
        self.x, self.middles = torch.stack(fields), torch.tensor(middles)  # (75, n * n), (75, 2)

    def fitness(self, population: Population, generator: torch.Generator | None = None) -> Tensor:
        """(P,); nothing is drawn."""
        population.reset()
        top = population(self.x).argmax(2).cpu()  # (P, 75)
        places = torch.stack([top // self.n, top % self.n], 2)
        d2 = (places - self.middles).square().sum(2).float()
        return 1 - d2.mean(1) / (2 * (self.n - 1) ** 2)
