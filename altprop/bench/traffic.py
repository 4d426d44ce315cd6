"""What the products of each layer compute and move: counted while they run, and by hand from the shapes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from altprop.core import Rule
from altprop.core.layer import is_dense
from altprop.measure.operations import FORMULAS
from altprop.measure.probe import undone

ELSEWHERE = "elsewhere"  # products in which no weight, gradient or feedback of a layer takes part


class Traffic(NamedTuple):
    """Multiply-adds, and bytes of what products read and write; of a whole batch."""

    multiply_adds: float
    bytes: float

    def plus(self, other: Traffic) -> Traffic:
        return Traffic(self.multiply_adds + other.multiply_adds, self.bytes + other.bytes)


NOTHING = Traffic(0, 0)


def measured(rule: Rule, x: Tensor, y: Tensor) -> dict[str, Traffic]:
    """Of one ``credit(x, y)`` by the name of the layer whose weight, gradient or feedback a product reads or makes."""
    recorder = _Recorder()
    with torch.no_grad(), undone(rule), recorder:
        rule.credit(x, y)
        names = _names(rule)
    found = dict.fromkeys([*(layer.name for layer in rule.layers), ELSEWHERE], NOTHING)
    for tensors, traffic in recorder.products:
        name = next((names[key] for key in map(_key, tensors) if key in names), ELSEWHERE)
        found[name] = found[name].plus(traffic)
    return found


def by_hand(rule: Rule, batch: int) -> dict[str, Traffic] | None:
    """The same from shapes and claims, each operand read or written once; None where claims do not tell the products.

    A layer of n inputs and m outputs takes N n m multiply-adds forward and as many for its gradient, in a convolution
    at each position; a signal that comes down through the layer above as many as that layer forward; one that comes
    directly N C m."""
    if not is_told(rule):
        return None
    size, direct = rule.like.element_size(), rule.claims.signal != "layerwise"
    found = {}
    for index, (layer, x) in enumerate(zip(rule.layers, _inputs(rule), strict=True)):
        weight, a, h = layer.synapse.get_parameter("weight"), prod(rule.shapes[index].a), prod(rule.shapes[index].h)
        positions = a // len(weight)
        one = Traffic(batch * positions * weight.numel(), size * (batch * (x + a) + weight.numel()))
        times = [one, one, *([one] if index and not direct else [])]
        if direct and index < len(rule.layers) - 1:
            C = rule.classes
            times.append(Traffic(batch * C * h, size * (batch * C + C * h + batch * h)))
        found[layer.name] = Traffic(sum(each.multiply_adds for each in times), sum(each.bytes for each in times))
    return found


def is_told(rule: Rule) -> bool:
    """Whether claims and shapes tell what a rule computes: one pass of the net, and one signal to each layer, that
    comes down layer by layer or directly from error or target."""
    claims = rule.claims
    plain = claims.passes == 1 and claims.inference == "net" and not (claims.draws or claims.learns)
    signal = claims.signal in ("layerwise", "error", "target") and claims.labels and claims.inside == "none"
    return plain and signal and all(is_dense(layer.synapse) for layer in rule.layers)


def _inputs(rule: Rule) -> Iterator[int]:
    """Numbers a sample that each synapse takes, behind its inlet."""
    for layer, shapes in zip(rule.layers, rule.shapes, strict=True):
        with torch.no_grad():
            yield layer.inlet(rule.like.new_zeros(1, *shapes.x)).numel()


def _names(rule: Rule) -> dict[int, str]:
    """By storage, the layer that a weight, its gradient or a feedback matrix belongs to."""
    first = 1 if rule.claims.signal == "layerwise" else max(0, rule.feedback_reaches - 1)
    names = {_key(matrix): rule.layers[first + index].name for index, matrix in enumerate(rule.feedback)}
    for layer in rule.layers:
        for parameter in layer.parameters():
            names |= {_key(each): layer.name for each in (parameter, parameter.grad) if each is not None}
    return names


class _Recorder(TorchDispatchMode):
    """Keeps what products read and make, so that no address is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[list[Tensor], Traffic]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            adds = formula(*args, **(kwargs or {}), out_val=result) / 2
            unread = _unread(args) if func._overloadpacket is torch.ops.aten.convolution_backward else 0
            tensors = [leaf for leaf in tree_leaves((args, kwargs or {}, result)) if isinstance(leaf, Tensor)]
            self.products.append((tensors, Traffic(adds, sum(map(_bytes, tensors)) - unread)))
        return result


def _unread(arguments: Any) -> int:
    """Of a convolution's gradients: the input is read for the weight's alone, the weight for the input's."""
    at_input, at_weight, _ = arguments[-1]
    return (0 if at_weight else _bytes(arguments[1])) + (0 if at_input else _bytes(arguments[2]))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
