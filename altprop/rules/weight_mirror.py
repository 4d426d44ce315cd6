"""Weight mirrors: between two batches each layer hears noise, and correlating what comes out with what went in draws an
image of its weights into the feedback.

    delta_l = (delta_{l+1} B_{l+1}) * f'(a_l)                as feedback alignment         (N, n_l)
    W_l.grad += delta_l^T h_{l-1}

    mirror   xi ~ N(0, sigma^2)                              at the synapse's input        (N, n_{l-1})
             y  = f(xi W_l^T + b_l)                                                        (N, n_l)
             B_l.grad -= y^T xi / (M sigma^2)                E = -W_l where f is linear

M counts the products that a weight sums.  B has its own rate eta_B and decay lambda_B: it tends to W / lambda_B where f
is linear and to about W / 2 lambda_B behind a ReLU.  The smaller eta_B / lambda_B, the smaller the angle that is left.

Reference: Akrout, Wilson, Humphreys, Lillicrap and Tweed, NeurIPS 2019.
Deviations from the paper:
    1. The noise is Gaussian and divided by its variance, so that the mirror's rate does not depend on it; the authors'
       code draws it uniformly from 0.1 [-.5, .5) and does not divide.
    2. B decays at ``mirror_decay``; the code's limit of its norm has no effect.
    3. The authors' code mirrors for an epoch before it trains: the phase "mirror", which is left out unless a recipe
       gives it epochs.  Then, as there, one mirror batch follows each batch of training.
    4. Padded convolutions: a weight at the kernel's edge also sums products with padded zeros, which makes its image
       smaller (on 8 x 8 maps B is left 5 degrees off), and noise that is padded by reflection is not white.
Easily confused with: Kolen-Pollack learning, which needs no noise but the same increment at both synapses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import (
    Claims,
    Layer,
    Phase,
    Ready,
    Refused,
    Rule,
    Suits,
    Trace,
    accumulate,
    ascend,
    correlate,
    descend,
    draw_feedback,
    forward,
    learn,
)  # fmt: skip
from altprop.core.layer import parts
from altprop.core.steps import bends


class WM(Rule):
    """Weight mirroring (Akrout et al. 2019).

    feedback[l], a parameter of the shape of layer l+1's weight, brings the signal to layer l; it learns at
    ``mirror_lr`` with ``mirror_decay``, whatever the net's rate is.  noise is sigma; init, scale, seed: how B is drawn
    at first.  Raises ``Refused`` for a layer above the first that is neither Linear nor a convolution."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="backward", signal="layerwise", draws=True, learns=("feedback",))
    reference = "akrout2019"
    suits = Suits(lr=0.02)

    def __init__(
        self, net: Any, *, mirror_lr: float = 0.02, mirror_decay: float = 1.0, noise: float = 0.1,
        init: str = "he_uniform", scale: float = 1.0, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if not (noise > 0 and mirror_lr > 0 and mirror_decay >= 0):
            what = f"noise={noise}, mirror_lr={mirror_lr}, mirror_decay={mirror_decay} came"
            raise Refused(f"{what}; WM takes a noise and a rate above 0 and a decay of at least 0")
        self.mirror_lr, self.mirror_decay, self.noise = mirror_lr, mirror_decay, noise
        drawn = draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like)
        self.feedback = nn.ParameterList(drawn)
        for index, B in enumerate(self.feedback, 1):
            self.layers[index] = replace(self.layers[index], beside=nn.ParameterList([B]))

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces = ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        if self.training:
            self.mirror(self._noise(traces))
        for trace, delta in descend(traces, e / len(x), self.feedback):
            learn(trace, delta, ready)
            del trace, delta
        return loss

    def phases(self) -> list[Phase]:
        return [Phase("mirror", (self.feedback,), self._hear, labels=False, epochs=0), *super().phases()]

    @torch.no_grad()
    def _hear(self, x: Tensor, y: None = None, ready: Ready | None = None) -> Tensor:
        """A batch of noise alone, as many samples of it as x (N, *in) has."""
        self.mirror(self._noise(ascend(self.layers, x, reach=1)))
        for layer in self.layers if ready is not None else ():
            ready(layer)  # type: ignore[misc]
        return x.new_zeros(())

    def _noise(self, traces: Sequence[Trace]) -> list[Tensor]:
        return [self.noise * torch.randn_like(trace.x) for trace in traces[1:]]  # (N, *in_l)

    @torch.no_grad()
    def mirror(self, noise: Sequence[Tensor]) -> None:
        """Fill the gradients of the feedback from noise (N, *in_l) of variance ``noise`` squared, one a layer but the
        first."""
        for layer, B, xi in zip(self.layers[1:], self.feedback, noise, strict=True):
            f = nn.Sequential(*(module for module in parts(layer.activation) if bends(module)))
            trace = forward(Layer(nn.Identity(), layer.synapse, f, layer.name), xi)
            M = trace.h.numel() // len(B)
            accumulate(B, correlate(layer.synapse, trace.x, trace.h) / (-M * self.noise**2))

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        own = {"lr": self.mirror_lr, "weight_decay": self.mirror_decay, "momentum": 0.0}
        return [*super().param_groups(lr), {"params": list(self.feedback), **own}]
