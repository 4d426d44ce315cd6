"""PEPITA: present the input, then present it again modulated by the error; each layer learns from the difference.

    first pass    h_l            on x;               e = y_hat - t                        (N, C)
    second pass   h_l^m          on x^m = x + s e F                                       (N, *in)
    W_l.grad += (h_l - h_l^m)^T p_{l-1} / M          p = h^m (modulated) or h (standard)
    W_L.grad += e^T p_{L-1} / N                      e, or e^m of the second pass

    normalise     h_l / |h_l| for l < L, of each sample or of the whole batch, in both passes and in use
    perturb       x^m = x ("none", the control F = 0) or x + scale u ("random", u uniform in [0, 1) for each input)
    at            x is the input of that layer, h_at: e F enters there
    mirror        F = -s (F_1 F_2 ... F_L)^T, and in training, after use,         F_l (n_{l-1}, n_l)
                  xi ~ 0.1 N(0, 1) minus its mean,  y = h_l(xi), softmax at the output, N samples for each layer
                  F_l <- F_l + mirror_lr (xi^T y / N - mirror_decay F_l), then all F_l by one factor, so that the
                  deviation of F's entries stays as it was drawn

M is the number of products that the weight sums: N in a linear layer, N times the map's positions in a convolution, at
its output, and in a transposed one, at its input.  h^m - h is computed as f(a + W d) - f(a) with d = h^m - h below.
Both passes share their dropout masks.  No signal travels backwards and no derivative is taken.

References: Dellaferrera and Kreiman, ICML 2022, algorithm 1, appendices A and D; Srinivasan et al., ICLR 2024
(arXiv 2302.05440), for ``normalise`` and ``mirror``.
Deviations from the paper:
    1. ``sign`` s = +1 is the paper's; the authors' later code and the derivation of adaptive feedback alignment use -1.
    2. ``output_error="standard"`` is the paper's; the authors' fully connected code uses the modulated error.
    3. The paper has no biases; where the net has them they take the mean of h - h^m.
    4. The authors' convolutional code divides by the batch twice; here it is divided once, as the paper states.
    5. ``normalise="batch"`` divides by the length of the whole batch, as the published code does; "sample" is meant.
    6. ``at`` above 0, which no paper has: the layers below hear no modulation and stay as they are.
    7. A mirrored F is used with the sign at which mirroring descends, -s F: it aligns with the weights.
Easily confused with: Forward-Forward, whose second input is another sample or label, not an error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from altprop.core import Claims, Feedback, Ready, Refused, Suits, Trace, learn, slope
from altprop.rules.pepita.choices import check
from altprop.rules.pepita.family import Modulated
from altprop.rules.pepita.mirror import draw_factors, draw_noise, mirror, product
from altprop.rules.pepita.modulation import products


class PEPITA(Modulated):
    """Present the Error to Perturb the Input To modulate Activity (Dellaferrera and Kreiman 2022).

    feedback[0] (C, *in) is F, drawn as ``init`` at ``scale`` (published: He-uniform times 0.05) from ``seed``.
    sign, presynaptic, output_error, normalise (hidden activity to length one, a sample or a batch), perturb ("none" is
    F = 0; "random" adds ``scale`` times uniform noise), mirror (F learns, at ``mirror_lr`` and ``mirror_decay``): see
    ``CHOICES``, the paper's first.  at: the layer whose input is modulated.  ``Refused`` for anything else."""

    claims = Claims(weight_transport="none", locking="forward", signal="error", passes=2, trains=("synapse",))
    reference = "dellaferrera2022"
    suits = Suits(lr=0.05)

    def __init__(
        self, net: Any, *, sign: int = 1, presynaptic: str = "modulated", output_error: str = "standard",
        normalise: str | None = None, mirror: bool = False, perturb: str = "error", at: int = 0,
        mirror_lr: float = 0.1, mirror_decay: float = 0.5,
        init: str = "he_uniform", scale: float = 0.05, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            net, sign=sign, normalise=normalise, perturb=perturb, at=at, init=init, scale=scale, seed=seed, **arguments
        )
        check(self, at, presynaptic=presynaptic, output_error=output_error, mirror=mirror)
        if mirror and (at or perturb != "error"):
            raise Refused(f"mirror=True came with at={at} and perturb={perturb!r}: F learns where e F enters the input")
        self.modulated_x, self.modulated_e = presynaptic == "modulated", output_error == "modulated"
        self.factors: Feedback | None = None
        if mirror:
            self.factors, std = draw_factors(self, scale, seed)
            self.mirroring = {"lr": mirror_lr, "decay": mirror_decay, "std": std}
            self.claims = replace(self.claims, changes=("feedback", "factors"), draws=True)
            self.feedback[0] = -self.s * product(self.factors).T.view_as(self.feedback[0])

    def second_pass(self, x: Tensor, first: list[Trace], t: Any, e: Tensor, ready: Ready | None) -> None:
        h, d = self.modulate(x, first, e)  # (N, *in): x^m, x^m - x
        d_a = self.pushed(first, e)
        for index in range(self.feedback_reaches, len(first) - 1):
            clean = first[index]
            modulated, _, d = self.again(index, clean, h, d, d_a)  # d is h^m - h
            learn(modulated if self.modulated_x else clean, d / -products(clean), ready)
            h, d_a = modulated.h, None
        clean, modulated = first[-1], self.present(len(first) - 1, h, like=first[-1])
        if self.modulated_e:
            e = self.output_error(modulated.h, t)[1]
        delta = slope(modulated if self.modulated_e else clean, e / len(x))  # (N, C)
        learn(modulated if self.modulated_x else clean, delta, ready)
        if self.factors is not None and self.training:
            mirror(self.layers, self.factors, draw_noise(self.factors, len(x)), **self.mirroring)
            self.feedback[0] = -self.s * product(self.factors).T.view_as(self.feedback[0])
