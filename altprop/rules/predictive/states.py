"""Predictive coding: every hidden activity settles between what the layer below predicts and what the layer above
wants.

    s_0 = x,  h_l = f_l(s_{l-1}),  eps_l = h_l - s_l  (l < L),  eps_L = y_hat - t         (N, *out_l); s_l from h_l
    s_l <- s_l + eta (eps_l - (eps_{l+1} * f'(a_{l+1})) W_{l+1})                           all layers at once
    delta_l = eps_l * f'(a_l) / N,   W_l.grad += delta_l^T s_{l-1}                         after ``steps`` sweeps

A sweep computes the errors, then moves the states; the last one moves none.  Each step goes down the energy
E = sum_{l<L} |eps_l|^2 / 2 + N loss, the gradient of which the weights get.  ``inference`` says what follows s:

    strict   predictions, slopes and what a layer learns from
    fixed    none of them: h, f' and s_{l-1} stay those of the forward pass, eps_l <- eps_l + eta (down_l - eps_l),
             down_l = (eps_{l+1} * f'(a_{l+1})) W_{l+1}; eps_l tends to backpropagation's signal, and is that signal
             after L sweeps of eta = 1; a layer whose number from the top exceeds ``steps`` hears nothing
    exact    as fixed, eps_l = down_l at once, from the output down

``incremental``: the layers learn in every sweep, from the errors by which the states move.

References: Whittington and Bogacz, Neural Computation 29, 2017; Rosenbaum, PLoS ONE 17, 2022 (the three inferences);
Salvatori et al., ICLR 2024 (incremental); Millidge, Tschantz and Buckley, Neural Computation 34, 2022.
Deviations from the papers:
    1. The output is no state: its error is that of the loss, of logits too.  In Whittington and Bogacz's the output is
       held at the target, which is the same for mse.
    2. Weights act before the nonlinearity, h = f(W s), as in Rosenbaum's; in Whittington and Bogacz's W f(s).
    3. Errors are those of each sample, whatever N; in Rosenbaum's code of a mean loss they shrink with N, beside an eta
       that does not.  Millidge's code clamps gradients, and has a factor of 2 in both updates.
    4. ``eta`` is .03 and ``steps`` 8, in Rosenbaum's code .1 and 20: the further states move, the less of an error is
       left for the weights to learn from.  Hidden gradients are then small, which Adam makes up for.
    5. Masks of dropout are drawn once a batch, and the same in every sweep.
    6. Without ``ready``, incremental learning adds up what its sweeps would have learned one by one.
Easily confused with: equilibrium propagation, which settles twice and learns from the difference; ``epc``, which
settles errors instead of states, to the same end.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from altprop.core import Claims, Refused, RuleWarning, Suits
from altprop.rules.predictive.family import Predictive, Settled
from altprop.rules.predictive.inference import INFERENCE


class PC(Predictive):
    """Predictive coding (Whittington and Bogacz 2017).

    steps: sweeps of inference.  eta: the size of a step of the states.  inference, incremental: see above.
    Raises ``Refused`` for steps below 1, an eta outside of (0, 1], an inference that is none, incremental learning
    where the inference is not strict, and batch norms, whose statistics would move in every sweep."""

    claims = Claims(
        weight_transport="full", locking="backward", signal="layerwise", trains=("synapse",), passes=8,
        is_backprop_when="inference='fixed' with eta=1 and as many steps as layers, or inference='exact'",
    )  # fmt: skip
    reference = "whittington2017"
    suits = Suits(lr=0.001, lr_regression=0.001, optimizer="adam")

    def __init__(
        self, net: Any, *, steps: int = 8, eta: float = 0.03, inference: str = "strict", incremental: bool = False,
        **arguments: Any,
    ) -> None:  # fmt: skip
        if inference not in INFERENCE or (incremental and inference != "strict"):
            what = f"inference={inference!r}, incremental={incremental} came; PC takes {', '.join(INFERENCE)}"
            raise Refused(f"{what}, and incremental=True with strict alone")
        passes, updates = steps if inference == "strict" else 1, steps if incremental else 1
        self.claims = replace(self.claims, passes=passes, updates=updates)
        super().__init__(net, steps=steps, eta=eta, **arguments)
        self.inference, self.incremental = INFERENCE[inference], incremental
        if steps < len(self.layers) and inference != "exact":
            what = f"steps={steps} came for {len(self.layers)} layers: errors come down by one a sweep"
            warnings.warn(f"{what}, so that those below learn nothing; give more steps", RuleWarning, stacklevel=2)

    def settle(self, x: Tensor, now: Settled, t: Any) -> Iterator[Settled]:
        return self.inference(self, x, now, t)
