"""A label beside a flat sample: the first layer of Forward-Forward hears it by weights U of the rule's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from altprop.core import Layer, Rule, Trace, accumulate, draw_feedback, forward
from altprop.core.product import outer
from altprop.core.steps import run_all


class Hearing(Layer):
    """a = x W^T + b + c U^T of samples with a label, (x, c) (N, in + C); beside it stands [U], U (out, C)."""

    def respond(self, x: Tensor) -> Any:
        """(N, in + C), or (N, in) of samples without a label -> (N, out)."""
        synapse: Any = self.synapse
        (U,) = self.beside.parameters()  # type: ignore[union-attr]
        a = synapse(x[:, : synapse.in_features])
        return a if x.shape[1] == synapse.in_features else a + x[:, synapse.in_features :] @ U.T


def hear(layer: Layer, x: Tensor) -> tuple[Trace, Tensor | None]:
    """(The layer's trace; c (N, C), the label beside x (N, in + C) that a ``Hearing`` layer hears, else None)."""
    if not isinstance(layer, Hearing):
        return forward(layer, x), None
    n: Any = layer.synapse.in_features
    x, _ = run_all(layer.inlet, x, graph=False)
    bare = Layer(nn.Sequential(), layer.synapse, layer.activation, layer.name)
    return forward(bare, x[:, :n], a=layer.respond(x))._replace(layer=layer), x[:, n:]


def learn_own(weight: Tensor, x: Tensor, signal: Tensor) -> None:
    """weight.grad += signal^T x, of a weight (m, n) of the rule's own; signal (N, m), x (N, n)."""
    if weight.requires_grad:
        accumulate(weight, outer(signal, x))


def place_beside(rule: Rule, table: nn.Linear | None) -> nn.ParameterList:
    """[U], by which the rule's first layer, of the synapse ``table``, hears of labels; [] where there is no table.

    U (out, C) is drawn by a generator of its own, as large as the columns of W are."""
    if table is None:
        return nn.ParameterList()
    (normal,) = draw_feedback([(table.out_features, rule.classes)], init="normal", like=table.weight)
    U = nn.ParameterList([nn.Parameter(normal * table.weight.detach().square().mean().sqrt())])
    first = rule.layers[0]
    rule.layers[0] = Hearing(first.inlet, table, first.activation, first.name, U)
    return U
