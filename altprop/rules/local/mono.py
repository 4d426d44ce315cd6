"""Mono-Forward: every hidden layer projects its activity to the classes and descends the loss of what comes out.
Nothing passes from layer to layer but activity.

    g_l = h_l M_l^T,  e_l = y_hat(g_l) - t           M_l (C, n_l), n_l = all entries of h_l        (N, C)
    M_l.grad += e_l^T h_l / N
    delta_l = (e_l M_l / N) * f'(a_l)                                                              (N, *out_l)
    delta_L = e / N                                  of the net's own output                       (N, C)
    W_l.grad += delta_l^T h_{l-1}

inference="output": y_hat is what the net puts out.  "sum": of the sum of that and all g_l.

Reference: Gong, Li and Abdulla, arXiv 2501.09238, 2025.
Deviations from the paper:
    1. The net has an output layer above the last hidden one, and it learns by its own error; the paper reads the last
       hidden layer's g.  That layer has an M too, since an M that were the output layer would carry its weights down.
    2. M is drawn by a generator of its own, ``init`` and ``seed``.
    3. The paper steps each layer by an Adam of its own; here the run's optimizer steps all.
Easily confused with: ``local``, which also matches similarities; Forward-Forward, whose goodness knows no classes;
    DRTP, whose projection is fixed and has no error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from altprop.core import Claims, Refused, Suits, accumulate, draw_feedback
from altprop.core.product import linear, outer
from altprop.rules.local.family import Local

INFERENCES = ("output", "sum")


class MonoForward(Local):
    """Mono-Forward (Gong et al. 2025).

    heads[l] (C, n_l) is M of hidden layer l; init, scale, seed: how it is drawn.  inference: see above.
    Raises ``Refused`` for an unknown inference."""

    claims = Claims(weight_transport="none", locking="none", signal="target", learns=("heads",))
    reference = "gong2025"
    suits = Suits(lr=0.01)

    def __init__(
        self, net: Any, *, inference: str = "output", init: str = "he_uniform", scale: float = 1.0, seed: int = 0,
        **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if inference not in INFERENCES:
            raise Refused(f"inference={inference!r} came; MonoForward takes {' or '.join(map(repr, INFERENCES))}")
        self.sums = inference == "sum"
        self.claims = replace(self.claims, inference="own" if self.sums else "net")
        shapes = [(self.classes, shapes.h.numel()) for shapes in self.shapes[:-1]]
        self.heads = nn.ParameterList(draw_feedback(shapes, init=init, scale=scale, seed=seed, like=self.like))
        for index, M in enumerate(self.heads):
            self.layers[index] = replace(self.layers[index], beside=nn.ParameterList([M]))

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [*super().param_groups(lr), {"params": list(self.heads), "lr": lr}]

    def forward(self, x: Tensor) -> Any:
        if not self.sums:
            return self.net(x)
        *hidden, last = self.layers
        goodness = []
        for layer, M in zip(hidden, self.heads, strict=True):
            x = layer(x)
            goodness.append(linear(x.flatten(1), M))
        return sum(goodness, last(x))

    def differentiable(self) -> nn.Module:
        return self

    def judge(self, index: int, h: Tensor, t: Any) -> Tensor:
        M, flat = self.heads[index], h.flatten(1)  # (C, n_l), (N, n_l)
        e = self.output_error(linear(flat, M), t)[1] / len(h)  # (N, C)
        if M.requires_grad:
            accumulate(M, outer(e, flat))
        return linear(e, M.T).view_as(h)
