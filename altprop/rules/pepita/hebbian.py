"""PEPITA with Hebbian updates: what each pass does to a layer is a product of that pass's own two activities.

    first pass    h_l on x,    y_hat;   e = y_hat - t;   second pass   h_l^m on x^m = x + s e F       F fixed, (C, *in)
    W_l.grad += (h_l^T h_{l-1} - h_l^mT h_{l-1}^m) / M
    W_L.grad += (y_hat^T h_{L-1} - t^T h_{L-1}^m) / N

M: the products that a weight sums, N times the positions that share it.  normalise: h_l / |h_l| for l < L, of each
sample or of the whole batch, in both passes and in use.
Two large products that nearly cancel are computed as (h_l - h_l^m)^T h_{l-1} + h_l^mT (h_{l-1} - h_{l-1}^m), and
h^m - h as f(a + W d) - f(a) with d = h^m - h below.
For a ReLU the hidden update is half the gradient of |h|^2 - |h^m|^2: the form of Forward-Forward, without its logistic.
``PEPITALocal`` is local in time as well: each half is an update of its own, made during its pass, and the second pass
runs with the weights that the first has left.

Reference: Srinivasan et al., ICLR 2024 (arXiv 2302.05440), sections 4 and 6, algorithms "mixed" and "mixed_tl".
Deviations from the paper:
    1. ``sign`` s = +1, as PEPITA's; the authors' code has -1.
    2. Both passes share their dropout masks; the code draws new ones in the local variant.
    3. ``normalise="batch"`` divides by the length of the whole batch, as the published code does; "sample" is meant.
    4. Biases take the mean of h - h^m.
    5. Without ``ready`` the two halves of ``PEPITALocal`` are summed, which makes it the other rule.
Easily confused with: Forward-Forward, which raises what goes up here and lowers what goes down.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Suits, Trace, learn, slope, weighed
from altprop.rules.pepita.family import Modulated
from altprop.rules.pepita.modulation import learn_apart, products


class PEPITAHebbian(Modulated):
    """PEPITA-Hebbian (Srinivasan et al. 2024).

    feedback[0] (C, *in) is F.  sign, normalise, init, scale, seed: as ``PEPITA``."""

    claims = Claims(weight_transport="none", locking="forward", signal="error", passes=2, trains=("synapse",))
    reference = "srinivasan2024"
    suits = Suits(lr=0.1)

    def __init__(
        self, net: Any, *, sign: int = 1, normalise: str | None = None, init: str = "he_uniform", scale: float = 0.05,
        seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, sign=sign, normalise=normalise, init=init, scale=scale, seed=seed, **arguments)

    def second_pass(self, x: Tensor, first: list[Trace], t: Any, e: Tensor, ready: Ready | None) -> None:
        _contrast(self, x, first, t, e, ready)


class PEPITALocal(Modulated):
    """PEPITA local in time (Srinivasan et al. 2024).  Arguments: as ``PEPITAHebbian``.

    ``ready`` is called twice for every layer, after either half."""

    claims = Claims(
        weight_transport="none", locking="forward", signal="error", passes=2, updates=2, trains=("synapse",)
    )
    reference = "srinivasan2024"
    suits = Suits(lr=0.003, lr_regression=0.001, optimizer="adam")

    def __init__(
        self, net: Any, *, sign: int = 1, normalise: str | None = None, init: str = "he_uniform", scale: float = 0.05,
        seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, sign=sign, normalise=normalise, init=init, scale=scale, seed=seed, **arguments)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        if ready is None:
            return super().credit(x, y)
        first = []
        h, t = x, self.targets(y, len(x))
        for index in range(len(self.layers)):
            first.append(self.present(index, h))
            trace, h = first[-1], first[-1].h
            if index < len(self.layers) - 1:
                learn(trace, h / products(trace), ready)
        loss, e = self.output_error(h, t)
        t = weighed(t)
        learn(first[-1], slope(first[-1], (e + t) / len(x)), ready)
        h, _ = self.modulate(x, first, e)  # (N, *in), x^m
        for index, clean in enumerate(first):
            trace = self.present(index, h, like=clean)
            h = trace.h
            down = slope(trace, t / len(x)) if index == len(first) - 1 else h / products(trace)
            learn(trace, -down, ready)
        return loss

    def second_pass(self, x: Tensor, first: list[Trace], t: Any, e: Tensor, ready: Ready | None) -> None:
        _contrast(self, x, first, t, e, ready)


def _contrast(rule: Modulated, x: Tensor, first: list[Trace], t: Any, e: Tensor, ready: Ready | None) -> None:
    h, d = rule.modulate(x, first, e)  # (N, *in): x^m, x^m - x
    d_a, t, N = rule.pushed(first, e), weighed(t), len(x)
    for index, clean in enumerate(first):
        modulated, d_x, d = rule.again(index, clean, h, d, None if index else d_a)  # d is h^m - h
        if clean is first[-1]:
            down = slope(modulated, t / N)
            risen = slope(clean, e / N) + (slope(clean, t / N) - down)
        else:
            down, risen = modulated.h / products(clean), d / -products(clean)
        learn_apart(clean, modulated, d_x, risen, down)
        if ready is not None:
            ready(clean.layer)
        h = modulated.h
