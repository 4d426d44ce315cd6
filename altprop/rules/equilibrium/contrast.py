"""What the weights of one layer learn from the ends of the nudged phases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Feedback, Rule, accumulate, correlate
from altprop.core.layer import is_convolution
from altprop.rules.equilibrium.states import Bond


class End(NamedTuple):
    """Where a phase has ended, in one layer."""

    s: Tensor  # (N, *out)
    bond: Bond

    @property
    def x(self) -> Tensor:
        """(N, *in): what the synapse hears of the state below."""
        return self.bond.trace.x

    @property
    def a(self) -> Tensor:
        """P^T s, in the shape of the synapse's output."""
        return self.bond.unpooled(self.s)


def contrast(plus: End, minus: End, star: End, gamma: Any, B: Tensor | None) -> None:
    """W.grad += (a'^T x' - a^T x) / gamma, B's too; of ends that differ little, without losing what they differ in."""
    module: Any = plus.bond.trace.layer.synapse
    a, b, x, z = minus.a, plus.a, minus.x, plus.x
    less = (a - b) / gamma
    if x is z:  # the first layer, whose input does not move
        increment = correlate(module, x, less)
    else:
        increment = correlate(module, torch.cat([x + z, x - z]), torch.cat([less, (a + b) / gamma])) / 2
    _grow(B, increment.clone() if B is not None else increment)
    _grow(module.weight, increment)
    _grow_bias(module, less)


def one_sided(plus: End, minus: End, star: End, gamma: Any, B: Tensor | None) -> None:
    """W.grad += (s' - s)^T x* / gamma,  B.grad += s*^T (x' - x) / gamma."""
    module: Any = star.bond.trace.layer.synapse
    signal = star.bond.unpooled((minus.s - plus.s) / gamma)  # (N, *out)
    if B is not None:
        _grow(B, correlate(module, (minus.x - plus.x) / gamma, star.a))
    _grow(module.weight, correlate(module, star.x, signal))
    _grow_bias(module, signal)


def energies(ends: list[End]) -> Tensor:
    """(L,): 1/2 |s_l|^2 - <s_l, P(W_l s_{l-1}) + b_l>, the mean over samples."""
    return torch.stack([_dot(s, s) / (2 * len(s)) - _dot(s, bond.up) / len(s) for s, bond in ends])


def share(rule: Rule, drawn: Feedback) -> nn.ParameterList:
    """Each B beside the layer whose weight it stands for."""
    feedback = nn.ParameterList(drawn)
    for index, B in enumerate(feedback, 1):
        rule.layers[index] = replace(rule.layers[index], beside=nn.ParameterList([B]))
    return feedback


def _dot(s: Tensor, u: Tensor) -> Tensor:
    return torch.dot(s.flatten(), u.flatten())


def _grow(parameter: Tensor | None, increment: Tensor) -> None:
    if parameter is not None and parameter.requires_grad:
        accumulate(parameter, increment)


def _grow_bias(module: Any, signal: Tensor) -> None:
    unit = 1 if is_convolution(module) else signal.dim() - 1
    if module.bias is not None:
        _grow(module.bias, signal.sum([axis for axis in range(signal.dim()) if axis != unit]))
