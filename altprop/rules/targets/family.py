"""What the rules of targets share: a target for each layer, and a step towards it by the layer alone.

    h_l = f_l(h_{l-1} W_l^T + b_l)                                                                (N, *out_l)
    d_l = t_l - h_l                          t_l the layer's target, made of that of the layer above
    W_l.grad += ((-pace d_l / N) * f'_l(a_l))^T h_{l-1}     the gradient of pace |t_l - h_l|^2 / 2N
    W_L.grad += ((e / N) * f'_L(a_L))^T h_{L-1}             e = y_hat - t                         (N, C)

The weight of a sample multiplies its step, not its target.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from altprop.core import Ready, Rule, Trace, Weighted, ascend, learn, slope


class Targets(Rule):
    """The family: ``aim`` finds the target of the last hidden layer, ``lower`` that of the layer below.

    Raises ``Refused`` for a layer whose activation changes the shape of what it gets."""

    family = "target"
    pace: float = 1.0

    def __init__(self, net: Any, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        self.check_shapes(self.layers)

    @abstractmethod
    def aim(self, last: Trace, below: Tensor, e: Tensor, delta: Tensor) -> Tensor:
        """d (N, *out) of the last hidden layer, of activity ``below``, by the error e (N, C) of each sample, which at
        the last layer's synapse is delta (N, C)."""

    @abstractmethod
    def lower(self, index: int, trace: Trace, below: Tensor, d: Tensor) -> Tensor:
        """d (N, *out) of the layer below hidden layer ``index``, whose trace and d are given."""

    @abstractmethod
    def fit(self, index: int, trace: Trace, below: Tensor) -> None:
        """What leads down from layer ``index`` learns, if it does, by the activity (N, *out) below."""

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces, t, N = ascend(self.layers, x, reach=1), self.targets(y, len(x)), len(x)
        loss, e = self.output_error(traces[-1].h, t)
        trace = traces.pop()
        delta, d = slope(trace, e / N), e  # (N, C)
        if traces:
            d = self.aim(trace, traces[-1].h, apart(e, t), apart(delta * N, t))
            self.fit(len(traces), trace, traces[-1].h)
        learn(trace, delta, ready)
        while traces:
            trace = traces.pop()
            delta = slope(trace, together(d, t) * (-self.pace / N))  # (N, *out_l), at a_l
            if traces:
                d = self.lower(len(traces), trace, traces[-1].h, d)
                self.fit(len(traces), trace, traces[-1].h)
            learn(trace, delta, ready)
        return loss


def together(d: Any, t: Any) -> Tensor:
    """d (N, *out), times the weight of each sample, where t has weights."""
    return d * _rows(t.w, d) if isinstance(t, Weighted) else d


def apart(e: Tensor, t: Any) -> Tensor:
    """e (N, *out) without the weight that it has of each sample; a sample of weight 0 is left at 0."""
    return e / _rows(torch.where(t.w == 0, 1, t.w), e) if isinstance(t, Weighted) else e


def _rows(w: Tensor, like: Tensor) -> Tensor:
    return w.view(-1, *(1 for _ in like.shape[1:]))
