"""What the probes share: finding a layer, and leaving a net as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from altprop.core import Layer, Refused, Rule, layers


def layers_of(rule: nn.Module) -> list[Layer]:
    """The layers of a rule, or of a net that can be cut; raises ``Refused`` for a net that cannot."""
    return rule.layers if isinstance(rule, Rule) else layers(rule)


def position(cuts: list[Layer], layer: int | str) -> int:
    """Where a layer stands, given its index, from the end if negative, or its name; ``Refused`` where there is none."""
    names = [cut.name for cut in cuts]
    if isinstance(layer, str) and layer in names:
        return names.index(layer)
    if isinstance(layer, int) and -len(cuts) <= layer < len(cuts):
        return layer % len(cuts)
    what = f"there is no layer {layer!r}; give an index below {len(cuts)}"
    raise Refused(f"{what}, or one of the names {', '.join(map(repr, names))}")


def followed(rule: Rule) -> nn.Module:
    """What autograd differentiates for the rule; raises ``Refused`` where it cannot follow what the rule computes."""
    twin = rule.differentiable()
    if twin is None:
        what = f"{type(rule).__name__} answers by an inference of its own that autograd cannot follow"
        raise Refused(f"{what}: override differentiable() if it can, or leave this measure out")
    return twin


@contextmanager
def in_mode(rule: nn.Module, training: bool) -> Iterator[None]:
    """The rule or net in train or in eval mode, and afterwards each of its modules in its own."""
    modes = {module: module.training for module in rule.modules()}
    try:
        rule.train(training)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def forked(rule: nn.Module) -> Iterator[None]:
    """The random state as it was, afterwards, of the CPU and of the devices on which the rule or net lies."""
    devices = {parameter.device for parameter in rule.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        yield


@contextmanager
def undisturbed(rule: nn.Module) -> Iterator[None]:
    """The rule or net in eval mode, and afterwards its modes and the random state as they were.

    ``.grad`` is safe as long as nobody inside calls ``backward``: ask ``torch.autograd.grad`` for what is wanted."""
    with forked(rule), in_mode(rule, training=False):
        yield


@contextmanager
def undone(rule: Rule) -> Iterator[None]:
    """What ``credit`` leaves, taken back: ``.grad`` (none inside), norms' statistics, what else of the rule it moves,
    and the random state."""
    kept = {parameter: parameter.grad for parameter in rule.parameters()}
    state = {name: tensor.clone() for name, tensor in rule.state_dict().items()}
    try:
        for parameter in kept:
            parameter.grad = None
        with forked(rule):
            yield
    finally:
        for parameter, gradient in kept.items():
            parameter.grad = gradient
        for name, tensor in rule.state_dict().items():
            tensor.copy_(state[name])
