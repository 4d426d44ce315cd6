"""Error-based predictive coding: what settles are the errors between states and predictions, from the output down in
one sweep a step.

    s_0 = x,  h_l = f_l(s_{l-1}),  s_l = h_l - eps_l  (l < L),  y_hat = f_L(s_{L-1})      (N, *out_l); eps_l from 0
    down_L = y_hat - t,   down_{l-1} = (down_l * f'(a_l)) W_l                              (N, *out_{l-1})
    eps_l <- eps_l + eta (down_l - eps_l)                                                  ``steps`` times
    delta_l = eps_l * f'(a_l) / N,  delta_L = down_L * f'(a_L) / N,   W_l.grad += delta_l^T s_{l-1}

Each step goes down the energy E = sum_{l<L} |eps_l|^2 / 2 + N loss, as a function of the errors: its slope is
eps_l - down_l.  What a layer learns from is its own part of E, |h_l - s_l|^2 / 2, with the states held.  The
equilibrium is that of the states' own descent, but a signal needs one step, not L, to reach the first layer.  One
step makes eps_l eta times backpropagation's signal, exactly; then the states move by it, so that the gradient of a
layer above the first is eta times backpropagation's but for a part of order eta squared.

Reference: Goemaere, Oliviers, Bogacz and Demeester, arXiv 2505.20137, 2025.
Deviations from the paper:
    1. The paper's errors are e_l = -eps_l, s_l = h_l + e_l; here the sign is that of ``pc``.
    2. ``steps`` and ``eta`` are what the authors found for cross-entropy on CIFAR-10, and Adam is theirs.  Larger ones
       leave less of an error for the last layer to learn from, and in deep nets descend no more.
    3. Masks of dropout are drawn once a batch, and the same in every step.
Easily confused with: ``pc``, whose states settle by signals from the next layer alone; backpropagation through E, which
would hand every weight the slope of the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from altprop.core import Claims, Suits, forward
from altprop.rules.predictive.family import Predictive, Settled, down


class EPC(Predictive):
    """Predictive coding by errors (Goemaere et al. 2025).

    steps: of inference.  eta: their size; a step descends where eta < 2 / (1 + |J|^2), J the slope of all states to the
    output, so deep nets want less (20 layers drawn He-uniform: 1e-5), and an energy that grows says so.
    Raises ``Refused`` for steps below 1, an eta outside of (0, 1], and batch norms, whose statistics would move in
    every step."""

    claims = Claims(
        weight_transport="full", locking="backward", signal="layerwise", trains=("synapse",), passes=6,
        is_backprop_when="steps=1 and eta is small: hidden gradients are then eta times its own",
    )  # fmt: skip
    reference = "goemaere2025"
    suits = Suits(lr=0.001, lr_regression=0.001, optimizer="adam")

    def __init__(self, net: Any, *, steps: int = 5, eta: float = 0.001, **arguments: Any) -> None:
        self.claims = replace(self.claims, passes=steps + 1)
        super().__init__(net, steps=steps, eta=eta, **arguments)

    def settle(self, x: Tensor, now: Settled, t: Any) -> Iterator[Settled]:
        (*traces,), (*eps, signal), loss = now
        for _ in range(self.steps):
            for index in reversed(range(len(eps))):
                signal = down(traces[index + 1], signal)  # (N, *out_l), down_l
                eps[index] = eps[index].lerp(signal, self.eta)
            for index, layer in enumerate(self.layers[1:]):  # what the first layer predicts never changes
                s = traces[index].h - eps[index]  # (N, *out_l)
                traces[index + 1] = forward(layer, s, traces[index + 1], reach=True)
            loss, signal = self.output_error(traces[-1].h, t)
        yield Settled(traces, [*eps, signal], loss)
