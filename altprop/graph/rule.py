"""An aligned net as a rule of the training loop, so that nets of blocks train by feedback alignment as others do.

    delta_x = delta_y B,  W.grad += delta_y^T x          in every Linear and convolution, inside of blocks too

References, deviations from the papers: those of ``altprop.align``.
Easily confused with: FA and its kin in ``RULES``, which need no autograd, but a matrix for every layer as a whole.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Claims, Ready, Rule
from altprop.graph.align import Keep, feedback, restore
from altprop.graph.align import align as align_model
from altprop.graph.modules import KINDS


class Aligned(Rule):
    """A net whose backward ``align`` has sent through feedback, as a rule of the training loop.

    align: the rule of ``align``, which gets init, scale, seed, noise, strict and keep as well.  ``learned`` holds the
    matrices; with wm every batch in training mode mirrors as many samples of noise as it has."""

    family = "feedback"
    claims = Claims(weight_transport="none", locking="backward", signal="layerwise", inside="backprop")
    reference = "lillicrap2016"

    def __init__(
        self, net: nn.Module, *, align: str = "fa", init: str = "he_uniform", scale: float = 1.0, seed: int = 0,
        noise: float = 0.1, strict: bool = True, keep: Keep = (), **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        align_model(net, align, init=init, scale=scale, seed=seed, noise=noise, strict=strict, keep=keep)
        self.learned = feedback(net)
        for index, layer in enumerate(self.layers):
            inside = set(layer.synapse.modules())
            own = [m._altprop for m, _ in self.learned.places.values() if m in inside]
            self.layers[index] = replace(layer, beside=nn.ModuleList(dict.fromkeys(own)))
        self.mirrors = align == "wm"
        kind = KINDS[align]
        self.claims = replace(
            self.claims, weight_transport="signs" if kind.signs else "none", draws=kind.redrawn or self.mirrors,
            learns=("learned",) if kind.learned else (),
        )  # fmt: skip

    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        with torch.enable_grad():
            output = self.net(x.detach())  # (N, C)
        loss, e = self.output_error(output.detach(), self.targets(y, len(x)))
        if output.requires_grad:
            output.backward((e / len(x)).to(output.dtype))
        if self.mirrors and self.training:
            self.learned.mirror(len(x))
        if ready is not None:
            for layer in reversed(self.layers):
                ready(layer)
        return loss

    def differentiable(self) -> nn.Module:
        return restore(copy.deepcopy(self.net))

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [*super().param_groups(lr), *self.learned.param_groups(lr)]
