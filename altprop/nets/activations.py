"""Activations of competitive nets and of nets whose states settle, which torch does not have."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn


class RePU(nn.Module):
    """The rectified polynomial unit, relu(a)^power."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, a: Tensor) -> Tensor:
        h = a.relu()
        return h if self.power == 1 else h.pow_(self.power) if not h.requires_grad else h.pow(self.power)

    def extra_repr(self) -> str:
        return f"power={self.power:g}"


class Triangle(nn.Module):
    """relu(a - mean of a over the units)^power; units are dimension 1 (Coates, Ng and Lee 2011)."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, a: Tensor) -> Tensor:
        h = (a - a.mean(1, keepdim=True)).relu()
        return h if self.power == 1 else h.pow_(self.power) if not h.requires_grad else h.pow(self.power)

    def extra_repr(self) -> str:
        return f"power={self.power:g}"


class Softmax(nn.Module):
    """softmax(inverse_temperature a) over the units, dimension 1."""

    def __init__(self, inverse_temperature: float = 1.0) -> None:
        super().__init__()
        self.inverse_temperature = inverse_temperature

    def forward(self, a: Tensor) -> Tensor:
        return (self.inverse_temperature * a).softmax(1)

    def extra_repr(self) -> str:
        return f"inverse_temperature={self.inverse_temperature:g}"


class Affine(nn.Module):
    """bend(gain a + shift); a product before it may do all but the bend on its way."""

    gain: float
    shift: float

    def forward(self, a: Tensor) -> Tensor:
        return self.bend(torch.add(a.new_full((), self.shift), a, alpha=self.gain))

    @abstractmethod
    def bend(self, u: Tensor) -> Tensor:
        """Of u, which it may overwrite."""


class ShiftedSigmoid(Affine):
    """sigmoid(4 (a - 1/2)), of slope 1 in the middle of [0, 1]: ``mysig`` of the code of Laborieux et al. 2021."""

    gain, shift = 4.0, -2.0

    def bend(self, u: Tensor) -> Tensor:
        return u.sigmoid_()


class WideHardSigmoid(Affine):
    """a / 2 cut off at 0 and 1: ``my_hard_sig`` there."""

    gain, shift = 0.5, 0.0

    def bend(self, u: Tensor) -> Tensor:
        return u.clamp_(0, 1)
