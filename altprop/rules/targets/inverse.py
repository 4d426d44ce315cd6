"""A decoder that undoes a layer, g_l(o) = f_{l-1}(o V_l + c_l), or + z U as well, and what it learns from.

o     what the layer above is, or another                                                       (N, *out_l)
o V   as a signal comes down through the layer, with V_l (*W_l) in the place of W_l: through a convolution it is a
      transposed convolution, and behind a pool it returns to the places that the pool has taken     (N, *out_{l-1})
f     the nonlinearities of the layer below, without its norms and dropout

R_l = |r_l - goal|^2 / 2N,     r_l = g_l(f_l(h_{l-1} + eps)),  eps ~ N(0, noise^2)
      goal = h_{l-1} + eps ("preserving"), or h_{l-1} ("denoising")
V_l.grad += f_l^T u,   c_l.grad += sum u,   u = (r_l - goal) * f'_{l-1} / N
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Layer, Trace, accumulate, correlate, forward, pull
from altprop.core.layer import is_convolution, parts
from altprop.core.local import arranged
from altprop.core.product import outer
from altprop.core.steps import Step, bends, jvp, run_all, vjp


class Inverse(NamedTuple):
    """One decoder."""

    V: Tensor  # (*W_l)
    c: Tensor | None  # (channels, 1, ...) of a convolution below, else (units,)
    f: nn.Sequential
    z: Tensor | None = None  # (N, K): what it hears besides
    U: Tensor | None = None  # (K, n_{l-1}), which brings that to the layer below

    def difference(self, trace: Trace, o: Tensor, d: Tensor) -> Tensor:
        """g(o + d) - g(o) (N, *out_{l-1}), along the pass that ``trace`` is of."""
        risen = pull(trace, d, weight=self.V)
        if not len(self.f):
            return risen
        a = self._before(trace, o)
        return self.f(a + risen) - self.f(a)

    def value(self, trace: Trace, o: Tensor) -> tuple[Tensor, list[Step]]:
        """(g(o) (N, *out_{l-1}), what a signal needs to come back through f)."""
        return run_all(self.f, self._before(trace, o), fresh=True)

    def learn(self, trace: Trace, o: Tensor, steps: list[Step], signal: Tensor) -> None:
        """Add the gradients that a signal (N, *out_{l-1}) at g(o) gives."""
        for step in reversed(steps):
            signal = vjp(step, signal)
        if self.c is not None:
            accumulate(self.c, signal.sum_to_size(self.c.shape))
        if self.z is not None and self.U is not None:
            accumulate(self.U, outer(self.z, signal.flatten(1)))
        accumulate(self.V, spread(trace, o, signal))

    def _before(self, trace: Trace, o: Tensor) -> Tensor:
        a = pull(trace, o, weight=self.V)
        a = a if self.c is None else a + self.c
        return a if self.z is None or self.U is None else a + (self.z @ self.U).view_as(a)


def spread(trace: Trace, o: Tensor, signal: Tensor) -> Tensor:
    """The gradient (*W_l) at V of a signal (N, *out_{l-1}) at o V: o^T signal, through the inlet between."""
    for step in trace.inlet:
        signal = jvp(step, signal)
    return correlate(trace.layer.synapse, arranged(signal), o)


def offset(layer: Layer, h: torch.Size, like: Tensor) -> Tensor:
    """c of zeros for the decoder that ends at this layer's activity, of shape h: one a channel, or one a unit."""
    shape = (h[0], *(1 for _ in h[1:])) if is_convolution(layer.synapse) else h[-1:]
    return like.new_zeros(shape)


def nonlinearity(layer: Layer) -> nn.Sequential:
    """f of this layer, without what else stands in its activation."""
    return nn.Sequential(*(module for module in parts(layer.activation) if bends(module)))


def noisy(trace: Trace, below: Tensor, noise: float) -> tuple[Trace, Tensor]:
    """(A pass of the layer on h + eps, of the same dropout masks; h + eps), h (N, *out_{l-1}) being the activity
    ``below``."""
    h = below + noise * torch.randn_like(below)
    return forward(trace.layer, h, like=trace, reach=True), h
