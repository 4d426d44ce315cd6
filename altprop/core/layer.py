"""What a layer is, and how a network is cut into layers.

    net:   Flatten | Linear  ReLU  Dropout | Linear          Conv2d  ReLU | MaxPool2d  Flatten  Linear
    layer: inlet     synapse  activation     synapse         synapse  act.  inlet               synapse

The *inlet* prepares the input, the *synapse* is the one trainable module, the *activation* is everything after it up
to the next inlet.  Pooling and reshaping open the next inlet, so that activity has the shape of the synapse's output.
*Beside* a layer stands what a rule has of its own that learns together with it: feedback, a decoder, a classifier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Size, Tensor, nn
from torch.nn.modules import padding, pooling
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from altprop.chain import chain
from altprop.limits import Refused


@dataclass(frozen=True, eq=False)
class Layer:
    """One stage of credit assignment: ``h = activation(synapse(inlet(x)))``.

    ``name`` is the synapse's path in the net, for messages.  ``beside``: modules of the rule's own that learn with this
    layer; the rule holds them as attributes too, so that they are saved, and puts them there by ``replace``."""

    inlet: nn.Module
    synapse: nn.Module
    activation: nn.Module
    name: str = ""
    beside: nn.Module | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return self.activation(self.respond(self.inlet(x)))

    def respond(self, x: Tensor) -> Tensor:
        """a (N, *out): what the synapse makes of what the inlet has prepared."""
        return self.synapse(x)

    def __str__(self) -> str:
        text = repr(self.synapse)
        return f"layer '{self.name}' ({type(self.synapse).__name__ if chr(10) in text else text})"

    @property
    def inlet_learns(self) -> bool:
        """Whether a norm with parameters stands in the inlet, so that a signal must come down to it."""
        return any(p.requires_grad for p in self.inlet.parameters())

    @property
    def last(self) -> nn.Module:
        """The module that computes the layer's output, of those that change more than its shape."""
        return [self.synapse, *(part for part in parts(self.activation) if not isinstance(part, PASSIVE))][-1]

    def parameters(self) -> Iterator[nn.Parameter]:
        """What ``ready`` announces: the synapse's, those of norms in inlet and activation, and what stands beside."""
        for part in (self.inlet, self.synapse, self.activation, self.beside):
            yield from part.parameters() if part is not None else ()


RESHAPES: tuple[type[nn.Module], ...] = (
    nn.Flatten, nn.Unflatten, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.Fold, nn.Unfold,
    pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._LPPoolNd, pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd,
    padding._ConstantPadNd, padding._ReflectionPadNd, padding._ReplicationPadNd, padding._CircularPadNd,
)  # fmt: skip
"""Modules that open the inlet of the next layer."""

NORMS: tuple[type[nn.Module], ...] = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)
"""Modules with parameters that are no synapse: they stand in an inlet or in an activation."""

PASSIVE = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def layers(net: nn.Module) -> list[Layer]:
    """Cut an ``nn.Sequential`` (nested ones are opened), or any module whose forward is a chain, into layers; what has
    parameters is a synapse.

    Raises ``Refused``, naming path and class, for what it cannot place."""
    cuts: list[tuple[list[nn.Module], list[nn.Module], list[nn.Module]]] = [([], [], [])]
    names: dict[nn.Module, str] = {}
    for path, module in chain(net):
        names[module] = path
        learns = next(module.parameters(), None) is not None and not isinstance(module, NORMS)
        if cuts[-1][1] and (learns or isinstance(module, RESHAPES)):
            cuts.append(([], [], []))
        inlet, synapse, activation = cuts[-1]
        (synapse if learns else activation if synapse else inlet).append(module)
    if not cuts[-1][1] and len(cuts) > 1:  # pooling after the last synapse has no next layer to open
        cuts[-2][2].extend(cuts.pop()[0])
    if not cuts[-1][1]:
        raise Refused("the net has no module with parameters, so nothing can learn; add an nn.Linear")
    _check_shared([(names[module], module) for _, synapse, _ in cuts for module in synapse])
    return [Layer(nn.Sequential(*i), s[0], nn.Sequential(*a), names[s[0]]) for i, s, a in cuts]


def is_dense(module: nn.Module) -> bool:
    """A synapse known in closed form: Linear or Conv1d, 2d, 3d, not a subclass, and its weight a plain parameter that
    no hook (of pruning, say) computes."""
    plain = type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d) and "weight" in module._parameters
    return plain and not (module._forward_pre_hooks or module._forward_hooks)


def is_convolution(module: nn.Module) -> bool:
    """A convolution of any kind, a transposed one and a subclass too: its units are the channels, axis 1."""
    return isinstance(module, _ConvNd)


def is_linear(module: nn.Module) -> bool:
    """A linear map of a weight, a subclass too."""
    return isinstance(module, nn.Linear | _ConvNd)


def is_flat_linear(layer: Layer, a: Size) -> bool:
    """Whether a = W x + b (N, out) of the layer's flattened input, without anything else before it.

    a: the shape of the synapse's output, of one sample; a Linear on (N, T, in) puts out (T, out), a row a position."""
    plain = all(type(part) in (nn.Flatten, nn.Identity) for part in parts(layer.inlet))
    return type(layer.synapse) is nn.Linear and plain and len(a) == 1


def parts(modules: nn.Module) -> list[nn.Module]:
    """The modules of an inlet or an activation, in order."""
    return list(modules) if isinstance(modules, nn.Sequential) else [modules]


def _check_shared(synapses: list[tuple[str, nn.Module]]) -> None:
    owner: dict[nn.Parameter, int] = {}
    for index, (path, module) in enumerate(synapses):
        for parameter in module.parameters():
            other = owner.setdefault(parameter, index)
            if other != index:
                what = f"modules '{synapses[other][0]}' and '{path}' share a parameter"
                raise Refused(f"{what}; a layer learns by itself: give each its own")
