"""Dropout of a population: every member sees the masks of the first, so that losses differ by weights alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from altprop.core import Trace
from altprop.core.steps import DROPOUTS, Step, kind_of, run

Masks = dict[nn.Module, Step]  # of every dropout module, the step that drew its mask


def drops(module: nn.Module) -> bool:
    """Whether it is dropout."""
    return kind_of(module) in DROPOUTS


def masks_of(traces: Sequence[Trace]) -> Masks:
    """What one pass has drawn."""
    steps = (step for trace in traces for step in (*trace.inlet, *trace.activation))
    return {step.module: step for step in steps if drops(step.module)}


def drop(module: nn.Module, h: Tensor, masks: Masks, N: int) -> Tensor:
    """h (M N, *) of M members, by the mask (N, *) of that module, which is drawn where there is none yet."""
    if module not in masks:
        _, masks[module] = run(module, h[:N])
    mask = masks[module].saved
    return h if mask is None else (h.unflatten(0, (-1, N)) * mask).flatten(0, 1)
