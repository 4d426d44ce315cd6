"""A rule that learns while its states move, against backpropagation through time, step by step."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from altprop.core import Refused, Rule
from altprop.measure.probe import in_mode, undone


@runtime_checkable
class InTime(Protocol):
    """A rule whose gradient is a sum over time."""

    def in_time(self, x: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """{layer: (the rule's (T, *W), backpropagation's (T, *W))}."""


class Agreement(NamedTuple):
    """How far a rule's sequence is from backpropagation's, in one layer.

    rmse: the mean over weights of sqrt(mean_t (u - v)^2) / max(sqrt(mean_t u^2), sqrt(mean_t v^2)); 0 where both are
    zero.  sign_error: the share of entries, over weights and steps, whose signs differ.  error_at: |u - v| by step, in
    parts of the longest |u| or |v| of all steps; sign_error_at: the share by step."""

    rmse: float
    sign_error: float
    error_at: list[float]
    sign_error_at: list[float]


def agreement(own: Tensor, exact: Tensor) -> Agreement:
    """Of two sequences (T, *W)."""
    u, v = own.flatten(1).double(), exact.flatten(1).double()
    largest = u.square().mean(0).maximum(v.square().mean(0)).sqrt()  # (W,)
    apart = (u - v).square().mean(0).sqrt()
    rmse = (apart / largest).nan_to_num(0).mean()
    at = ((u - v).norm(dim=1) / u.norm(dim=1).maximum(v.norm(dim=1)).max()).nan_to_num(0)  # (T,)
    wrong = (u * v < 0).double()
    return Agreement(float(rmse), float(wrong.mean()), at.tolist(), wrong.mean(1).tolist())


def sequences(rule: Rule, x: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """``rule.in_time`` of this batch, in eval mode; the rule is left as it was.

    Raises ``Refused`` for a rule whose gradient is no sum over time.  Source: Ernoult, Grollier, Querlioz, Bengio and
    Scellier, NeurIPS 2019."""
    if not isinstance(rule, InTime):
        what = f"{type(rule).__name__} tells no sequence in time"
        raise Refused(f"{what}: this measure is for rules whose states are nudged, such as 'ep'")
    with undone(rule), in_mode(rule, training=False):
        return rule.in_time(x, y)


def against_time(rule: Rule, x: Tensor, y: Tensor) -> dict[str, Agreement]:
    """How far both ``sequences`` are from each other, of each layer of which the rule tells them; raises as they do."""
    return {name: agreement(own, exact) for name, (own, exact) in sequences(rule, x, y).items()}
