"""Student's t over seeds: the one interval of comparisons, of the papers' tables and of the docs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

LEVEL = 0.95
ROUNDING = 1e-9  # of differences between scores


class Interval(NamedTuple):
    """A mean and where it may lie; None where nothing is known of it."""

    mean: float | None
    low: float | None
    high: float | None


UNKNOWN = Interval(None, None, None)


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % interval of the mean; None for one value, which has no scatter."""
    return None if len(values) < 2 else half_of(stdev(values), len(values))


def half_of(deviation: float, n: float) -> float:
    """t(0.975, n - 1) s / sqrt(n), of n values with that deviation s."""
    from scipy.special import stdtrit  # the quantile of t, without all of scipy.stats

    return float(stdtrit(n - 1, (1 + LEVEL) / 2)) * deviation / n**0.5


def interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % Student-t interval, which one value does not have.

    Its width is 0 where all values are equal, which says that they coincide, not that they are certain."""
    if not values:
        return UNKNOWN
    centre, half = mean(values), half_width(values)
    if half is None:
        return Interval(centre, None, None)
    if max(values) - min(values) < ROUNDING:
        return Interval(centre, centre, centre)
    return Interval(centre, centre - half, centre + half)


def paired_difference(own: Sequence[float], other: Sequence[float]) -> Interval:
    """own - other over the same seeds, in the same order; unknown where one of them has other seeds."""
    if len(own) != len(other):
        return UNKNOWN
    return interval([a - b for a, b in zip(own, other, strict=True)])


def mean_and_std(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """With n - 1 degrees of freedom; None of no value, where one is missing, and for the deviation of a single one."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None, None
    return mean(known), stdev(known) if len(known) > 1 else None
