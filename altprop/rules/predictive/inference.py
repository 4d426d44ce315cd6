"""How the states of predictive coding settle: what follows them, predictions and slopes, and what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from altprop.core import forward
from altprop.rules.predictive.family import Settled, down

Inference = Callable[[Any, Tensor, Settled, Any], Iterator[Settled]]  # of (rule, x, the first pass, t)


def strict(rule: Any, x: Tensor, now: Settled, t: Any) -> Iterator[Settled]:
    """Predictions, slopes and what a layer learns from follow the states.

    As s_l = h_l - eps_l, its step is one of eps_l while h_l stays: small errors are no difference of large states."""
    for sweep in range(1, rule.steps):
        moved = _stepped(rule.eta, now, sweep)
        if rule.incremental:
            yield now  # states and weights move by the same errors
        changed = 0 if rule.incremental else max(1, len(now.traces) - sweep)  # the first layer that predicts anew
        traces = now.traces[:changed]
        for index in range(changed, len(now.traces)):
            s = now.traces[index - 1].h - moved[index - 1] if index else x  # (N, *out_{l-1})
            traces.append(forward(rule.layers[index], s, now.traces[index], reach=index > 0))
        loss, e = rule.output_error(traces[-1].h, t)
        follow = zip(moved, traces, now.traces, strict=False)
        now = Settled(traces, [*(eps if h is old else eps + (h.h - old.h) for eps, h, old in follow), e], loss)
    yield now


def fixed(rule: Any, x: Tensor, now: Settled, t: Any) -> Iterator[Settled]:
    """Predictions and slopes stay those of the forward pass, so that errors alone move."""
    for sweep in range(1, rule.steps):
        now = now._replace(eps=[*_stepped(rule.eta, now, sweep), now.eps[-1]])
    yield now


def exact(rule: Any, x: Tensor, now: Settled, t: Any) -> Iterator[Settled]:
    """Where ``fixed`` ends, in one sweep from the output down."""
    for index in range(len(now.traces) - 1, 0, -1):
        now.eps[index - 1] = down(now.traces[index], now.eps[index])
    yield now


def _stepped(eta: float, now: Settled, sweep: int) -> list[Tensor]:
    """eps_l + eta (down_l - eps_l) of the hidden layers; a sweep brings errors down by one layer, below they are 0."""
    *eps, _ = now.eps
    low = max(0, len(eps) - sweep)
    pairs = zip(eps[low:], now.traces[low + 1 :], now.eps[low + 1 :], strict=True)
    return eps[:low] + [own.lerp(down(trace, above), eta) for own, trace, above in pairs]


INFERENCE: dict[str, Inference] = {"strict": strict, "fixed": fixed, "exact": exact}
