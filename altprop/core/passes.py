"""The two passes that most rules are made of: up through all layers, and down again layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from altprop.core.layer import Layer
from altprop.core.local import Trace, forward, pull, slope


def ascend(layers: Sequence[Layer], x: Tensor, *, reach: int | None = None) -> list[Trace]:
    """Every layer's trace, from x (N, *in) up.  Signals and tangents can pass the inlets from layer ``reach`` on, and
    those that learn; without ``reach`` none."""
    traces: list[Trace] = []
    for layer in layers:
        passes = reach is not None and (len(traces) >= reach or layer.inlet_learns)
        traces.append(forward(layer, x, reach=passes))
        x = traces[-1].h
    return traces


def descend(traces: list[Trace], signal: Tensor, feedback: Any = None) -> Iterator[tuple[Trace, Tensor]]:
    """(trace, delta (N, *out_l)) of each layer, from signal (N, C) at the output down, for the rule to learn from:

        delta_l = signal_l * f'(a_l),   signal_{l-1} = delta_l B_l

    feedback[l-1] is B_l; without feedback B_l = W_l, which is weight transport.  The signal has come down through a
    layer before that layer is handed out, so that it may learn at once.  ``traces`` are used up: who deletes what was
    handed out before asking for more holds no activity that nothing below needs."""
    while traces:
        trace = traces.pop()
        delta = slope(trace, signal)  # (N, *out_l), at a_l
        del signal
        if traces:
            B = feedback[len(traces) - 1] if feedback is not None else None
            signal = pull(trace, delta, weight=B)  # (N, *out_{l-1}), before W_l changes
        elif trace.layer.inlet_learns:
            pull(trace, delta)
        yield trace, delta
