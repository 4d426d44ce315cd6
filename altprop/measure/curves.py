"""How fast a learning curve saturates: the plateau and the slowness of a run, in two numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from altprop.core import Refused

FEWEST = 3  # epochs that say something about the shape of a curve


class Plateau(NamedTuple):
    """Of the curve maximum * x / (slowness + x): half of the maximum is reached after ``slowness`` epochs."""

    maximum: float  # in the unit of the accuracies
    slowness: float  # in epochs; larger is slower


def plateau(accuracies: Sequence[float], chance: float, epochs: int = 60) -> Plateau:
    """Fit acc(x) = maximum * x / (slowness + x) to the accuracies after the first ``epochs`` epochs.

    accuracies: one an epoch, the first after epoch 1; chance: the accuracy at x = 0; both as fractions or both in
    percent.  The maximum is that of these data, so only the slowness is fitted, by least squares; where accuracy still
    rises in the last epoch it comes out too small.  The curve starts in 0 whatever its slowness: chance matters only
    where no epoch is above it.
    Raises ``Refused`` for fewer than 3 epochs, for values that are not finite, and where none is above 0.
    Source: Dellaferrera and Kreiman 2022, appendix C."""
    from scipy.optimize import curve_fit  # half a second of import, which who fits no curve need not wait for

    y = np.array([chance, *list(accuracies)[: max(epochs, 0)]], dtype=np.float64)  # (n,)
    if len(y) - 1 < FEWEST:
        raise Refused(f"{len(y) - 1} epochs came; a slowness needs at least {FEWEST}: train longer")
    if not np.isfinite(y).all():
        first = int(np.argmin(np.isfinite(y)))
        where = f"after epoch {first}" if first else "of chance"
        raise Refused(f"the accuracy {where} is {y[first]}; a fit needs finite numbers: leave out diverged runs")
    if y.max() <= 0:
        raise Refused(f"no accuracy is above 0 (the largest is {y.max()}), so that no curve can rise to it")
    x, maximum = np.arange(len(y), dtype=np.float64), y.max()

    def accuracy(x: np.ndarray, slowness: float) -> np.ndarray:
        return maximum * x / (slowness + x)

    # Without the bound a run that never leaves its first accuracy gets a slowness slightly below 0, a pole at x > 0.
    (slowness,), _ = curve_fit(accuracy, x, y, p0=[0.5], bounds=(0, np.inf), xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return Plateau(float(maximum), float(slowness))
