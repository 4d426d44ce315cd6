"""What the rules of predictive coding share: errors settle, then every layer learns from its own.

    h_l = f_l(s_{l-1})                    the prediction of layer l from the state below, s_0 = x       (N, *out_l)
    eps_l = h_l - s_l  (l < L),  eps_L = y_hat - t                                                      (N, *out_l)
    E = sum_{l<L} |eps_l|^2 / 2 + N loss  the energy of a batch

A rule says how states and errors bring it down.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Ready, Refused, Rule, Trace, Weighted, ascend, learn, pull, slope
from altprop.core.loss import bare


class Settled(NamedTuple):
    """How far inference has come."""

    traces: list[Trace]  # one a layer, of its prediction from the state below
    eps: list[Tensor]  # (N, *out_l), the output's the last
    loss: Tensor


class Predictive(Rule):
    """The family: ``settle`` brings the energy down, ``steps`` times by a step of size ``eta``.

    Raises ``Refused`` for steps below 1, for an eta outside of (0, 1], at which errors no longer shrink, and for a norm
    of batches, whose statistics would move in every step."""

    family = "energy"
    refuses = (_NormBase,)

    def __init__(self, net: Any, *, steps: int, eta: float, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        if steps < 1 or not 0 < eta <= 1:
            what = f"steps={steps}, eta={eta} came; {type(self).__name__} takes at least one step"
            raise Refused(f"{what} and an eta above 0 and up to 1")
        self.steps, self.eta = steps, eta
        self.squares: Tensor | None = None

    @abstractmethod
    def settle(self, x: Tensor, now: Settled, t: Any) -> Iterator[Settled]:
        """Each time that layers are to learn, from ``now``, the pass of x (N, *in) without errors in hidden layers."""

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t, traces = self.targets(y, len(x)), ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, bare(t))
        first = Settled(traces, [*(torch.zeros_like(trace.h) for trace in traces[:-1]), e], loss)
        if isinstance(t, Weighted):
            loss = self.output_error(traces[-1].h, t)[0]
        for now in self.settle(x, first, bare(t)):
            for trace, eps in zip(reversed(now.traces), reversed(now.eps), strict=True):
                learn(trace, slope(trace, _counted(t, eps) / len(x)), ready)
        self.squares = torch.stack([now.loss, *(eps.square().sum() / len(x) for eps in now.eps)])  # (1 + L,)
        return loss

    def watch(self) -> dict[str, float | dict[str, float]]:
        """Of the last batch, as it had settled, the mean over samples: the energy E / N, and of each layer |eps_l|
        (the root of the mean square)."""
        if self.squares is None:
            return {}
        loss, *squares = self.squares.tolist()
        lengths = {layer.name: square**0.5 for layer, square in zip(self.layers, squares, strict=True)}
        return {"energy": loss + sum(squares[:-1]) / 2, "prediction_error": lengths}


def _counted(t: Any, eps: Tensor) -> Tensor:
    """eps (N, *out_l), where t has weights each sample's times its own: it settles as any, and counts so much."""
    return eps * t.w.view(-1, *[1] * (eps.dim() - 1)) if isinstance(t, Weighted) else eps


def down(trace: Trace, signal: Tensor) -> Tensor:
    """(N, *out_l) -> (N, *out_{l-1}): (signal * f'(a_l)) W_l, through what stands before W_l as well."""
    return pull(trace, slope(trace, signal))
