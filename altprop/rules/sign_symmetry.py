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

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from altprop.core import INITIALISERS, Claims, Feedback, Ready, Refused, Rule, Suits, ascend, descend, draw_feedback
from altprop.core.local import learn


class SignSymmetry(Rule):
    """The family: feedback[l], of the shape of layer l+1's weight, takes its signs and brings the signal to layer l.

    Raises ``Refused`` for a layer above the first that is neither Linear nor a convolution."""

    family, reference = "feedback", "liao2016"
    claims = Claims(weight_transport="signs", locking="backward", signal="layerwise", changes=("feedback",))
    suits = Suits(lr=0.05)

    def equip(self, matrices: Iterable[Tensor]) -> None:
        """Take the size of these matrices as |M_l|."""
        self.magnitudes = Feedback(matrix.abs() for matrix in matrices)
        self.feedback = Feedback(map(torch.zeros_like, self.magnitudes))
        self._take_signs()

    @abstractmethod
    def redraw(self) -> None:
        """What happens to |M_l| before a batch comes down."""

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=1)
        self.redraw()  # behind the forward pass, whose dropout is then that of every other rule
        self._take_signs()
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        for trace, delta in descend(traces, e / len(x), self.feedback):
            learn(trace, delta, ready)
            del trace, delta
        return loss

    @torch.no_grad()
    def _take_signs(self) -> None:
        for layer, M, B in zip(self.layers[1:], self.magnitudes, self.feedback, strict=True):
            B.copy_(layer.synapse.get_parameter("weight")).sign_().mul_(M)


class USF(SignSymmetry):
    """Uniform sign-concordant feedback (Liao et al. 2016).  scale multiplies its magnitude."""

    def __init__(self, net: Any, *, scale: float = 1.0, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        if not scale > 0:
            raise Refused(f"scale={scale} came; USF takes one above 0, or its signs are not those of the weights")
        self.equip(self.like.new_full(s, scale * _glorot(s)) for s in self.layerwise_shapes)

    def redraw(self) -> None:
        """Nothing: |M_l| is a constant."""


class FRSF(SignSymmetry):
    """Sign-concordant feedback of fixed random magnitude (Liao et al. 2016).  init, scale, seed: how it is drawn."""

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        self.equip(draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like))

    def redraw(self) -> None:
        """Nothing: |M_l| is drawn once."""


class BRSF(SignSymmetry):
    """Sign-concordant feedback of random magnitude, drawn anew every batch (Liao et al. 2016).  Arguments: ``FRSF``."""

    claims = replace(SignSymmetry.claims, changes=("feedback", "magnitudes"), draws=True)

    def __init__(
        self, net: Any, *, init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        self.init, self.scale = init, scale
        self.equip(draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like))

    def redraw(self) -> None:
        for M in self.magnitudes if self.training else ():
            INITIALISERS[self.init](M).mul_(self.scale).abs_()


def _glorot(shape: torch.Size) -> float:
    """Glorot's deviation for a weight of that shape."""
    return (2 / ((shape[0] + shape[1]) * prod(shape[2:]))) ** 0.5
