"""Decoders that learn: parameters beside their layers, with phases of their own.

phase "net", and "decoders" beside it, batch by batch: parallel
"decoders 1", "net 1", "decoders 2", ...: an epoch each, ``alternate`` times
"decoders first": before all, where a recipe gives it epochs
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from altprop.core import Claims, Feedback, Phase, Ready, Refused, Trace, ascend, draw_feedback
from altprop.rules.targets.family import Targets
from altprop.rules.targets.inverse import nonlinearity


class Decoded(Targets):
    """V[l] (*W_{l+1}) and offsets[l] lead from layer l + 1 down to layer l, of those that have a decoder.

    V stands where ``claims.learns`` says first.
    Raises ``Refused`` where a layer with a decoder is neither Linear nor a convolution."""

    claims = Claims(
        weight_transport="none", locking="backward", signal="layerwise", passes=2, changes=("reconstruction",),
        trains=("synapse", "activation"), draws=True, learns=("decoders", "offsets"),
    )  # fmt: skip
    refuses = (nn.modules.batchnorm._NormBase,)  # whose statistics the pass on noise would move
    below_output: ClassVar[bool] = True  # whether a decoder leads down from the output

    def __init__(
        self, net: Any, *, noise: float, decoder_rate: float, alternate: int, init: str, scale: float, seed: int,
        **arguments: Any,
    ) -> None:  # fmt: skip
        super().__init__(net, **arguments)
        if not (noise > 0 and decoder_rate > 0 and alternate >= 0):
            what = f"noise={noise}, decoder_rate={decoder_rate}, alternate={alternate} came; {type(self).__name__}"
            raise Refused(f"{what} takes a noise and a rate above 0, and a number of rounds of at least 0")
        self.noise, self.decoder_rate, self.alternate = noise, decoder_rate, alternate
        shapes = self.layerwise_shapes[: None if self.below_output else -1]
        drawn = draw_feedback(shapes, init=init, scale=scale, seed=seed, like=self.like)
        setattr(self, self.claims.learns[0], nn.ParameterList(drawn))
        self.reconstruction = Feedback(self.like.new_zeros(()) for _ in shapes)
        self.bends = [nonlinearity(layer) for layer in self.layers]

    @property
    def V(self) -> nn.ParameterList:
        """The matrices of the decoders."""
        return getattr(self, self.claims.learns[0])

    def stand_beside(self, lists: Sequence[nn.ParameterList]) -> None:
        """Each layer's part of the lists beside it."""
        for index, own in enumerate(zip(*lists, strict=True), 1):
            self.layers[index] = replace(self.layers[index], beside=nn.ParameterList(own))

    @abstractmethod
    def invert(self, index: int, trace: Trace, below: Tensor) -> Tensor:
        """The decoder of layer ``index`` learns from the activity (N, *out) below; returns its loss."""

    def fit(self, index: int, trace: Trace, below: Tensor) -> None:
        if self.training and index <= len(self.V) and self.V[index - 1].requires_grad:
            self.reconstruction[index - 1] = self.invert(index, trace, below)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: None = None, ready: Ready | None = None) -> Tensor:
        """A batch x (N, *in) for the decoders alone; returns the sum of their losses."""
        traces = ascend(self.layers, x, reach=1)
        for index in range(1, len(traces)):
            self.fit(index, traces[index], traces[index - 1].h)
        for layer in self.layers if ready is not None else ():
            ready(layer)  # type: ignore[misc]
        return torch.stack(list(self.reconstruction)).sum()

    def phases(self) -> list[Phase]:
        """Net and decoders beside each other, or in turns; without decoders the net alone."""
        net, own = (self.net, self.beside), tuple(getattr(self, name) for name in self.claims.learns)
        if not len(self.V):
            return super().phases()
        first = Phase("decoders first", own, self.reconstruct, labels=False, epochs=0)
        if not self.alternate:
            beside = Phase("decoders", own, self.reconstruct, labels=False, beside=True)
            return [first, Phase("net", net, self.credit), beside]
        rounds = range(1, self.alternate + 1)
        turns = ((Phase(f"decoders {n}", own, self.reconstruct, labels=False, epochs=1),
                  Phase(f"net {n}", net, self.credit, epochs=1)) for n in rounds)  # fmt: skip
        return [first, *(phase for turn in turns for phase in turn)]

    def watch(self) -> dict[str, Any]:
        """The decoders' losses in the last batch that they have learned from, by the layer that they lead from."""
        names = (layer.name for layer in self.layers[1:])
        losses = {name: float(loss) for name, loss in zip(names, self.reconstruction, strict=False)}
        return {"reconstruction": losses} if losses else {}

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        own = [p for name in self.claims.learns for p in getattr(self, name)]
        return [*super().param_groups(lr), *([{"params": own, "lr": self.decoder_rate * lr}] if own else [])]
