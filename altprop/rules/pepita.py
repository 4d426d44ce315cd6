"""PEPITA: present the input, then present it again modulated by the error; each layer learns from the difference.

    first pass    h_l            on x;               e = y_hat - t                        (N, C)
    second pass   h_l^m          on x^m = x + s e F                                       (N, *in)
    W_l.grad += (h_l - h_l^m)^T p_{l-1} / M          p = h^m (modulated) or h (standard)
    W_L.grad += e^T p_{L-1} / N                      e, or e^m of the second pass

M is the number of products that the weight sums: N in a linear layer, N times the map's positions in a convolution.
Both passes share their dropout masks.  No signal travels backwards and no derivative is taken.

Reference: Dellaferrera and Kreiman, ICML 2022, algorithm 1, appendix A.
Deviations from the paper:
    1. ``sign`` s = +1 is the paper's; the authors' later code and the derivation of adaptive feedback alignment use -1.
    2. ``output_error="standard"`` is the paper's; the authors' fully connected code uses the modulated error.
    3. The paper has no biases; where the net has them they take the mean of h - h^m.
    4. The authors' convolutional code divides by the batch twice; here it is divided once, as the paper states.
Easily confused with: Forward-Forward, whose second input is another sample or label, not an error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import (
    Claims,
    Ready,
    Refused,
    Rule,
    Trace,
    draw_feedback,
    forward,
    learn,
    products,
    project,
    push,
    slope,
)  # fmt: skip
from altprop.core.layer import is_flat_linear

CHOICES: dict[str, tuple[object, ...]] = {
    "sign": (1, -1),
    "presynaptic": ("modulated", "standard"),
    "output_error": ("standard", "modulated"),
}


class PEPITA(Rule):
    """Present the Error to Perturb the Input To modulate Activity (Dellaferrera and Kreiman 2022).

    feedback[0] (C, *in) is F, drawn as ``init`` at ``scale`` (published: He-uniform times 0.05) from ``seed``.
    sign, presynaptic, output_error: see ``CHOICES``, the paper's first; ``Refused`` for another."""

    family = "forward-only"
    claims = Claims(weight_transport="none", locking="forward", signal="error", passes=2, trains=("synapse",))
    reference = "dellaferrera2022"
    refuses = (_NormBase,)

    def __init__(
        self,
        net: Any,
        *,
        sign: int = 1,
        presynaptic: str = "modulated",
        output_error: str = "standard",
        init: str = "he_uniform",
        scale: float = 0.05,
        seed: int = 0,
        **arguments: Any,
    ) -> None:
        super().__init__(net, **arguments)
        for name, value in (("sign", sign), ("presynaptic", presynaptic), ("output_error", output_error)):
            if value not in CHOICES[name]:
                raise Refused(f"{name}={value!r} came; PEPITA takes {' or '.join(map(repr, CHOICES[name]))}")
        self._check_shapes()
        self.s, self.modulated_x, self.modulated_e = sign, presynaptic == "modulated", output_error == "modulated"
        shape = (self.classes, *self.shapes[0].x)
        self.feedback = draw_feedback([shape], init=init, scale=scale, seed=seed, like=self.like)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        F = self.feedback[0]
        first: list[Trace] = []
        h = x
        for layer in self.layers:
            first.append(forward(layer, h, keep=not first and self._low_rank(len(x))))
            h = first[-1].h
        t = self.targets(y, len(x))
        loss, e = self.output_error(h, t)
        h = x + project(self.s * e, F)  # (N, *in), x^m
        a = None if first[0].a is None else first[0].a + project(self.s * e, push(first[0], F))
        for trace in first[:-1]:
            second = forward(trace.layer, h, like=trace, a=a)
            learn(second if self.modulated_x else trace, (trace.h - second.h).div_(products(trace)), ready)
            h, a = second.h, None
        clean, modulated = first[-1], forward(self.layers[-1], h, like=first[-1])
        if self.modulated_e:
            e = self.output_error(modulated.h, t)[1]
        delta = slope(modulated if self.modulated_e else clean, e / len(x))  # (N, C)
        learn(modulated if self.modulated_x else clean, delta, ready)
        return loss

    def _check_shapes(self) -> None:
        if self.integer_input:
            raise Refused("PEPITA adds an error to its input, but integers came: give the net a real-valued input")
        for layer, shapes in zip(self.layers[:-1], self.shapes, strict=False):
            if shapes.a != shapes.h:
                raise Refused(
                    f"PEPITA learns from differences of activity, but the activation of {layer} makes shape "
                    f"{tuple(shapes.h)} of {tuple(shapes.a)}: move what changes it into the next layer's inlet"
                )

    def _low_rank(self, n: int) -> bool:
        """Whether W x^m = W x + s e (F W^T) is cheaper: a column a class, not a product of the batch."""
        return is_flat_linear(self.layers[0]) and self.classes < n
