"""What a learning rule is: a network that fills its own ``.grad``, and what it claims about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from altprop.chain import is_sequence, modes_kept
from altprop.core.feedback import Feedback
from altprop.core.layer import Layer, is_dense, layers, parts
from altprop.core.local import Ready
from altprop.core.loss import Weighted, bare, find_loss, targets
from altprop.core.phase import Phase
from altprop.core.steps import DROPOUTS, bends
from altprop.limits import Refused
from altprop.suits import Suits


@dataclass(frozen=True)
class Claims:
    """What a rule needs.  Data, not prose: ``tests/rules/test_claims.py`` measures every field.

    A rule whose arguments change what it needs has claims of its own: ``self.claims = replace(self.claims, ...)``."""

    weight_transport: Literal["none", "signs", "full"]  # does a hidden gradient depend on the weights above?
    locking: Literal["none", "forward", "backward"]  # what a layer waits for: nothing, the forward pass, layers above
    signal: Literal["none", "target", "error", "layerwise", "loss"]  # what reaches a hidden layer
    labels: bool = True
    passes: int = 1  # forward passes a batch
    updates: int = 1  # times ``ready`` is called for a layer in a batch
    changes: tuple[str, ...] = ()  # what ``credit`` alters beside ``.grad`` and the running statistics of norms
    trains: tuple[str, ...] = ("inlet", "synapse", "activation")  # the parts of a layer whose parameters get a gradient
    inference: Literal["net", "own"] = "net"  # what ``rule(x)`` computes
    draws: bool = False  # random numbers, beside those of dropout
    averages: bool = True  # whether a batch's gradient is the mean of its samples': the licence for data parallelism
    learns: tuple[str, ...] = ()  # the rule's own parameters, by attribute: feedback, decoders, heads
    inside: Literal["none", "backprop"] = "none"  # autograd inside one layer or block
    views: int = 1  # inputs a sample
    is_backprop_when: str = ""  # the limit in which the rule is backpropagation


class Rule(nn.Module, ABC):
    """A net together with the rule that assigns credit in it.

    net: an ``nn.Sequential``, a module whose forward is a chain, or any with ``cuts``, the layers it is made of; it
    stays the user's.
    example: one input or a batch, (N, *in), for the shapes.  loss: ``cross_entropy`` and ``binary_cross_entropy`` on
    logits, or ``mse``.  Raises ``Refused`` where net, example, loss and rule do not fit, naming the layer."""

    family: ClassVar[str]
    role: ClassVar[Literal["", "reference", "control"]] = ""  # in comparisons: what rules are held against
    claims: Claims
    suits: ClassVar[Suits] = Suits()
    requires: ClassVar[str | None] = None  # the extra of the package without which it does not run
    reference: ClassVar[str]  # BibTeX key in altprop.rules.REFERENCES
    refuses: ClassVar[tuple[type[nn.Module], ...]] = ()  # modules that the rule cannot work with
    weighs: ClassVar[bool] = True  # whether a sample's weight, which multiplies its error, reaches all that labels do
    domain: ClassVar[tuple[float, float] | None] = None  # of the inputs; what lies outside is cut off
    competes: bool = False  # whether a unit learns from what it wins, by the largest pre-activation of its layer
    feedback: Any  # Feedback, or an nn.ParameterList where it learns; feedback[l] brings the signal to layer l
    feedback_reaches: int = 1  # which activity feedback[0] of a direct projection reaches; h_0 is the input

    def __init__(self, net: nn.Module, *, example: Tensor, loss: str = "cross_entropy",
                 cuts: Sequence[Layer] | None = None) -> None:  # fmt: skip
        super().__init__()
        self.net = net
        self.layers = _checked(net, layers(net) if cuts is None else list(cuts))
        self.loss = find_loss(loss, self.layers[-1].last)
        x = example[:1].clone().to(self.like if example.dtype != torch.int64 else self.like.device)
        self.integer_input = not x.is_floating_point()
        self.shapes = _dry_run(self, x, compare=cuts is not None or not is_sequence(net))
        own, sides = set(net.modules()), [side for layer in self.layers for side in (layer.inlet, layer.activation)]
        loose = (part for side in sides for part in parts(side) if own.isdisjoint(part.modules()))
        # modules of cuts that are not the net's follow its mode
        self.beside, self.feedback = nn.ModuleList(dict.fromkeys(loose)), Feedback()
        for index, layer in enumerate(self.layers):
            self._check(layer, first=index == 0)

    @abstractmethod
    def credit(self, x: Tensor, y: Tensor, ready: Ready | None = None) -> Tensor:
        """Add this batch's gradient to every ``.grad`` the rule claims, and return the loss, a scalar.

        x (N, *in); y labels (N,) or targets (N, C), perhaps ``Weighted``.
        ``ready(layer)`` is called as soon as a layer's gradient is complete."""

    def phases(self) -> list[Phase]:
        """What a run of this rule is made of, in its order."""
        return [Phase("all", (self,), self.credit)]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "credit" in vars(cls):
            cls.credit = _checking(cls.credit)  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def differentiable(self) -> nn.Module | None:
        """What autograd may differentiate to compare the rule with backpropagation; its first parameters are the net's.

        None where the rule's inference is its own, unless it says that autograd can follow it."""
        return self if self.claims.inference == "net" else None

    def watch(self) -> dict[str, float | dict[str, float]]:
        """Numbers of its own for metrics and report, of the last ``credit``; by a layer's name where each has one."""
        return {}

    def targets(self, y: Any, samples: int) -> Any:
        """Labels (N,), or targets (N, C) as they are, as the matrix t (N, C); there must be as many as samples.

        Of a ``Weighted`` y a ``Weighted`` t: ``output_error`` takes it as it is, ``weighed`` and ``bare`` its parts."""
        if isinstance(y, Weighted) and not self.weighs:
            raise Refused(f"{type(self).__name__} has no error that a weight could multiply: use 'dfa', or no weights")
        t = targets(bare(y), samples, self.classes, self.like.dtype)
        return Weighted(t, y.w.to(t)) if isinstance(y, Weighted) else t

    def output_error(self, output: Tensor, t: Tensor | Weighted) -> tuple[Tensor, Tensor]:
        """(loss, e = y_hat - t (N, C), times the weight of its sample); e is not divided by N."""
        return self.loss.error(output, bare(t), t.rows if isinstance(t, Weighted) else None)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """For an optimizer: the net's parameters, and those of the rule that learn at a rate of their own."""
        return [{"params": [p for p in self.net.parameters() if p.requires_grad], "lr": lr}]

    def groups_of(self, layer: Layer, lr: float) -> list[dict[str, Any]]:
        """Of ``param_groups`` what an optimizer of this layer alone has: ``ready`` says when it may step.

        Raises ``Refused`` where a parameter of the rule's own belongs to no layer, and so would never be stepped."""
        groups = self.param_groups(lr)
        place = {p: index for index, group in enumerate(groups) for p in group["params"]}
        if place.keys() - {p for each in self.layers for p in each.parameters()}:
            what = f"{type(self).__name__} learns parameters that belong to no layer, so that none can step them"
            raise Refused(f"{what}: let the rule put them in Layer.beside, or do not step layer by layer")
        parted = [[p for p in layer.parameters() if place.get(p, 0) == index] for index in range(len(groups))]
        return [{**group, "params": own} for group, own in zip(groups, parted, strict=True) if own]

    @property
    def classes(self) -> int:
        return self.shapes[-1].h[0]

    @property
    def like(self) -> Tensor:
        """A tensor of the net's dtype, on its device."""
        return next(self.net.parameters())

    @property
    def layerwise_shapes(self) -> list[torch.Size]:
        """Of the weight of every layer but the first; raises ``Refused`` where one has no such weight."""
        for layer in self.layers[1:]:
            if not is_dense(layer.synapse):
                what = f"{type(self).__name__} has no feedback matrix for {layer}"
                raise Refused(f"{what}: use altprop.align, or Linear and convolutions above the first layer, or 'dfa'")
        return [layer.synapse.get_parameter("weight").shape for layer in self.layers[1:]]

    @property
    def direct_shapes(self) -> list[tuple[int, ...]]:
        """(classes, *out_l) for every hidden layer."""
        return [(self.classes, *shapes.h) for shapes in self.shapes[:-1]]

    def check_shapes(self, hidden: Sequence[Layer]) -> None:
        """Raises ``Refused`` where the activation of one of these layers changes the shape of what it gets."""
        for layer, shapes in zip(hidden, self.shapes, strict=False):
            if shapes.a != shapes.h:
                what = f"the activation of {layer} makes shape {tuple(shapes.h)} of {tuple(shapes.a)}, but"
                raise Refused(f"{what} {type(self).__name__} needs both alike: move it into the next layer's inlet")

    def _check(self, layer: Layer, first: bool) -> None:
        for module in layer.synapse.modules():
            if self.claims.passes > 1 and isinstance(module, (*DROPOUTS, *self.refuses)):
                what = f"{type(self).__name__} cannot replay {type(module).__name__} inside {layer}"
                raise Refused(f"{what}: move it out of the block, or use a rule of one pass, such as 'dfa'")
        for part in ("inlet", "activation"):
            for module in getattr(layer, part).modules():
                learns = any(p.requires_grad for p in module.parameters(recurse=False))
                what = f"{type(self).__name__} cannot work with {type(module).__name__} in the {part} of {layer}"
                if isinstance(module, self.refuses):
                    raise Refused(f"{what}: remove it, or use a rule that can, such as 'fa'")
                if part in self.claims.trains:
                    continue
                if learns:
                    what = f"{what}: its parameters get no gradient there; build it without them"
                    raise Refused(f"{what} (affine=False or elementwise_affine=False), freeze them, or use 'bp'")
                if part == "inlet" and not first and bends(module):
                    raise Refused(f"{what}: put it before the pooling, so that its layer learns by its slope")


def _checking(credit: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``credit`` behind a check of its batch, so that every rule has it and none must remember it."""

    @wraps(credit)
    def checked(rule: Rule, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        _check_batch(rule, x, arguments[0] if arguments else named.get("y"))
        return credit(rule, x, *arguments, **named)

    return checked


def _check_batch(rule: Rule, x: Any, y: Any) -> None:
    """Raises ``Refused`` for inputs that are not as the example was, and for labels that are not as many."""
    y = bare(y)
    shape, wanted = rule.shapes[0].x, "integers" if rule.integer_input else rule.like.dtype
    if not isinstance(x, Tensor) or (x.is_floating_point() if rule.integer_input else x.dtype != wanted):
        kind = getattr(x, "dtype", type(x).__name__)
        raise Refused(f"inputs of {kind} came, but the net takes a torch.Tensor of {wanted}: convert them")
    if not x.dim() or x.shape[1:] != shape:
        advice = "add the axis of the batch, x[None]" if x.shape == shape else "give such samples, or another example"
        raise Refused(f"inputs of shape {tuple(x.shape)} came, but the example's samples are {tuple(shape)}: {advice}")
    if not len(x):
        raise Refused("a batch without samples came: leave it out, there is nothing to learn from it")
    if (y is not None or rule.claims.labels) and (not isinstance(y, Tensor) or y.shape[:1] != x.shape[:1]):
        what = f"of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"as {type(y).__name__}"
        raise Refused(f"labels or targets {what} came for {len(x)} samples: give one each, in a torch.Tensor")


class Shapes(NamedTuple):
    """Of one sample in one layer: its input, the synapse's output, the activity."""

    x: torch.Size
    a: torch.Size
    h: torch.Size


def _checked(net: nn.Module, cuts: list[Layer]) -> list[Layer]:
    """Cuts by hand, if their parameters are the net's and all of them."""
    if not cuts:
        raise Refused("cuts is empty: give the net's layers, in their order, or leave it out for an nn.Sequential")
    own, held = set(net.parameters()), {parameter for layer in cuts for parameter in layer.parameters()}
    if own != held:
        left = [name for name, parameter in net.named_parameters() if parameter not in held]
        what = "hold parameters that are not the net's" if held - own else f"leave out parameters of the net, {left[0]}"
        raise Refused(f"the cuts {what}: they need all that the net has, and the net no more than it uses")
    return cuts


def _dry_run(rule: Rule, x: Tensor, compare: bool) -> list[Shapes]:
    """The shapes of every layer, found in eval mode so that no statistics move; ``compare``: with the net's forward."""
    shapes, x = [], torch.cat([x, x]) if compare else x  # two samples show what mixes them up
    with torch.no_grad(), modes_kept(rule.net):
        rule.net.eval()
        h = x
        for layer in rule.layers:
            before, (a, h) = h.shape[1:], _run(layer, h)
            shapes.append(Shapes(before, a.shape[1:], h.shape[1:]))
        output = _run(Layer(nn.Identity(), rule.net, nn.Identity(), "net"), x)[1] if compare else h
        if output.shape != h.shape or not torch.allclose(output, h, 1e-4, 1e-5):
            raise Refused("the cuts do not compute what the net does: give all of its layers, in their order")
    if h.dim() != 2:
        what = f"the net puts out shape {tuple(h.shape[1:])} a sample, but a loss takes one row of classes"
        raise Refused(f"{what}: end the net in an nn.Linear")
    return shapes


def _run(layer: Layer, x: Any) -> tuple[Tensor, Tensor]:
    shape, a = tuple(x.shape[1:]), x
    try:
        for module in (*parts(layer.inlet), layer.synapse, *parts(layer.activation)):
            x = module(x)
            if not isinstance(x, Tensor):
                raise ValueError(f"{type(module).__name__} returns a {type(x).__name__}, where one tensor is wanted")
            a = x if module is layer.synapse else a
        return a, x
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = f"{layer} does not take its input of shape {shape} a sample"
        raise Refused(f"{what}: make net and data fit ({str(error).splitlines()[0]})") from error
