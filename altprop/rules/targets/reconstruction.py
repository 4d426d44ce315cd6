"""Decoders that learn to undo their layers, from a pass of each layer on noise around its input."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from altprop.core import Feedback, Refused, Trace
from altprop.rules.targets.decoded import Decoded
from altprop.rules.targets.inverse import Inverse, noisy, offset

INVERSE = {"preserving": True, "denoising": False}  # whether the noise is to be found again


class Reconstructing(Decoded):
    """offsets[l] is c of the decoder that ends at layer l; features[0] (K, n_{L-1}) and auxiliary[0], where a rule has
    them, are what makes z of the last hidden layer, and its U.  inverse: see ``INVERSE``, else ``Refused``.

    Targets come down by differences, t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l), unless a rule says else."""

    def __init__(self, net: Any, *, inverse: str, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        if inverse not in INVERSE:
            what = f"inverse={inverse!r} came; {type(self).__name__} takes"
            raise Refused(f"{what} {' or '.join(map(repr, INVERSE))}")
        self.preserves = INVERSE[inverse]
        pairs = zip(self.layers, self.shapes, self.V, strict=False)
        self.offsets = nn.ParameterList(offset(layer, shapes.h, self.like) for layer, shapes, _ in pairs)
        self.features, self.auxiliary = Feedback(), nn.ParameterList()
        self.stand_beside([self.V, self.offsets])

    def aim_by_label(self, last: Trace, below: Tensor, e: Tensor) -> Tensor:
        """``aim`` where the output has a decoder, whose target is the label."""
        index = len(self.layers) - 1
        return self.inverse(index, below).difference(last, self.heard(index, last.h), -e)

    def lower(self, index: int, trace: Trace, below: Tensor, d: Tensor) -> Tensor:
        return self.inverse(index, below).difference(trace, trace.h, d)

    def inverse(self, index: int, h: Tensor) -> Inverse:
        """The decoder of layer ``index``, counted from 0, above activity h (N, *out)."""
        f, own = self.bends[index - 1], (self.V[index - 1], self.offsets[index - 1])
        if index < len(self.layers) - 1 or not len(self.auxiliary):
            return Inverse(*own, f)
        return Inverse(*own, f, f(h.flatten(1) @ self.features[0].T), self.auxiliary[0])

    def heard(self, index: int, h: Tensor) -> Tensor:
        """What the decoder of layer ``index`` hears of its activity h (N, *out): of the last layer's it is y_hat."""
        if index < len(self.layers) - 1:
            return h
        t = h.new_zeros(h.shape).index_fill_(1, h.new_zeros(1).long(), 1)  # any class: y_hat = e + t
        return self.loss.error(h, t)[1] + t

    def invert(self, index: int, trace: Trace, below: Tensor) -> Tensor:
        up, h = noisy(trace, below, self.noise)
        goal, inverse = h if self.preserves else below, self.inverse(index, h)
        o = self.heard(index, up.h)  # (N, *out_l)
        r, steps = inverse.value(up, o)
        missed = r - goal  # (N, *out_{l-1})
        inverse.learn(up, o, steps, missed / len(below))
        return missed.square().sum() / (2 * len(below))
