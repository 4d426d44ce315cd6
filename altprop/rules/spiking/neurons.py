"""Leaky integrate-and-fire neurons that settle: a step a time, each layer's rate, charge and spikes beside each other.

    q_t = [v_t > 1],  v_t = (1 - leak) v_{t-1} + c_t - q_{t-1}     v_0 = 1/2; c the charge, in [0, 1]     (N, *out)
    s_t = s_{t-1} + (q_t - s_{t-1}) / sqrt(t)                      the rate that synapses see            (N, *out)

Without a leak the spikes so far are the sum of the charges so far, rounded; so their number a step goes to the mean
charge as 1 / (2t), and s goes where c goes.  The first is ``snntorch.Leaky``.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.core import Layer, Refused, Trace, forward, pull
from altprop.core.steps import DROPOUTS, Step, run_all


def find_leaky() -> Any:
    """The class ``snntorch.Leaky``.  Raises ``Refused`` where snnTorch is missing."""
    try:
        return importlib.import_module("snntorch").Leaky
    except ImportError as error:
        raise Refused("rule 'ep_lif' needs snntorch for its neurons: pip install 'altprop[spiking]'") from error


class Cells(NamedTuple):
    """The neurons of one layer, of all samples."""

    s: Tensor  # (N, *out)  rate: spikes, low-passed
    v: Tensor  # (N, *out)  membrane
    spikes: Tensor  # (N, *out)  how many, since the count began

    def twice(self) -> Cells:
        """(2N, *out) of each, the same again, as the count begins anew."""
        s, v = torch.cat([self.s, self.s]), torch.cat([self.v, self.v])
        return Cells(s, v, torch.zeros_like(s))


def current(layer: Layer, s: Tensor, like: Trace | None = None, reach: bool = False) -> Trace:
    """The trace of what rates s drive into the layer: its h is W s + b, its activation, as it ran, that of ``like``."""
    trace = forward(Layer(layer.inlet, layer.synapse, nn.Sequential(), layer.name), s, like, reach=reach)
    return trace._replace(activation=like.activation if like else [])


def twice(trace: Trace) -> Trace:
    """Of the same samples again, (2N, *out), with the same dropout masks."""
    inlet, activation = ([_twice(step) for step in steps] for steps in (trace.inlet, trace.activation))
    return trace._replace(h=torch.cat([trace.h, trace.h]), inlet=inlet, activation=activation)


def _twice(step: Step) -> Step:
    masks = isinstance(step.module, tuple(DROPOUTS)) and step.saved is not None
    return Step(step.module, torch.cat([step.saved, step.saved])) if masks else step


class Neurons(nn.Module):
    """They have no state of their own: who steps them keeps the ``Cells``."""

    def __init__(self, leak: float, like: Tensor) -> None:
        super().__init__()
        self.leaky = find_leaky()(like.new_tensor(1 - leak), threshold=like.new_ones(()), surrogate_disable=True)
        self.leaky.to(like)

    def rest(self, like: Tensor) -> Cells:
        """Silent, and half charged, so that spikes are the charge rounded to the nearest, not down."""
        return Cells(torch.zeros_like(like), torch.full_like(like, 0.5), torch.zeros_like(like))

    def forward(self, c: Tensor, cells: Cells, t: int) -> Cells:
        """One step, the t-th, of charge c (N, *out)."""
        q, v = self.leaky(c, cells.v)
        self.leaky.mem = c.new_zeros(0)  # snnTorch would keep the last batch's
        q = q.to(c)  # which snnTorch makes float32
        return Cells(torch.lerp(cells.s, q, t**-0.5), v, cells.spikes + q)


class RateNetwork(nn.Module):
    """What the spikes stand for, as autograd can follow it: the same steps, in which a rate moves by its charge."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.net, self.of = rule.net, [rule]  # in a list, as its parameters are the net's

    def forward(self, x: Tensor) -> Tensor:
        (rule,) = self.of
        spiking, reading = rule.layers[: rule.top], rule.layers[rule.top :]
        s: list[Any] = [
            rule.like.new_zeros(len(x), *shapes.h, requires_grad=True) for shapes in rule.shapes[: rule.top]
        ]
        for t in range(1, rule.free + 1):
            with torch.enable_grad():
                driven = (layer.respond(layer.inlet(h)) for layer, h in zip(spiking, [x, *s], strict=False))
                phi = sum((a * h).sum() for a, h in zip(driven, s, strict=True))
                u = torch.autograd.grad(phi, s, create_graph=True)  # (N, *out_l)
                c = (layer.activation(a).clamp(0, 1) for layer, a in zip(spiking, u, strict=True))
                s = [torch.lerp(h, to, t**-0.5) for h, to in zip(s, c, strict=True)]
        return reading[0](s[-1]) if reading else s[-1]


def settle(
    layers: list[Layer],
    neurons: Neurons,
    traces: list[Any],
    cells: list[Cells],
    steps: int,
    n: Any = 0.0,
    after: int = 0,
) -> tuple[list[Trace], list[Cells]]:  # fmt: skip
    """(traces, cells) when the neurons have made ``steps`` more, the first being step ``after`` + 1.

    traces: of the layers' currents, whose dropout masks are replayed; None where nothing has run yet.  n (N, *out_top)
    is taken from the current of the last layer."""
    cells = [*cells]
    for t in range(after + 1, after + steps + 1):
        above = zip(layers[1:], cells[:-1], traces[1:], strict=True)
        traces = [traces[0], *(current(layer, each.s, like, reach=True) for layer, each, like in above)]
        u = [trace.h for trace in traces]  # (N, *out_l)
        for index, (trace, each) in enumerate(zip(traces[1:], cells[1:], strict=True)):
            u[index] = u[index] + pull(trace, each.s)
        u[-1] = u[-1] - n
        for index, layer in enumerate(layers):
            h, masks = run_all(layer.activation, u[index], traces[index].activation or None)
            traces[index] = traces[index]._replace(activation=masks)
            cells[index] = neurons(h.clamp(0, 1), cells[index], t)
    return traces, cells
