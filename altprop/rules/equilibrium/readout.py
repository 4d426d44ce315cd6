"""Where the output is read, and how it nudges the states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from altprop.core import Ready, Rule, accumulate, forward, learn, pull, slope
from altprop.rules.equilibrium.states import Nudge


class Readout(ABC):
    """Of one batch: ``output`` is that of the states s, or of x (N, *in) where the net has none."""

    output: Any  # (N, C)

    @abstractmethod
    def __init__(self, rule: Rule, s: list[Tensor], x: Tensor) -> None: ...

    @abstractmethod
    def nudge(self, t: Any, beta: Any) -> Nudge:
        """-beta dL/ds of the top state s."""

    @abstractmethod
    def learn(self, ends: list[list[Tensor]], t: Any, ready: Ready | None) -> None:
        """What is not part of Phi learns from the states in which the nudged phases have ended."""


class Inside(Readout):
    """The top state is the output."""

    def __init__(self, rule: Rule, s: list[Tensor], x: Tensor) -> None:
        self.rule, self.output = rule, s[-1]

    def nudge(self, t: Any, beta: Any) -> Nudge:
        return lambda s: -beta * self.rule.output_error(s, t)[1]

    def learn(self, ends: list[list[Tensor]], t: Any, ready: Ready | None) -> None:
        pass


class Apart(Readout):
    """z = W_L s_{L-1} + b_L, which is no state: its error comes down by W_L, or by B where there is one."""

    def __init__(self, rule: Rule, s: list[Tensor], x: Tensor) -> None:
        self.rule, self.layer, self.x = rule, rule.layers[-1], x
        self.B = rule.feedback[-1] if len(rule.feedback) else None
        self.first = forward(self.layer, s[-1] if s else x)
        self.output = self.first.h

    def nudge(self, t: Any, beta: Any) -> Nudge:
        def current(s: Tensor) -> Tensor:
            trace = forward(self.layer, s, self.first, reach=True)
            delta = slope(trace, -beta * self.rule.output_error(trace.h, t)[1])  # (N, *out_L)
            return pull(trace, delta, weight=self.B)

        return current

    def learn(self, ends: list[list[Tensor]], t: Any, ready: Ready | None) -> None:
        for s in ends:
            trace = forward(self.layer, s[-1] if s else self.x, self.first)
            e = self.rule.output_error(trace.h, t)[1] / (len(self.x) * len(ends))
            increment = learn(trace, slope(trace, e))
            if self.B is not None and increment is not None:
                accumulate(self.B, increment.clone() if self.B.grad is None else increment)
        if ready is not None:
            ready(self.layer)


READOUTS: dict[str, type[Readout]] = {"inside": Inside, "apart": Apart}
