"""What surrounds the phases of equilibrium propagation: inference, what is told of it, and its sequence in time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Refused, Rule
from altprop.core.local import arranged
from altprop.rules.equilibrium.choices import followed, told
from altprop.rules.equilibrium.contrast import End, contrast
from altprop.rules.equilibrium.readout import Readout
from altprop.rules.equilibrium.states import Circuit


class Equilibrium(Rule):
    """The family: the first ``depth`` layers have states, which settle in ``free`` steps."""

    family = "energy"
    readout: type[Readout]
    depth: int
    free: int
    nudged: int
    beta: float
    three: bool  # phases
    in_turn: bool
    rates: list[float]  # one a layer, or none
    seen: dict[str, Tensor]  # by the last credit
    warned: bool

    def forward(self, x: Tensor) -> Any:
        circuit, zeros = self.at_rest(x)
        return self.readout(self, circuit.settle(zeros, self.free), x).output

    def at_rest(self, x: Tensor) -> tuple[Circuit, list[Tensor]]:
        """The layers of Phi driven by x (N, *in), and their states of zeros."""
        zeros = [arranged(x.new_zeros(len(x), *shapes.h)) for shapes in self.shapes[: self.depth]]
        return Circuit(self.layers[: self.depth], x, self.feedback, self.in_turn), zeros

    def differentiable(self) -> nn.Module | None:
        return self if followed(self.layers[1:]) else None

    def watch(self) -> dict[str, float | dict[str, float]]:
        return told(self, self.seen)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """One, or one a layer where each has a rate of its own; what stands beside a layer has its rate."""
        parts = [[*layer.parameters()] for layer in self.layers] if self.rates else [[*self.parameters()]]
        groups = [[p for p in part if p.requires_grad] for part in parts]
        return [{"params": p, "lr": lr * rate} for p, rate in zip(groups, self.rates or [1.0], strict=True) if p]

    @torch.no_grad()
    def in_time(self, x: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each weight of Phi, by its layer's name, (T, *W) twice, T = ``nudged``: what each nudged step adds to its
        gradient, and what backpropagation through time finds at the last T uses of it, the last one first.

        As the states settle, both become equal at every step when beta goes to 0 (Ernoult et al. 2019).  Fills
        ``.grad``.  Raises ``Refused`` where that does not hold, or where autograd cannot follow."""
        flaws = {
            "a vector field has no Phi": len(self.feedback) > 0,
            "layers that move in turn go the other way back; use order='together'": self.in_turn,
            "autograd cannot follow a pool in an inlet": self.differentiable() is None,
            f"free={self.free} is less than nudged={self.nudged}": self.free < self.nudged,
        }
        for flaw, holds in flaws.items():
            if holds:
                raise Refused(f"EP has no sequence to compare with backpropagation through time: {flaw}")
        t, weights = self.targets(y, len(x)), [layer.synapse.get_parameter("weight") for layer in self.layers]
        circuit, zeros = self.at_rest(x)
        star = circuit.settle(zeros, self.free)
        read, own = self.readout(self, star, x), list[list[Any]]()
        for beta in (self.beta, -self.beta)[: 1 + self.three]:
            s, bonds = star, circuit.bonds_at(star)
            for _ in range(self.nudged):
                s_next = circuit.settle(s, 1, read.nudge(t, beta))
                bonds_next = circuit.bonds_at(s_next)
                for n, W in enumerate(weights[: self.depth]):
                    W.grad, minus = None, End(s[n], bonds[n])
                    contrast(End(s_next[n], bonds_next[n]), minus, minus, beta * len(x) * (1 + self.three), None)
                own.append([W.grad for W in weights[: self.depth]])
                s, bonds = s_next, bonds_next
        exact = self._back(x, y, circuit.settle(zeros, self.free - self.nudged), weights[: self.depth])
        pairs = {}
        for n, layer in enumerate(self.layers[: self.depth]):
            sides = torch.stack([each[n] for each in own]).unflatten(0, (-1, self.nudged))  # (1 or 2, T, *W)
            pairs[layer.name] = (sides.sum(0), torch.stack([each[n] for each in exact]))
        return pairs

    @torch.enable_grad()
    def _back(self, x: Tensor, y: Tensor, s: list[Tensor], weights: list[Any]) -> list[list[Tensor]]:
        """Gradients of the loss at the last ``nudged`` uses of the weights, the last one first."""
        uses = []
        for _ in range(self.nudged):
            below = [each.detach().requires_grad_() for each in s]
            s = self.at_rest(x)[0].settle(below, 1)
            uses.append((below, s))
        top = [each.detach().requires_grad_() for each in s]
        loss = self.output_error(self.readout(self, top, x).output, self.targets(y, len(x)))[0]
        signals, found = torch.autograd.grad(loss, top, allow_unused=True, materialize_grads=True), []
        for below, s in reversed(uses):
            both = torch.autograd.grad(s, [*below, *weights], signals, allow_unused=True, materialize_grads=True)
            signals = both[: len(below)]
            found.append([*both[len(below) :]])
        return found
