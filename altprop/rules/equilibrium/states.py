"""States that settle: what drives them, and the bond of each with the one below.

    u_l = P_l(W_l s_{n-1}) + b_l + W_{n+1}^T P_{n+1}^T s_{n+1},   s_l <- sigma_l(u_l)             (N, *out_l)

A layer's activation is split into the pools P that it begins with and sigma, all the rest.  P^T leads back to where
the largest were, at W_l s_{n-1} of the same moment.  What x drives in the first layer is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import pooling

from altprop.core import Layer, Trace, forward, pull
from altprop.core.layer import is_flat_linear, parts
from altprop.core.product import WORTHWHILE, linear
from altprop.core.steps import DROPOUTS, POINTWISE, Step, kind_of, run, vjp

aten = torch.ops.aten
POOLS = (pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd)
Bend = Callable[[Tensor], Tensor]
Nudge = Callable[[Tensor], Tensor]  # top state (N, *out) -> what is added to its u


class Bond(NamedTuple):
    """What joins the states of two layers at one moment."""

    trace: Trace  # of inlet and synapse alone
    pools: list[Step]
    up: Tensor  # (N, *out) P(W s + b)

    def unpooled(self, s: Tensor) -> Tensor:
        """P^T s, in the shape of the synapse's output."""
        for step in reversed(self.pools):
            s = _unpool(step, s)
        return s

    def down(self, s: Tensor, weight: Tensor | None) -> Tensor:
        """What s (N, *out) sends to the state below, through ``weight`` in the synapse's place."""
        return pull(self.trace, self.unpooled(s), weight=weight)


def split(layer: Layer) -> tuple[list[nn.Module], nn.Sequential]:
    """(The pools that its activation begins with, sigma)."""
    modules = parts(layer.activation)
    count = next((n for n, module in enumerate(modules) if not isinstance(module, POOLS)), len(modules))
    return modules[:count], nn.Sequential(*modules[count:])


class Sigma(NamedTuple):
    """sigma(u) = bends(gain u + shift), of which products do the first part on their way; a gain of 1 has no shift."""

    gain: float
    shift: float
    bends: list[Bend]


class Wire(NamedTuple):
    """A bond that is a matrix alone, as its products take it: times the gain of the layer that they end in."""

    bias: Tensor | None
    W: Tensor  # (out, in)
    B: Tensor  # (out, in)

    def drive(self, s: Tensor) -> Tensor:
        """s W^T + b (N, out); with samples side by side where that is twice as fast, for few units."""
        if len(self.W) * s.numel() >= WORTHWHILE:
            return linear(s, self.W, self.bias)
        return (self.W @ s.T if self.bias is None else torch.addmm(self.bias.unsqueeze(1), self.W, s.T)).T

    def send(self, s: Tensor, u: Tensor, spare: bool) -> Tensor:
        """u + s B (N, in), in the place of u where nobody else needs that."""
        if self.B.shape[1] * s.numel() >= WORTHWHILE:
            return linear(s, self.B.T).add_(u)
        return u.addmm_(s, self.B) if spare else torch.addmm(u, s, self.B)


class Circuit:
    """The layers whose states settle, for one batch x (N, *in); dropout's masks stay what they first are.

    feedback[n - 1] stands for W_l on the way down, where there is one.  in_turn: each layer moves after the one below
    has; else all move at once."""

    def __init__(self, layers: Sequence[Layer], x: Tensor, feedback: Any = (), in_turn: bool = False) -> None:
        self.bare = [Layer(layer.inlet, layer.synapse, nn.Sequential(), layer.name) for layer in layers]
        self.splits, self.in_turn = [split(layer) for layer in layers], in_turn
        self.B = [None, *(feedback if len(feedback) else [None] * len(layers))]
        self.inlets: list[Trace | None] = [None] * len(layers)  # whose masks later traces replay
        self.sigmas: list[Sigma] = []
        self.driven = [self.bond(0, x)] if layers else []
        self.before: list[Tensor] = []  # the states before the last step

    def bond(self, n: int, below: Tensor) -> Bond:
        """The bond of layer n with the state below it."""
        trace = forward(self.bare[n], below, self.inlets[n], reach=n > 0)
        self.inlets[n] = self.inlets[n] or trace
        up, pools = trace.h, []
        for module in self.splits[n][0]:
            up, step = _pool(module, up)
            pools.append(step)
        return Bond(trace, pools, up)

    def bonds_at(self, s: list[Tensor]) -> list[Bond]:
        """Those of all layers, where the states are s."""
        return [*self.driven, *(self.bond(n, s[n - 1]) for n in range(1, len(s)))]

    def settle(self, s: list[Tensor], steps: int, nudge: Nudge | None = None) -> list[Tensor]:
        """The states after so many steps from s, which is left as it is."""
        before, s, levels = s, list(s), range(len(s))
        curved = [n for n in levels if n and not self._is_matrix(n, s)]
        self.sigmas = self.sigmas or [_sigma(self.splits[n][1], s[n], n not in curved) for n in levels]
        bonds: list[Any] = [self.bond(n, s[n - 1]) if n in curved else self._wire(n) for n in levels]
        for step in range(steps):
            before = list(s)
            seen = s if self.in_turn else before
            for n in curved if step and not self.in_turn else ():
                bonds[n] = self.bond(n, s[n - 1])
            for n in levels:
                if self.in_turn and n in curved:
                    bonds[n] = self.bond(n, s[n - 1])
                u = self._current(n, seen, bonds, nudge)
                for bend in self.sigmas[n].bends:
                    u = bend(u)
                s[n] = u
        self.before = before
        return s

    def moved(self, s: list[Tensor]) -> Tensor:
        """(L,): by how much of its largest entry each state has changed in the last step, which led to s."""
        pairs = zip(s, self.before, strict=True)
        return torch.stack([(new - old).abs().amax() / new.abs().amax() for new, old in pairs])

    def _current(self, n: int, s: list[Tensor], bonds: list[Any], nudge: Nudge | None) -> Tensor:
        """What the bends of sigma get (N, *out_l), where nobody else needs it."""
        bond = bonds[n]
        u = bond.up if type(bond) is Bond else bond.drive(s[n - 1])
        if n + 1 < len(s):
            above = bonds[n + 1]
            if type(above) is Wire:
                return above.send(s[n + 1], u, spare=n > 0)
            drive = above.down(s[n + 1], self.B[n + 1])
        elif nudge:
            drive = nudge(s[n])
        else:
            return u if n else u.clone()
        gain = self.sigmas[n].gain
        return u.add_(drive, alpha=gain) if n else torch.add(u, drive, alpha=gain)  # an image stays as u lays it out

    def _is_matrix(self, n: int, s: list[Tensor]) -> bool:
        """Whether the bond of layer n with the state below it is no more than a matrix."""
        return s[n - 1].dim() == 2 and not self.splits[n][0] and is_flat_linear(self.bare[n], s[n].shape[1:])

    def _wire(self, n: int) -> Bond | Wire:
        """The bond of layer n with the input, or its matrix, as the products take it."""
        gain, shift, _ = self.sigmas[n]
        if n == 0:
            driven = self.driven[0]
            return driven if gain == 1 else driven._replace(up=driven.up * gain + shift)
        module: Any = self.bare[n].synapse
        W, bias, B = module.weight, module.bias, self.B[n]
        below = self.sigmas[n - 1].gain
        if gain != 1:
            bias = W.new_full((len(W),), shift) if bias is None else gain * bias + shift
        return Wire(bias, _times(gain, W), _times(below, W if B is None else B))


def _times(gain: float, W: Tensor) -> Tensor:
    return W if gain == 1 else gain * W


def _sigma(sigma: nn.Sequential, s: Tensor, fold: bool) -> Sigma:
    """What sigma does to a u of the shape of s, that may be overwritten; its gain apart where products ``fold`` it in.

    ``nets.activations.Affine`` says what it is.  Dropout's masks are drawn here."""
    first: Any = sigma[0] if len(sigma) else None
    if fold and all(hasattr(first, name) for name in ("gain", "shift", "bend")):
        return Sigma(first.gain, first.shift, [first.bend, *_bends(list(sigma)[1:], s)])
    return Sigma(1, 0, _bends(list(sigma), s))


def _bends(sigma: Sequence[nn.Module], s: Tensor) -> list[Bend]:
    """What sigma does to a u of the shape of s, that may be overwritten; dropout's masks are drawn here."""
    bends: list[Bend] = []
    for module in sigma:
        if kind_of(module) in POINTWISE:
            bends.append(partial(POINTWISE[kind_of(module)][0], module))
        elif kind_of(module) in DROPOUTS:
            mask = run(module, s)[1].saved
            bends += [] if mask is None else [mask.mul]
        else:
            bends.append(module)
    return bends


def _pool(module: Any, a: Tensor) -> tuple[Tensor, Step]:
    """As ``run``; the largest of images without a graph."""
    if type(module) is not nn.MaxPool2d:
        return run(module, a)
    pooled, places = aten.max_pool2d_with_indices(a, *_geometry(module))
    return pooled, Step(module, (a, places))


def _unpool(step: Step, s: Tensor) -> Tensor:
    if type(step.module) is not nn.MaxPool2d:
        return vjp(step, s)
    a, places = step.saved
    return aten.max_pool2d_with_indices_backward(s, a, *_geometry(step.module), places)


def _geometry(module: Any) -> tuple[list[int], list[int], list[int], list[int], bool]:
    def pair(n: Any) -> list[int]:
        return [n, n] if isinstance(n, int) else list(n)

    kernel, stride, padding, dilation = map(pair, (module.kernel_size, module.stride, module.padding, module.dilation))
    return kernel, stride, padding, dilation, module.ceil_mode
