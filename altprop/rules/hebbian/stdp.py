"""Spike-timing-dependent plasticity: a synapse grows when its input spikes shortly before the neuron does, and shrinks
when it spikes shortly after.  The neurons leak, compete, and grow reluctant when they have won too often.

    s_t ~ Bernoulli(clamp(x, 0, 1)),  t = 1..T                of the first layer; of others y_t below    (M, in)
    m_t = beta m_{t-1} + f(s_t W^T + b) - theta [m_{t-1} > theta]                                        (M, units)
    y_ti = [m_ti > theta_i], where m - theta is the largest of its sample and position; else 0           (M, units)
    p_t = lambda p_{t-1} + (1 - lambda) s_t                   trace of the input                         (M, in)
    q_t = lambda (q_{t-1} + (1 - lambda) y_{t-1})             trace of the neuron, without its present   (M, units)
    Delta w_ij = < a_plus y_i p_j (1 - w_ij) - a_minus q_i s_j w_ij - decay y_i w_ij >                   (*W)
    W_l.grad += -Delta W_l, l < L
    theta_i += adapt (K <y_i> - activity)                     in training, after use; K units            (units,)

<.> is the mean over steps, samples and positions.  soft=False leaves out (1 - w), and the w that a_minus has.  The
last layer reads out the rates, sum_t y_t / T, by the delta rule: see ``climb``.

Reference: Diehl and Cook, Frontiers in Computational Neuroscience 9, 2015.
Deviations from the paper:
    1. Neurons are ``snntorch.Leaky``: currents without conductances, no refractory time, inhibition at once instead
       of by neurons.  One that passes theta and does not win is held at theta.  f is the net's activation.
    2. Where the paper lowers synapses at a spike by how far p is below a target, ``decay`` lowers them by w.  That
       bounds w from any start; weights are neither clipped nor normalised, and may be negative.
    3. theta seeks a mean activity and may become negative; the paper's rises with each spike and leaks.
    4. In eval mode x itself, not spikes, is the current's source and s_t, in credit too: nothing is drawn.
    5. A linear readout, where the paper lets each neuron vote for the class that it prefers.
Easily confused with: backpropagation through spikes by surrogate gradients, which is what snnTorch is made for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Claims, Layer, Ready, Refused, Rule, Suits, Trace
from altprop.core.layer import RESHAPES, is_convolution, parts
from altprop.rules.hebbian.climb import along, climb, correlated, equip, hidden, one_by_one, rows, weight_of
from altprop.rules.hebbian.spikes import Neurons, Rates, Spikes, find_leaky, lowpass, warn_outside


class STDP(Rule):
    """Spike-timing-dependent plasticity of competing neurons (Diehl and Cook 2015); needs snnTorch.

    steps: T.  beta, threshold: theta's start.  trace: lambda.  inhibition=False: all that pass theta spike.  The other
    letters: see above.  neurons[l].theta (units,) is its theta.  ``layers`` are those of the spiking net, and
    calling the rule runs it.  Raises ``Refused`` for arguments out of range, and where snnTorch is missing; warns where
    ``example`` leaves [0, 1]."""

    family, reference = "hebbian", "diehl2015"
    domain = (0.0, 1.0)  # of the inputs, which are probabilities of a spike
    suits = Suits(lr=0.03, lr_regression=0.03)
    requires = "spiking"  # which brings snnTorch
    claims = Claims(
        weight_transport="none", locking="none", signal="none", labels=False, passes=20,  # the steps, as they stand
        changes=("neurons",), trains=("synapse",), inference="own", draws=True,
    )  # fmt: skip

    def __init__(
        self, net: Any, *, steps: int = 20, beta: float = 0.8, threshold: float = 1.0, trace: float = 0.8,
        a_plus: float = 1.0, a_minus: float = 0.1, decay: float = 1.0, soft: bool = True, inhibition: bool = True,
        adapt: float = 0.1, activity: float = 0.9, readout: bool = True, **arguments: Any,
    ) -> None:  # fmt: skip
        leaky = find_leaky()
        super().__init__(net, **arguments)
        equip(self, readout, of_activity=True)
        warn_outside(arguments["example"])
        amounts = {"a_plus": a_plus, "a_minus": a_minus, "decay": decay, "adapt": adapt}
        wrong = {name: value for name, value in {"beta": beta, "trace": trace}.items() if not 0 <= value < 1}
        wrong |= {name: value for name, value in amounts.items() if not value >= 0}
        if wrong or steps < 1:
            what = f"{wrong or {'steps': steps}} came"
            raise Refused(f"{what}: steps is 1 or more, beta and trace from 0 to below 1, no amount is negative")
        self.steps, self.trace, self.adapt, self.activity = steps, trace, adapt, activity
        self.a_plus, self.a_minus, self.decay, self.soft = a_plus, a_minus, decay, soft
        self.spikes, self.rates, self.neurons = Spikes(steps), Rates(steps), nn.ModuleList()
        for index, layer in enumerate(hidden(self)):
            theta = self.like.new_full((len(layer.synapse.get_parameter("weight")),), threshold)
            cells = leaky(self.like.new_tensor(beta), threshold=theta, surrogate_disable=True).to(theta)
            self.neurons.append(Neurons(cells, steps, 1 if is_convolution(layer.synapse) else -1, inhibition))
            inlet = layer.inlet if index else nn.Sequential(self.spikes, *parts(layer.inlet))
            after = [part for part in parts(layer.activation) if isinstance(part, RESHAPES)]  # of the last layer
            before = [part for part in parts(layer.activation) if not isinstance(part, RESHAPES)]
            activation = nn.Sequential(*before, self.neurons[index], *after)
            self.layers[index] = Layer(inlet, layer.synapse, activation, layer.name)
        if readout and len(self.neurons):
            top = self.layers[-1]
            self.layers[-1] = Layer(nn.Sequential(self.rates, *parts(top.inlet)), top.synapse, top.activation, top.name)

    def forward(self, x: Tensor) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x if self.readout else self.rates(x)

    phases = one_by_one

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor | None = None, ready: Ready | None = None) -> Tensor:
        return climb(self, self._gradient, x, y, ready, of_activity=True)

    def _gradient(self, index: int, trace: Trace) -> Tensor:
        W, y = weight_of(trace), rows(trace, trace.h)  # y (T * N, *positions, units)
        p = lowpass(trace.x, self.steps, self.trace)  # (T * N, *in)
        q = lowpass(y, self.steps, self.trace) - (1 - self.trace) * y  # (T * N, *positions, units)
        rate, M = y.flatten(0, -2).mean(0), y.numel() // len(W)  # <y_i> (units,); rows that the means are over
        grow, shrink = correlated(trace._replace(x=p), y) / M, correlated(trace, q) / M
        if self.soft:
            grow, shrink = grow * (1 - W), shrink * W
        if self.training:
            neurons: Any = self.neurons[index]
            neurons.theta.add_(self.adapt * (len(rate) * rate - self.activity))
        return self.decay * along(rate, W) * W + self.a_minus * shrink - self.a_plus * grow
