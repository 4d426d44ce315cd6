"""Equilibrium propagation with spikes: neurons that send each other nothing but spikes settle, first freely, then with
a push along the error and one against it.  A weight learns by how often spikes of both its ends coincide in one phase
and in the other.

    u_l = W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1} - [l = top] n      s_0 = x, no s above the top         (N, *out_l)
    c_l = clip(f_l(u_l), 0, 1)                                     the charge of a step                (N, *out_l)
    v_l <- v_l + c_l - q_l,  then q_l = [v_l > 1]                  v_l = 1/2 at first; ``snntorch.Leaky``
    s_l <- s_l + (q_l - s_l) / sqrt(t)                             the rate, at the t-th step; all layers at once

    free          n = 0, ``free`` steps from rest;  z = W_L s_{L-1} + b_L,  e = y_hat - t              (N, C)
    nudged        n = +- beta e W_L, ``nudged`` steps from there;  r^+, r^-: spikes a step, r_0 = x    (N, *out_l)
    W_l.grad += (r_l^- ^T r_{l-1}^- - r_l^+ ^T r_{l-1}^+) / (2 beta N),  l < L, where r^+ has n = +beta e W_L
    W_L.grad += (e / N)^T s_{L-1}                                  the last layer reads the rates

Here top = L - 1.  With readout=False the last layer spikes too: top = L, z = s_L, n = +- beta e, and its weight learns
as the others do.  u, its leaky sum of spikes, is what "leaky integrate-and-fire" integrates; as the steps grow, rates
go to the fixed point s_l = clip(f_l(u_l), 0, 1), and the gradient to that of equilibrium propagation there.

References: O'Connor, Gavves and Welling, AISTATS 2019; Martin et al., iScience 24, 2021 (EqSpike).
Deviations from the papers:
    1. Three phases with nudges of both signs (Laborieux et al. 2021), where both papers have two.
    2. The nudge is a constant current, the error of the free phase, instead of one that follows the nudged output.
    3. The error is of a readout outside of the energy, so that any loss fits; readout=False is the papers' form.
    4. A synapse counts the spikes of a nudged phase; in EqSpike it learns at each spike, by how rates change.
    5. The input is a constant current x, not spikes.  Steps shrink as 1 / sqrt(t), through both phases (O'Connor et al.
       search for a schedule).
    6. The spike generator has no leak of its own, since a leaky one turns the charge into a staircase: ``leak``.
    7. Max pooling takes the largest rate, not the first spike.
Easily confused with: STDP, which sees no error; equilibrium propagation of rates, whose neurons send real numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Claims, Ready, Refused, Rule, Suits, Trace, forward, learn, pull, slope
from altprop.rules.spiking.neurons import Cells, Neurons, RateNetwork, current, settle, twice


class EPLIF(Rule):
    """Equilibrium propagation of leaky integrate-and-fire neurons (O'Connor et al. 2019, Martin et al. 2021).

    free, nudged: steps of a phase.  beta: of the nudge.  leak: of the spike generator.  readout: see above.
    Calling the rule runs the free phase.  Needs snnTorch.  Raises ``Refused`` for arguments out of range, where
    snnTorch is missing, for a net without a layer that spikes, and for activations that change shape."""

    family, reference, requires = "energy", "martin2021", "spiking"
    suits = Suits(lr=0.03)
    refuses = (_NormBase,)  # whose statistics would move at every step
    claims = Claims(
        weight_transport="full", locking="backward", signal="layerwise", passes=48, trains=("synapse",), inference="own"
    )

    def __init__(
        self, net: Any, *, free: int = 16, nudged: int = 16, beta: float = 0.5, leak: float = 0.0,
        readout: bool = True, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if min(free, nudged) < 1 or not (beta > 0 and 0 <= leak < 1):
            what = f"free={free}, nudged={nudged}, beta={beta}, leak={leak} came"
            raise Refused(f"{what}: steps are 1 or more, beta is above 0, leak from 0 to below 1")
        self.free, self.nudged, self.beta = free, nudged, beta
        self.claims = replace(self.claims, passes=free + 2 * nudged)
        self.top = len(self.layers) - readout
        if not self.top:
            raise Refused("EPLIF needs a layer that spikes: give a hidden layer, or readout=False")
        self.check_shapes(self.layers[: self.top])
        self.neurons = Neurons(leak, self.like)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return self._read(self._free(x)[1])[1]

    def differentiable(self) -> nn.Module:
        return RateNetwork(self)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t = self.targets(y, len(x))
        traces, cells = self._free(x)
        reading, output = self._read(cells)
        loss, e = self.output_error(output, t)
        delta = e if reading is None else slope(reading, e)  # (N, C)
        n = self.beta * (delta if reading is None else pull(reading, delta))  # (N, *out_top)
        both, cells = [twice(trace) for trace in traces], [each.twice() for each in cells]  # the signs side by side
        spiking = self.layers[: self.top]
        _, cells = settle(spiking, self.neurons, both, cells, self.nudged, torch.cat([n, -n]), after=self.free)
        plus, minus = zip(*((each.spikes / self.nudged).chunk(2) for each in cells), strict=True)  # r^+, r^- (N, *out)
        if reading is not None:
            learn(reading, delta / len(x), ready)
        for index, layer in reversed([*enumerate(spiking)]):
            for sign, r in ((-1, (x, *plus)), (1, (x, *minus))):
                trace = current(layer, r[index], traces[index])
                learn(trace, r[index + 1] * (sign / (2 * self.beta * len(x))))
            if ready is not None:
                ready(layer)
        return loss

    def _free(self, x: Tensor) -> tuple[list[Trace], list[Cells]]:
        """The free phase, from silence."""
        first = current(self.layers[0], x)  # which stays as it is
        like = [self.like.new_empty(len(x), *shapes.h) for shapes in self.shapes[: self.top]]
        traces, cells = [first, *(None for _ in like[1:])], [self.neurons.rest(each) for each in like]
        return settle(self.layers[: self.top], self.neurons, traces, cells, self.free)

    def _read(self, cells: list[Cells]) -> tuple[Trace | None, Tensor]:
        """(trace of the readout, where there is one; output (N, C))."""
        if self.top == len(self.layers):
            return None, cells[-1].s
        trace = forward(self.layers[-1], cells[-1].s, reach=True)
        return trace, trace.h
