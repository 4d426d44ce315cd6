"""What the rules without a teaching signal share: layer by layer upward, each layer learns from its own input and
output alone, and the last one reads them out by the delta rule.

    u_l = h_{l-1} W_l^T,  a_l = u_l + b_l,  h_l = f_l(a_l)                                       (N, *out_l)
    W_l.grad += -Delta W_l,  l < L            Delta W_l is the rule's direction of growth         (*W_l)
    W_L.grad += (e / N)^T h_{L-1},  b_L.grad += sum e / N                             e = y_hat - t

Hidden biases and norms get no gradient.  A layer whose weight does not require one is only passed, and nothing above
the highest that does is computed: freezing is how layers are trained one after another.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from altprop.core import Layer, Phase, Ready, Staged, Trace, accumulate, ascend, descend, forward, learn
from altprop.core.phase import modules_of
from altprop.rules.hebbian.correlations import present, weight_of
from altprop.rules.hebbian.needs import check


class Hebbian(Staged):
    """The family.  readout: whether the last layer reads out, and learns by the labels; else it is one of the others.

    Raises ``Refused`` for another layer that is neither Linear nor a convolution, or, where the gradient is one
    ``of_activity``, that has no activity for each of its units and positions."""

    family = "hebbian"
    of_activity: ClassVar[bool] = False  # a gradient finds h in its trace, where otherwise a stands twice
    of_slope: ClassVar[bool] = False  # a gradient finds h, and may take a signal through the activation, by ``slope``

    def __init__(self, net: Any, *, readout: bool = True, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        self.readout = readout
        for layer, shapes in zip(hidden(self), self.shapes, strict=False):
            check(self, layer, shapes, self.of_activity)

    @abstractmethod
    def gradient(self, index: int, trace: Trace) -> Tensor:
        """-Delta W (*W) of layer ``index``, from its trace with a."""

    def respond(self, index: int, trace: Trace) -> Any:
        """a (N, *out) of the trace, which is W x + b."""
        return trace.a

    def read_out(self, h: Tensor, t: Any) -> tuple[Tensor, Tensor]:
        """(output, loss): the last layer learns from h_{L-1} and t by the delta rule."""
        traces = ascend(self.layers[-1:], h, reach=1)
        output = traces[-1].h
        loss, e = self.output_error(output, t)
        for trace, delta in descend(traces, e / len(e)):
            learn(trace, delta)
        return output, loss

    @torch.no_grad()
    def stage(self, index: int, h: Tensor, t: Any) -> tuple[Any, Tensor | None]:
        """With t=None nothing reads out, and what nobody above learns from is None."""
        if self.readout and index == len(self.layers) - 1:
            return self.read_out(h, t)
        layer = self.layers[index]
        trace = forward(layer, h) if self.of_slope else self._observed(index, present(layer, h))
        if _learns(layer):
            accumulate(weight_of(trace), self.gradient(index, trace))
        if index + 1 == self._top(t is not None):
            return None, h.new_zeros(())
        return trace.h if self.of_activity or self.of_slope else layer.activation(trace.a), None

    def _observed(self, index: int, trace: Trace) -> Trace:
        a = self.respond(index, trace)
        if not self.of_activity:
            return trace._replace(a=a)
        h = self.layers[index].activation(a).reshape(a.shape)  # the last layer's may be flattened
        return trace._replace(a=a, h=h)

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor | None = None, ready: Ready | None = None) -> Tensor:
        """The stages up to the highest that learns; the loss is that of the readout, 0 where nothing is read out."""
        reads = self.readout and y is not None and any(p.requires_grad for p in self.layers[-1].parameters())
        h, t, loss = x, self.targets(y, len(x)) if reads else None, None
        for index, layer in enumerate(self.layers[: self._top(reads)]):
            h, loss = self.stage(index, h, t)
            if ready is not None and (_learns(layer) if layer in hidden(self) else reads):
                ready(layer)
        return x.new_zeros(()) if loss is None else loss

    def phases(self) -> list[Phase]:
        """One for each layer, the readout last: beside each other, unless a recipe parts them.

        A norm behind the layer below stands before the one that learns, and moves with it; so does a frozen layer's."""
        phases: list[Phase] = []
        moves: list[nn.Module] = []  # of layers that are frozen for good
        behind: list[nn.Module] = []
        for number, layer in enumerate(hidden(self), 1):
            own = (*moves, *behind, *modules_of(layer))
            phases.append(Phase(f"layer {number}", own, self.credit, labels=False, beside=number > 1))
            if _learns(layer):
                behind = [layer.activation]
            else:
                moves += modules_of(layer)
        return [*phases, *(Phase("readout", modules_of(self.layers[-1]), self.credit, beside=True),) * self.readout]

    def _top(self, reads: bool) -> int:
        """How many layers are run: all, or those up to the highest that learns without labels."""
        learning = (n for n, layer in enumerate(hidden(self), 1) if _learns(layer))
        return len(self.layers) if reads else max(learning, default=0)


def _learns(layer: Layer) -> bool:
    return layer.synapse.get_parameter("weight").requires_grad


def hidden(rule: Any) -> list[Layer]:
    """The layers that learn without labels."""
    return rule.layers[: len(rule.layers) - rule.readout]
