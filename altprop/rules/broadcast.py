"""Global error-vector broadcasting: every unit is a vector with a component an output, and all of them hear the same
error vector.  Weights are not negative past the first layer, so that the sign of what a unit does to the output is
known, and no feedback is needed.

    a_l = h_{l-1} W_l^T + b_l,  h_l = g_l a_l       g_l = [<t_l, a_l> >= 0] (N, 1, n_l)         (N, K, n_l)
    delta_L = e / N                                 e = y_hat - t (N, K), of the one unit above
    delta_l = g_l e / N                             the same e for every unit                   (N, K, n_l)
    W_l.grad += delta_l^T h_{l-1}                   so [i, j] += g_i <h_j, e> / N               (n_l, n_{l-1})
    b_l.grad += sum of delta_l                      one bias a component                        (K, n_l)
    W_l <- max(W_l, 0), l > 1                       at the beginning of the next credit

Backpropagation has delta_l = g_l s_l e / N with a sensitivity s_l >= 0, which comes down through W_L ... W_{l+1}; here
it is 1, so that signs agree.

Reference: Clark, Abbott and Chung, NeurIPS 2021.
Deviations from the paper:
    1. Weights are cut off at 0 before a batch, not after the step, which a rule does not see; the net computes with
       max(W_l, 0) meanwhile, so that every number is the same.
    2. The input is not expanded to K times its features: the first layer has weights for each component instead.
    3. Dense layers only; the paper has convolutional and locally connected ones too.
Easily confused with: direct feedback alignment, whose units are numbers and hear the error through a random matrix.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from altprop.core import Claims, Layer, Ready, Refused, Rule, Suits, accumulate, correlate
from altprop.core.local import refuse_autocast


class GEVB(Rule):
    """Global error-vector broadcasting (Clark et al. 2021), on nets of vector units: ``altprop.nets.vectorised``.

    Raises ``Refused`` for hidden layers of ordinary units, for an activation that does more than let a vector pass or
    not, and for dropout."""

    family, reference = "feedback", "clark2021"
    suits = Suits(lr=0.003, lr_regression=0.003, optimizer="adam", init="on_off")
    refuses = (_DropoutNd,)
    claims = Claims(
        weight_transport="none", locking="forward", signal="error", trains=("synapse",), changes=("net",),
        is_backprop_when="one hidden layer, and all weights above it 1",
    )  # fmt: skip

    def __init__(self, net: Any, **arguments: Any) -> None:
        super().__init__(net, **arguments)
        for layer, shapes in zip(self.layers, self.shapes, strict=True):
            hidden = layer is not self.layers[-1]
            if hidden and (len(shapes.h) != 2 or shapes.h[0] != self.classes or shapes.a != shapes.h):
                what = f"GEVB needs vector units, ({self.classes}, units), but {layer} makes {tuple(shapes.h)}"
                raise Refused(f"{what}: build the net with init 'on_off', by altprop.nets.vectorised, or use 'dfa'")
            if not _lets_pass(layer, shapes.a, self.like):
                what = f"the activation of {layer} does more than let a vector pass or not"
                raise Refused(f"{what}: use altprop.nets.VectorGate, and nothing behind the last layer")

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        refuse_autocast(x)
        t, h, passed = self.targets(y, len(x)), x, []  # type: Any, Tensor, list[tuple[Layer, Tensor, Any]]
        for layer in self.layers:
            below = layer.inlet(h)
            if passed and layer.synapse.weight.requires_grad:
                layer.synapse.get_parameter("weight").detach().clamp_(min=0)
            a = layer.synapse(below)  # (N, K, n_l)
            h = layer.activation(a)
            g = 1 if layer is self.layers[-1] else (h == a).all(1, keepdim=True)  # (N, 1, n_l); a = 0 passes
            passed.append((layer, below, g))
        loss, e = self.output_error(h, t)
        e = e[:, :, None] / len(x)  # (N, K, 1)
        for layer, below, g in passed:
            _learn(layer.synapse, below, g * e)
            if ready is not None:
                ready(layer)
        return loss


def _learn(synapse: Any, h: Tensor, delta: Tensor) -> None:
    """h (N, K, n), or (N, n) where each component has its own weights; delta (N, K, m)."""
    signal = delta if h.dim() > 2 else delta.flatten(1)
    if synapse.weight.requires_grad:
        accumulate(synapse.weight, correlate(synapse, h, signal))
    if synapse.bias is not None and synapse.bias.requires_grad:
        accumulate(synapse.bias, signal.sum(0).sum_to_size(synapse.bias.shape))


def _lets_pass(layer: Layer, shape: torch.Size, like: Tensor) -> bool:
    """Whether each unit of a sample comes out as it is, or as zeros."""
    a = torch.linspace(-1, 1, shape.numel()).to(like).view(1, *shape)
    activation: nn.Module = copy.deepcopy(layer.activation).eval()
    with torch.no_grad():
        h = activation(a.clone()).view(a.shape)
    return bool(((h == a).all(1) | (h == 0).all(1)).all())
