"""What the burst rules share: the way down, and how bursts come through a layer's feedback."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import (
    Claims,
    Ready,
    Refused,
    Rule,
    Suits,
    Trace,
    accumulate,
    ascend,
    bare,
    draw_feedback,
    learn,
    pull,
    slope,
    weighed,
)

FEEDBACKS = ("random", "symmetric", "learned")
SATURATED = 60.0  # beyond which a burst probability is 0 or 1 in any precision, and its exponential still a number


class Signal(NamedTuple):
    """What a layer of N samples sends down, each (N, *out_l), and each sample's part of the mean."""

    delta: Tensor  # -(b^t - b) / p0: the change of its burst rate by the teacher
    e: Tensor  # its event rate
    b: Tensor  # its burst rate without a teacher
    share: Tensor  # (N, 1): 1 / N, times the sample's weight, which multiplies what is learned and no event


class Bursts(Rule):
    """The family: feedback[l], of the shape of layer l+1's weight, is Y, by which bursts of layer l+1 reach layer l."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="backward", signal="layerwise", trains=("synapse",))
    suits = Suits(lr=0.1, activation="sigmoid", init="radius3.6")
    p0: float  # the burst probability of the output without a teacher

    def __init__(
        self, net: Any, *, feedback: str, init: str, scale: float, seed: int, **arguments: Any
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if feedback not in FEEDBACKS:
            raise Refused(f"feedback={feedback!r} came; {type(self).__name__} takes {' or '.join(FEEDBACKS)}")
        self.check_shapes(self.layers)
        shapes = self.layerwise_shapes
        if feedback == "symmetric":
            self.claims = replace(self.claims, weight_transport="full")
            return
        self.feedback = draw_feedback(shapes, init=init, scale=scale, seed=seed, like=self.like)
        if feedback == "learned":
            self.feedback = nn.ParameterList(self.feedback)
            self.claims = replace(self.claims, learns=("feedback", *self.claims.learns))
            for index, Y in enumerate(self.feedback, 1):
                self._place(index, Y)

    @abstractmethod
    def apical(self, index: int, trace: Trace, above: Trace, signal: Signal) -> Signal:
        """What hidden layer ``index`` sends down, of what the layer above it does."""

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces, t = ascend(self.layers, x, reach=1), self.targets(y, len(x))
        output = traces[-1].h
        loss, e = self.output_error(output, t)[0], self.loss.error(output, bare(t))[1]
        y_hat, share = e + bare(t), weighed(t, torch.full_like(output[:, :1], 1 / len(x)))
        signal = Signal(slope(traces[-1], e), y_hat, self.p0 * y_hat, share)
        while traces:
            trace, delta = traces.pop(), signal.delta
            if traces:
                signal = self.apical(len(traces) - 1, traces[-1], trace, signal)  # before W and Y change
            increment = learn(trace, delta * spread(share, delta))
            if traces and "feedback" in self.claims.learns and increment is not None:
                Y = self.feedback[len(traces) - 1]
                accumulate(Y, increment.clone() if Y.grad is None else increment)
            if ready is not None:
                ready(trace.layer)
            del trace, delta
        return loss

    def come(self, index: int, above: Trace, rates: Tensor) -> Tensor:
        """rates (N, *out_{l+1}) Y -> (N, *out_l), at h_l."""
        return pull(above, rates, weight=self.feedback[index] if len(self.feedback) else None)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        own = list(self.feedback) if "feedback" in self.claims.learns else []
        return [{**group, "params": [*group["params"], *own]} for group in super().param_groups(lr)]

    def _place(self, index: int, parameter: nn.Parameter) -> None:
        """``parameter`` beside the layer of that index, with what stands there."""
        layer = self.layers[index]
        own = [] if layer.beside is None else layer.beside.parameters()
        self.layers[index] = replace(layer, beside=nn.ParameterList([*own, parameter]))


def gain(trace: Trace, current: Tensor) -> Tensor:
    """current h(e), h = f'(a) / e: how a dendrite's current (N, *out_l) drives bursts; 0 where there are no events."""
    driven = slope(trace, current) / trace.h
    return torch.where(trace.h == 0, 0.0, driven).clamp(-SATURATED, SATURATED)


def spread(share: Tensor, like: Tensor) -> Tensor:
    """share (N, 1) as it multiplies a tensor (N, ...)."""
    return share.view(-1, *(1 for _ in like.shape[1:]))
