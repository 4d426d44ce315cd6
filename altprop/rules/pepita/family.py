"""What the rules of the PEPITA family share: two passes, of which the second has its input modulated by the error.

    h_l = n(f_l(a_l))        n: as it is, or divided by its length, of a sample or of the whole batch; not the output's
    x^m = x + s e F          perturb="error"     F fixed, (C, *in)                                    (N, *in)
    x^m = x                  perturb="none"      the control F = 0: hidden layers stay as they are
    x^m = x + r u            perturb="random"    u uniform in [0, 1), a number for each input

in = the input of the layer that is modulated, the image for the first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Ready, Rule, Trace, draw_feedback, forward, project, push
from altprop.core.layer import is_convolution, is_dense, is_flat_linear, parts
from altprop.core.local import arranged, pads_itself
from altprop.rules.pepita.choices import check
from altprop.rules.pepita.modulation import NORMALISE, follow

PERTURB: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {  # (rule, h, e) -> what is added to h
    "error": lambda rule, h, e: project(rule.s * e, rule.feedback[0]),
    "none": lambda rule, h, e: torch.zeros_like(h),
    "random": lambda rule, h, e: rule.scale * torch.rand(h.shape, dtype=h.dtype, device=h.device),
}


class Modulated(Rule):
    """The family: feedback[0] (C, *in) is F, drawn as ``init`` at ``scale`` from ``seed``.

    Raises ``Refused`` for an option that is none, and for a net whose activity has no difference to learn from."""

    family = "forward-only"
    refuses = (_NormBase,)

    def __init__(
        self, net: Any, *, sign: int = 1, normalise: str | None = None, perturb: str = "error", at: int = 0,
        init: str = "he_uniform", scale: float = 0.05, seed: int = 0, **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        check(self, at, sign=sign, normalise=normalise, perturb=perturb)
        self.s, self.normalise, self.perturb, self.scale, self.feedback_reaches = sign, normalise, perturb, scale, at
        shape = (self.classes, *self.shapes[at].x)
        self.feedback = draw_feedback([shape], init=init, scale=scale, seed=seed, like=self.like)
        own, draws = normalise is not None, perturb == "random"
        inference: Any = "own" if own else "net"
        self.claims = replace(self.claims, inference=inference, averages=normalise != "batch", draws=draws)

    @abstractmethod
    def second_pass(self, x: Tensor, first: list[Trace], t: Any, e: Tensor, ready: Ready | None) -> None:
        """On x^m; every layer learns from what differs from its trace of the first pass."""

    @torch.no_grad()
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        x, first = arranged(x), list[Trace]()
        for index in range(len(self.layers)):
            first.append(self.present(index, first[-1].h if first else x, keep=True))
        t = self.targets(y, len(x))
        loss, e = self.output_error(first[-1].h, t)
        self.second_pass(x, first, t, e, ready)
        return loss

    def forward(self, x: Tensor) -> Any:
        if self.normalise is None:
            return self.net(x)
        *hidden, last = self.layers
        for layer in hidden:
            x = NORMALISE[self.normalise](layer(x))
        return last(x)

    def differentiable(self) -> nn.Module:
        return self

    def present(self, index: int, h: Tensor, like: Trace | None = None, **known: Any) -> Trace:
        """Layer ``index`` on h, its activity normalised unless it is the output; ``like`` replays dropout masks."""
        trace = forward(self.layers[index], h, like, **known)
        last = index == len(self.layers) - 1
        return trace if last else trace._replace(h=NORMALISE[self.normalise](trace.h))

    def modulate(self, x: Tensor, first: list[Trace], e: Tensor) -> tuple[Tensor, Tensor]:
        """(x^m (N, *in), d = x^m - x) at the layer that the error enters."""
        h = first[self.feedback_reaches - 1].h if self.feedback_reaches else x
        d = PERTURB[self.perturb](self, h, e)
        return h + d, d

    def pushed(self, first: list[Trace], e: Tensor) -> Tensor | None:
        """W d of the first layer as s e (F W^T), which is a product a class, not one a sample; None where d is another,
        or where W is more than a product of the input with nothing before it."""
        layer, module = self.layers[0], self.layers[0].synapse  # type: Any, Any
        bare = is_dense(module) and is_convolution(module) and pads_itself(module) and parts(layer.inlet) == []
        low = (bare or is_flat_linear(layer, self.shapes[0].a)) and self.classes < len(e)
        low = low and self.perturb == "error" and self.feedback_reaches == 0
        return project(self.s * e, push(first[0], self.feedback[0])) if low else None

    def again(
        self, index: int, clean: Trace, h: Tensor, d: Tensor, d_a: Tensor | None = None
    ) -> tuple[Trace, Tensor, Tensor]:
        """Layer ``index`` in the second pass: see ``follow``."""
        if not is_dense(clean.layer.synapse):
            trace = self.present(index, h, like=clean)
            return trace, trace.x - clean.x, trace.h - clean.h
        trace, d_x, d = follow(clean, h, d, d_a)
        if self.normalise is None or index == len(self.layers) - 1:
            return trace, d_x, d
        h = NORMALISE[self.normalise](trace.h)
        return trace._replace(h=h), d_x, h - clean.h
