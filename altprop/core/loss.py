"""Losses, as a rule sees them: the value, and the output error e = y_hat - t of every sample.

    cross_entropy         y_hat = softmax(z)   L = -1/N sum t log y_hat
    binary_cross_entropy  y_hat = sigmoid(z)   L = -1/N sum t log y_hat + (1 - t) log(1 - y_hat)
    mse                   y_hat = z            L = 1/2N sum (z - t)^2

With each of these heads dL/dz = e / N exactly, so one error serves every rule.  Targets of cross_entropy whose row does
not sum to one weigh their sample: e = y_hat sum t - t.  A ``Weighted`` y does so for every loss, w (N,) being what each
sample counts: L = 1/N sum w l and e = w (y_hat - t), so that dL/dz stays e / N; a rule that sends t sends w t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.limits import Refused


@dataclass(frozen=True, eq=False)
class Weighted:
    """Labels (N,) or targets (N, C), and the weight (N,) of every sample, of mean 1 over the training part."""

    y: Tensor
    w: Tensor

    def __len__(self) -> int:
        return len(self.y)

    @property
    def rows(self) -> Tensor:
        """w (N, 1), which multiplies a row a sample."""
        return self.w.unsqueeze(1)


def _cross_entropy(z: Tensor, t: Tensor, w: Tensor | None = None) -> tuple[Tensor, Tensor]:
    log_p = z.log_softmax(1)
    t = t if w is None else t * w
    return -(t * log_p).sum() / len(z), log_p.exp().mul_(t.sum(1, keepdim=True)).sub_(t)


def _binary_cross_entropy(z: Tensor, t: Tensor, w: Tensor | None = None) -> tuple[Tensor, Tensor]:
    e = z.sigmoid().sub_(t)
    return F.binary_cross_entropy_with_logits(z, t, w, reduction="sum") / len(z), e if w is None else e * w


def _mse(z: Tensor, t: Tensor, w: Tensor | None = None) -> tuple[Tensor, Tensor]:
    e = z - t
    weighted = e if w is None else e * w
    return (e * weighted).sum() / (2 * len(z)), weighted


class Loss(NamedTuple):
    """One loss and its head."""

    error: Callable[..., tuple[Tensor, Tensor]]  # (z (N, C), t (N, C), w (N, 1) or None) -> (loss, e (N, C))
    refuses: tuple[type[nn.Module], ...]  # endings of a net that would apply the head twice


HEADS = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.LogSigmoid, nn.Softmin)
LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(_cross_entropy, HEADS), "binary_cross_entropy": Loss(_binary_cross_entropy, HEADS),
    "mse": Loss(_mse, ()),
}  # fmt: skip


def find_loss(name: str, last: nn.Module | None) -> Loss:
    """The loss of that name; raises ``Refused`` where there is none, or where the net's last module is its head."""
    if name not in LOSSES:
        raise Refused(f"unknown loss '{name}'; there are {', '.join(LOSSES)}")
    if isinstance(last, LOSSES[name].refuses):
        what = f"the net ends in {type(last).__name__}, but loss '{name}' takes logits and applies it itself"
        raise Refused(f"{what}: remove the {type(last).__name__}, or use loss='mse'")
    return LOSSES[name]


def targets(y: Tensor, samples: int, classes: int, dtype: torch.dtype) -> Tensor:
    """Class labels (N,) or ready targets (N, C) as a matrix (N, C) of that dtype; ``Refused`` where they do not fit."""
    if len(y) != samples:
        raise Refused(f"{len(y)} labels or targets came for {samples} samples: give one each")
    if y.dim() == 1 and not y.is_floating_point():
        t = torch.zeros(len(y), classes, dtype=dtype, device=y.device)
        try:
            return t.scatter_(1, y.long().unsqueeze(1), 1)
        except (RuntimeError, IndexError) as error:
            what = f"labels from {int(y.min())} to {int(y.max())} came, but the net has {classes} outputs"
            raise Refused(f"{what}: labels must be 0 to {classes - 1}") from error
    t = y.unsqueeze(1) if y.dim() == 1 else y
    if t.dim() != 2 or t.shape[1] != classes:
        what = f"targets of shape {tuple(y.shape)} came for {classes} outputs"
        raise Refused(f"{what}: give (N,) labels or (N, {classes})")
    return t.to(dtype)


def weighed(t: Tensor | Weighted, signal: Tensor | None = None) -> Tensor:
    """t (N, C), or a signal in its place, with each row times the weight of its sample, where t has weights."""
    signal = bare(t) if signal is None else signal
    return signal * t.rows if isinstance(t, Weighted) else signal


def bare(t: Tensor | Weighted) -> Tensor:
    """t without the weights it may have."""
    return t.y if isinstance(t, Weighted) else t
