"""Activations of competitive nets, which torch does not have."""

from __future__ import annotations

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
