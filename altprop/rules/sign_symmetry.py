"""Sign symmetry: feedback alignment whose matrices know the sign of every weight, one bit each, and not its size.

    delta_L = e / N                              e = y_hat - t                            (N, C)
    delta_l = (delta_{l+1} B_{l+1}) * f'(a_l)    B_l = |M_l| * sign(W_l), read anew every batch; sign(0) = 0
    W_l.grad += delta_l^T h_{l-1}

    uSF     |M_l| = sqrt(2 / (fan_in + fan_out)), the same for every weight of the layer
    frSF    |M_l| drawn once
    brSF    |M_l| drawn anew every batch in training, from torch's global random stream

References: Liao, Leibo and Poggio, AAAI 2016 (uSF, brSF, frSF); Xiao, Chen, Liao and Poggio, ICLR 2019.
Deviations from the papers:
    1. The last layer comes down through signs as well; some of the papers' runs keep backpropagation there.
Easily confused with: feedback alignment, whose B knows nothing of W; Batch Manhattan, which takes the sign of the
gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor

from altprop.core import INITIALISERS, Claims, Feedback, Ready, Refused, Rule, ascend, descend, draw_feedback

CLAIMS: dict[str, Any] = {"weight_transport": "signs", "locking": "backward", "signal": "layerwise"}


class USF(Rule):
    """Uniform sign-concordant feedback (Liao et al. 2016).

    feedback[l], of the shape of layer l+1's weight, brings the signal to layer l.  scale multiplies its magnitude.
    Raises ``Refused`` for a layer above the first that is neither Linear nor a convolution."""

    family = "feedback"
    claims = Claims(**CLAIMS, changes=("feedback",))
    reference = "liao2016"

    def __init__(self, net: Any, *, scale: float = 1.0, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        if not scale > 0:
            raise Refused(f"scale={scale} came; USF takes one above 0, or its signs are not those of the weights")
        _equip(self, (self.like.new_full(s, scale * _glorot(s)) for s in self.layerwise_shapes))

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        return _come_down(self, x, y, ready)


class FRSF(Rule):
    """Sign-concordant feedback of fixed random magnitude (Liao et al. 2016).

    feedback as in ``USF``; init, scale, seed: how the magnitudes are drawn."""

    family = "feedback"
    claims = Claims(**CLAIMS, changes=("feedback",))
    reference = "liao2016"

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        _equip(self, draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like))

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        return _come_down(self, x, y, ready)


class BRSF(Rule):
    """Sign-concordant feedback of random magnitude, drawn anew every batch (Liao et al. 2016).  Arguments: ``FRSF``."""

    family = "feedback"
    claims = Claims(**CLAIMS, changes=("feedback", "magnitudes"), draws=True)
    reference = "liao2016"
    magnitudes: Feedback

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        self.init, self.scale = init, scale
        _equip(self, draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like))

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        return _come_down(self, x, y, ready, self._redraw)

    def _redraw(self) -> None:
        for M in self.magnitudes if self.training else ():
            INITIALISERS[self.init](M).mul_(self.scale).abs_()


def _equip(rule: Any, matrices: Iterable[Tensor]) -> None:
    rule.magnitudes = Feedback(matrix.abs() for matrix in matrices)
    rule.feedback = Feedback(map(torch.zeros_like, rule.magnitudes))
    _take_signs(rule)


def _come_down(rule: Any, x: Tensor, y: Tensor, ready: Ready | None, redraw: Any = lambda: None) -> Tensor:
    traces = ascend(rule.layers, x, reach=1)
    redraw()  # behind the forward pass, whose dropout is then that of every other rule
    _take_signs(rule)
    loss, e = rule.output_error(traces[-1].h, rule.targets(y, len(x)))
    descend(traces, e / len(x), ready, rule.feedback)
    return loss


@torch.no_grad()
def _take_signs(rule: Any) -> None:
    for layer, M, B in zip(rule.layers[1:], rule.magnitudes, rule.feedback, strict=True):
        torch.sign(layer.synapse.weight, out=B).mul_(M)


def _glorot(shape: torch.Size) -> float:
    """Glorot's deviation for a weight of that shape."""
    return (2 / ((shape[0] + shape[1]) * prod(shape[2:]))) ** 0.5
