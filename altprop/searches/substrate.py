"""A stack of dense layers whose units have places, painted by nets that are asked about pairs of places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from altprop.core import Population, Refused
from altprop.limits import nearest, shown

ROOM = 2**20  # answers of all painters at a time
SUBSTRATE: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU, "none": nn.Identity}


def grid(rows: int, columns: int) -> Tensor:
    """(rows * columns, 2), places (x, y) from -1 to 1, row by row; 0 where there is only one."""
    ys, xs = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in (rows, columns))
    return torch.stack([xs.repeat(rows), ys.repeat_interleave(columns)], 1)


class Substrate:
    """layers: places (n_l, d) of the units of each layer, inputs first; bias: whether units have one; activation: of
    every layer but the inputs.

    A painter gets 2 d numbers, the places of source and target, and answers ``outputs``: a weight for each pair of
    neighbouring layers, and then a bias for each layer, of which the source is the middle, 0.

    Raises ``Refused`` for places that do not fit, and an unknown activation."""

    def __init__(self, layers: Sequence[Tensor], bias: bool, activation: str) -> None:
        self.layers = [torch.as_tensor(places, dtype=torch.float32) for places in layers]
        shapes = [tuple(places.shape) for places in self.layers]
        if (
            len(shapes) < 2
            or any(len(shape) != 2 or not shape[0] for shape in shapes)
            or len({s[1] for s in shapes}) > 1
        ):
            what = f"layers of places {shown(shapes)} came"
            raise Refused(
                f"{what}: give two layers or more, (units, d) each of the same d, as grid(rows, columns) does"
            )
        if activation not in SUBSTRATE:
            raise Refused(f"activation={shown(activation)} came{nearest(str(activation), SUBSTRATE)}")
        self.bias, self.activation = bias, activation
        self.inputs, self.outputs = 2 * shapes[0][1], (len(shapes) - 1) * (1 + bias)

    def paint(self, painters: Population, least: float, largest: float) -> Stack:
        """P painters -> P nets."""
        weights, biases = [], []
        for at, (before, after) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            pairs = torch.cat(
                [before.repeat(len(after), 1), after.repeat_interleave(len(before), 0)], 1
            )  # target by target
            w = expressed(asked(painters, pairs, at), least, largest)  # (P, out * in)
            weights.append(w.reshape(len(w), len(after), len(before)))
            if self.bias:
                middle = torch.cat([torch.zeros_like(after), after], 1)
                biases.append(expressed(asked(painters, middle, len(self.layers) - 1 + at), least, largest))
        return Stack(weights, biases, self.activation)


def asked(painters: Population, places: Tensor, output: int) -> Tensor:
    """places (N, 2 d) -> one output of each painter, (P, N); so many places at a time as there is room for."""
    return torch.cat([painters(some)[:, :, output] for some in places.split(max(1, ROOM // len(painters)))], 1)


def expressed(w: Tensor, least: float, largest: float) -> Tensor:
    """No weight up to ``least`` in size; from there to 1 it goes from 0 to ``largest``."""
    return w.sign() * ((w.abs().clamp(max=1) - least).clamp(min=0) * (largest / (1 - least)))


class Stack:
    """P nets as one: weights (P, out, in) of each layer, biases (P, out) or none."""

    def __init__(self, weights: list[Tensor], biases: list[Tensor], activation: str) -> None:
        self.weights, self.biases, self.f = weights, biases, SUBSTRATE[activation]()

    def __len__(self) -> int:
        return len(self.weights[0])

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """x (N, in) for all, or (P, N, in) for each its own -> (P, N, C)."""
        P, inputs = len(self), self.weights[0].shape[2]
        if x.ndim not in (2, 3) or x.shape[-1] != inputs or (x.ndim == 3 and len(x) != P):
            raise Refused(f"x of shape {tuple(x.shape)} came to {P} nets: give (N, {inputs}), or ({P}, N, {inputs})")
        h = x.to(self.weights[0])
        for at, W in enumerate(self.weights):
            h = h @ W.mT  # (P, N, out)
            h = self.f(h + self.biases[at][:, None] if self.biases else h)
        return h

    def reset(self) -> None:
        """Such nets have no states."""

    def net(self, row: int) -> nn.Sequential:
        """One of them as an ordinary module."""
        modules: list[nn.Module] = []
        for at, W in enumerate(self.weights):
            like = {"bias": bool(self.biases), "device": W.device, "dtype": W.dtype}
            linear = nn.utils.skip_init(nn.Linear, W.shape[2], W.shape[1], **like)
            biases = {"bias": self.biases[at][row]} if self.biases else {}
            linear.load_state_dict({"weight": W[row], **biases})
            modules += [linear, type(self.f)()]
        return nn.Sequential(*modules).eval()
