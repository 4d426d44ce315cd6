"""Forward gradients: a random tangent travels forward with the activity, the output tells by how much the loss changes
along it, and every layer moves along its own part of the tangent by that one number.

    v_l ~ N(0, 1) at a_l, for hidden l,  k = 1 .. K                                        (N, *out_l)
    u_l = (u_{l-1} W_l^T + v_l) * f'(a_l)       the tangent at h_l, by forward derivatives (N, *out_l)
    d   = <e, u_{L-1} W_L^T>                    e = y_hat - t, one number a sample         (N,)
    delta_l = 1/KN sum_k d_k v_l^k              whose mean over tangents is backprop's
    W_l.grad += delta_l^T h_{l-1},  delta_L = e / N

perturb="weight": V_l (n_l, n_{l-1}) in the place of v_l, whose part of the tangent at a_l is h_{l-1} V_l^T; then d is
the mean over the batch, and W_l.grad += 1/K sum_k d_k V_l^k.  combine="projection": of all that K tangents can tell,
V^+ d, the gradient's projection on their span, in the place of the mean.  The error of a tangent's estimate grows
with the number of things perturbed, which are fewer for activity than for weights: give more tangents, or less rate.

References: Baydin, Pearlmutter, Syme, Wood and Torr, arXiv 2202.08587, 2022 (weights); Ren, Kornblith, Liao and Hinton,
ICLR 2023 (activity).
Deviations from the papers:
    1. The output layer takes its exact error, which it has without any signal from above; Baydin et al. perturb it too.
    2. K is 8 where nothing is said, so that one rate serves small and large nets; the papers take 1.
    3. "projection" is Flügel et al., arXiv 2410.17764, 2024: several tangents are better combined than by their mean.
Easily confused with: node perturbation and evolution strategies, which take differences of losses in two passes;
forward_gradient_local, whose every layer has a loss of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from altprop.core import Claims, Ready, Rule, Suits, Trace, ascend, learn, push, slope
from altprop.rules.forward_gradient.tangents import Tangent, bend, estimates, find


class ForwardGradient(Rule):
    """Forward gradients of the net's loss (Baydin et al. 2022; Ren et al. 2023).

    perturb: "activity" or "weight".  tangents: K, at the cost of a forward pass each.  combine: "mean" or "projection".
    Raises ``Refused`` for other words, and for weights of a hidden layer that is neither Linear nor a convolution."""

    family, reference = "forward-only", "ren2023"
    claims = Claims(
        weight_transport="full", locking="forward", signal="error", trains=("synapse",), draws=True,
        is_backprop_when="tangents are as many as what they perturb, and combine is 'projection'",
    )  # fmt: skip
    suits = Suits(lr=0.005)

    def __init__(
        self, net: Any, *, perturb: str = "activity", tangents: int = 8, combine: str = "mean", **arguments: Any
    ) -> None:
        super().__init__(net, **arguments)
        self.perturbation = find(self, perturb, tangents, combine, together=True)
        self.K, self.project = tangents, combine == "projection"

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        traces, P = ascend(self.layers, x, reach=1), self.perturbation
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        *hidden, top = traces
        e = slope(top, e)  # (N, C), at a_L
        if hidden:
            shaped = list(zip(hidden, self.shapes, strict=False))
            V = [[P.draw(trace, shapes.a) for trace, shapes in shaped] for _ in range(self.K)]
            d = torch.stack([(e * self._tangent(traces, v)).flatten(1).sum(1) for v in V])  # (K, N)
            for trace, g in zip(hidden, estimates(P.slopes(d), V, self.project), strict=True):
                P.learn(trace, g, ready)
        learn(top, e / len(x), ready)
        return loss

    def _tangent(self, traces: Sequence[Trace], v: Sequence[Tangent]) -> Tensor:
        """(N, C), at a_L: what the tangents v of hidden layers are there."""
        u = bend(traces[0], self.perturbation.reach(traces[0], v[0]))
        for trace, v_l in zip(traces[1:-1], v[1:], strict=True):
            u = bend(trace, push(trace, u) + self.perturbation.reach(trace, v_l))
        return push(traces[-1], u)
