"""Times that stand beside each other: round-robin in one process, so that what disturbs one disturbs all.

They are those of the processor, of the one thread that works, without the time in which other programs had its core:
on an idle machine the same as a clock's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import quantiles
from typing import Any, NamedTuple

import torch

SECONDS = 0.03  # at least so long for each in a round
Times = dict[str, list[float]]


class Spread(NamedTuple):
    """The median of all rounds and the quartiles around it."""

    median: float
    low: float
    high: float


def rounds(steps: Mapping[str, Callable[[], Any]], count: int) -> Times:
    """Seconds of one call of each, by round; every step has its turn in each of the ``count`` rounds."""
    repeats = {name: _enough(step) for name, step in steps.items()}
    times: Times = {name: [] for name in steps}
    for _ in range(count):
        for name, step in steps.items():
            times[name].append(seconds(step, repeats[name]))
    return times


def _enough(step: Callable[[], Any]) -> int:
    """How many calls fill ``SECONDS``, a power of two, for the clocks of some systems are coarse."""
    repeats = 1
    seconds(step, 1)  # what is made once
    while repeats * seconds(step, repeats) < SECONDS:
        repeats *= 2
    return repeats


def seconds(step: Callable[[], Any], repeats: int) -> float:
    """Of one call, as the mean of so many."""
    start = time.thread_time()
    for _ in range(repeats):
        step()
    return (time.thread_time() - start) / repeats


def spread(values: list[float], scale: float = 1.0) -> Spread:
    """Median and quartiles, times ``scale``."""
    low, median, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * values
    return Spread(median * scale, low * scale, high * scale)


def ratio(values: list[float], others: list[float]) -> Spread:
    """Of what was timed in the same rounds."""
    return spread([value / other for value, other in zip(values, others, strict=True)])


@contextmanager
def one_thread() -> Iterator[None]:
    """Products on one thread, and afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
