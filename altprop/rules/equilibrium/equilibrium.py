"""Equilibrium propagation: the states of all layers settle together, once freely and once more while the output is
nudged towards the target; the contrast of what is correlated in both is the gradient.

    Phi = sum_l <s_l, P_l(W_l s_{l-1}) + b_l>                   s_0 = x, P_l a max pool or nothing
    u_l = P_l(W_l s_{l-1}) + b_l + W_{l+1}^T P_{l+1}^T s_{l+1} = dPhi/ds_l                            (N, *out_l)
    s_l <- sigma_l(u_l)         ``free`` steps from 0 to s*, then ``nudged`` steps from s* with -beta dL/ds_l in u_l
    W_l.grad += -(dPhi/dW_l(s^beta) - dPhi/dW_l(s')) / (gamma N)             dPhi/dW_l = (P_l^T s_l)^T s_{l-1}
        "three_phase"   s' = s^-beta, gamma = 2 beta            "two_phase"   s' = s*, gamma = beta
        "random_sign"   as two phases, with the sign of beta drawn for every batch
    inside     the last layer is one of Phi: u_L has -beta e                 e = y_hat - t, at s_L       (N, C)
    apart      it reads out, z = W_L s_{L-1} + b_L: u_{L-1} has -beta e W_L,  e at z                     (N, C)
               W_L.grad += (e / N)^T s_{L-1} at s^beta, or the mean of both ends
    "vector_field"   B_l, a weight of its own, stands for W_l on the way down:
        "different"  W_l.grad += -(s_l^beta - s_l')^T s*_{l-1} / (gamma N)
                     B_l.grad += -(s*_l)^T (s_{l-1}^beta - s_{l-1}') / (gamma N)
        "same"       both as with symmetric weights above, so that W - B only decays

References: Laborieux et al., Frontiers in Neuroscience 15, 2021, whose form in discrete time this is; Scellier and
    Bengio, Frontiers in Computational Neuroscience 11, 2017.
Deviations from the papers:
    1. The readout of a vector field also has a B, which gets the increments of W_L; the paper sends its error back by
       W_L itself, which is weight transport.
    2. A pool behind sigma moves before it, as the papers' nets have it; where sigma rises it is the same net.
    3. Dropout's masks hold for all phases of a batch.  P^T follows the largest of W s on the way through B as well.
Easily confused with: predictive coding, whose states descend an energy of errors; contrastive Hebbian learning, whose
    output is clamped to the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import LOSSES, Claims, Ready, Suits, draw_feedback
from altprop.rules.equilibrium.choices import bend, check, list_of_rates, place_pools
from altprop.rules.equilibrium.contrast import End, contrast, energies, one_sided, share
from altprop.rules.equilibrium.family import Equilibrium
from altprop.rules.equilibrium.readout import READOUTS


class EP(Equilibrium):
    """Equilibrium propagation (Laborieux et al. 2021).

    free, nudged: steps of each phase; beta: how hard the output is nudged.  estimate, weights, update, order, readout:
    see ``choices.CHOICES``; readout="auto" is inside with loss="mse", else apart.  order="in_turn" moves each layer
    after the one below, "together" all at once.  bend_output: an output without activation has the sigma of the layer
    below, as with squared error in the papers.  rates: what multiplies the learning rate of each layer.  feedback[l],
    of the shape of layer l+1's weight: B of "vector_field"; init, scale, seed: how it is drawn.  Raises ``Refused``
    for a misfit; ``watch`` warns of what does not settle."""

    claims = Claims("full", "backward", "layerwise", passes=22, trains=("synapse",), inference="own")
    reference = "laborieux2021"
    suits = Suits(lr=0.1, activation="tanh", init="torch")
    refuses = (nn.modules.batchnorm._NormBase,)  # whose statistics would move at every step

    def __init__(
        self, net: Any, *, free: int = 10, nudged: int = 6, beta: float = 0.5, estimate: str = "three_phase",
        weights: str = "symmetric", update: str = "different", order: str = "together", readout: str = "auto",
        bend_output: bool = False, rates: Sequence[float] | None = None, init: str = "he_uniform", scale: float = 1.0,
        seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        words = {"estimate": estimate, "weights": weights, "update": update, "order": order, "readout": readout}
        check(free, nudged, beta, **words)
        place = readout if readout != "auto" else "inside" if self.loss is LOSSES["mse"] else "apart"
        self.readout, self.depth = READOUTS[place], len(self.layers) - (place == "apart")  # depth: layers of Phi
        if bend_output:
            bend(self)
        place_pools(self, self.depth)
        self.rates = list_of_rates(self, rates)
        self.free, self.nudged, self.beta, self.in_turn = free, nudged, beta, order == "in_turn"
        self.three, drawn = estimate == "three_phase", estimate == "random_sign"
        self.grow = one_sided if (weights, update) == ("vector_field", "different") else contrast
        self.claims = replace(self.claims, passes=free + nudged * (1 + self.three), draws=drawn, averages=not drawn)
        if weights == "vector_field":
            B = draw_feedback(self.layerwise_shapes, init=init, scale=scale, seed=seed, like=self.like)
            self.feedback = share(self, B)
            self.claims = replace(self.claims, weight_transport="none", learns=("feedback",))
        self.seen, self.warned = {}, False

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        t = self.targets(y, len(x))
        beta: Any = self.beta * (2 * x.new_empty(()).bernoulli_(0.5) - 1 if self.claims.draws else 1)
        circuit, zeros = self.at_rest(x)
        star = circuit.settle(zeros, self.free)
        moved, read = circuit.moved(star) if star else None, self.readout(self, star, x)
        loss, _ = self.output_error(read.output, t)
        ends = [circuit.settle(star, self.nudged, read.nudge(t, beta))]
        if self.three:
            ends.append(circuit.settle(star, self.nudged, read.nudge(t, -beta)))
        gamma = beta * len(x) * len(ends)
        read.learn(ends, t, ready)
        states = (ends[0], [*ends, star][1], star)
        plus, minus, rest = ([*map(End, s, circuit.bonds_at(s))] for s in states)
        for n in reversed(range(self.depth)):
            B = self.feedback[n - 1] if n and len(self.feedback) else None
            self.grow(plus[n], minus[n], rest[n], gamma, B)
            if ready is not None:
                ready(self.layers[n])
        self.seen = {} if moved is None else {"moved": moved, "free": energies(rest), "nudged": energies(plus)}
        return loss
