"""Time for layers that know none: a batch of N samples becomes one of T * N rows, all samples of a step together.

    x (N, *in) -> Spikes -> (T * N, *in) -> inlet, synapse, activation, Neurons -> ... -> Rates -> (N, *out)

So a spiking net is a net of ordinary layers, whose synapse takes all steps in one product; only ``Neurons`` and the
exponential traces run through them one after the other.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Refused, RuleWarning


def find_leaky() -> Any:
    """The class ``snntorch.Leaky``.  Raises ``Refused`` where snnTorch is missing."""
    try:
        return importlib.import_module("snntorch").Leaky
    except ImportError as error:
        raise Refused("rule 'stdp' needs snntorch for its neurons: pip install 'altprop[spiking]'") from error


def warn_outside(example: Tensor) -> None:
    """Warns where inputs leave [0, 1], since ``Spikes`` cuts them off there."""
    low, high = example.min().item(), example.max().item()
    if low < 0 or high > 1:
        what = f"inputs from {low:g} to {high:g} came to STDP, which takes them for probabilities of a spike"
        warnings.warn(f"{what} and cuts them to [0, 1]: scale them to that range first", RuleWarning, stacklevel=3)


def lowpass(z: Tensor, steps: int, keep: float) -> Tensor:
    """The trace z'_t = keep z'_{t-1} + (1 - keep) z_t of z (T * N, *), in the same shape; z'_0 = 0."""
    trace = torch.zeros_like(z[: len(z) // steps])
    return torch.cat([trace := trace * keep + step * (1 - keep) for step in z.chunk(steps)])


class Spikes(nn.Module):
    """x (N, *in) -> (T * N, *in): in training spikes of probability x, cut to [0, 1], by torch's global generator; in
    eval mode that probability itself, at every step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        rate = x.detach().clamp(0, 1).repeat(self.steps, *(1 for _ in x.shape[1:]))
        return rate.bernoulli() if self.training else rate


class Rates(nn.Module):
    """Spikes (T * N, *out) -> (N, *out): how many a step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, spikes: Tensor) -> Tensor:
        return spikes.unflatten(0, (self.steps, -1)).mean(0)


class Neurons(nn.Module):
    """Currents (T * N, *out) -> spikes (T * N, *out), 0 or 1, of ``snntorch.Leaky`` neurons.

    leaky: the neurons, whose threshold (units,) is theta.  units: the axis of ``out`` that they are on.  inhibition: of
    the neurons of one sample and position that pass theta, only the one furthest above it spikes; the others are held
    at theta, so that snnTorch, which resets whatever has passed it, leaves them their charge."""

    def __init__(self, leaky: Any, steps: int, units: int, inhibition: bool) -> None:
        super().__init__()
        self.leaky, self.steps, self.units, self.inhibition = leaky, steps, units, inhibition

    @property
    def theta(self) -> Tensor:
        """Their thresholds (units,)."""
        return self.leaky.threshold

    @torch.no_grad()
    def forward(self, current: Tensor) -> Tensor:
        current = current.movedim(self.units, -1)
        theta, trains = self.theta, []
        membrane = torch.zeros_like(current[: len(current) // self.steps])  # (N, *positions, units)
        for step in current.chunk(self.steps):
            spikes, membrane = self.leaky(step, membrane)
            spikes = spikes.to(step)  # which snnTorch makes float32
            if self.inhibition:
                winner = (membrane - theta).argmax(-1, keepdim=True)
                spikes = torch.zeros_like(spikes).scatter_(-1, winner, spikes.gather(-1, winner))
                membrane = torch.where(spikes > 0, membrane, torch.minimum(membrane, theta))
            trains.append(spikes)
        self.leaky.mem = theta.new_zeros(0)  # snnTorch would keep the last batch's
        return torch.cat(trains).movedim(-1, self.units)
