"""The spec string: a net in one word, such as ``784-1024-10`` or ``conv32k5-pool2-conv64k3s2p1-10``.

    net  := part ("-" part)*                           the last part is the output layer
          | "resnet20" | "resnet56" | ...              the residual net of that depth, 6 n + 2, for images
    part := WIDTH                                      a linear layer; as the first part, the number of input features
          | "res" WIDTH                                x + linear(x), of as many features as come
          | "conv" CHANNELS "k" KERNEL ["s" STRIDE] ["p" PADDING]
          | "pool" SIZE ["s" STRIDE]                   max pooling, stride = size unless given
          | "avgpool" SIZE ["s" STRIDE]

Every hidden layer is followed by the activation; every hidden linear layer by dropout as well.  A Flatten stands
wherever an image meets a linear layer.  ``conv32k5`` has stride 1 and no padding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from altprop.nets.residual import Residual, resnet

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "hardtanh": nn.Hardtanh,
    "identity": nn.Identity,
}

INITIALISERS: dict[str, Callable[[Tensor], Any] | None] = {  # of the weights; biases start at zero
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot_uniform": nn.init.xavier_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "orthogonal": nn.init.orthogonal_,
    "zeros": nn.init.zeros_,
    "torch": None,  # torch's own, biases too
}

PART = re.compile(
    r"(?P<res>res)?(?P<width>\d+)|conv(?P<channels>\d+)k(?P<kernel>\d+)(s(?P<stride>\d+))?(p(?P<padding>\d+))?"
    r"|(?P<pool>pool|avgpool)(?P<size>\d+)(s(?P<step>\d+))?"
)
POOLS: dict[str, Callable[..., nn.Module]] = {"pool": nn.MaxPool2d, "avgpool": nn.AvgPool2d}
RESNET = re.compile(r"resnet(\d+)")
EXAMPLES = "expected widths like 1024, res1024, conv32k5, conv64k3s2p1, pool2 or avgpool2, joined by '-'"


class NetError(ValueError):
    """A net spec that cannot be read or does not fit the data; one line that says what to do."""


def build(
    spec: str,
    shape: tuple[int, ...],
    outputs: int,
    *,
    act: str = "relu",
    dropout: float = 0.0,
    bias: bool = True,
    init: str = "he_uniform",
    seed: int = 0,
) -> nn.Sequential:
    """The net of that spec for samples of ``shape`` and ``outputs`` classes or targets.

    The same seed gives the same weights, whatever the activation; the global random state is left alone.
    Raises ``NetError`` for a typo, an unknown activation or initialiser, and a spec that does not fit the data."""
    known(act, ACTIVATIONS, "activation")
    known(init, INITIALISERS, "initialiser")
    if not 0 <= dropout < 1:
        raise NetError(f"dropout {dropout} came; expected a fraction of at least 0 and below 1")
    resnet_depth = RESNET.fullmatch(spec)
    parts = [] if resnet_depth else _parse(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if resnet_depth:
                modules = _resnet(spec, int(resnet_depth[1]), shape, outputs, ACTIVATIONS[act])
            else:
                modules = _modules(spec, parts, shape, outputs, ACTIVATIONS[act], dropout, bias)
        except (RuntimeError, OverflowError, MemoryError) as error:
            raise NetError(f"net '{spec}' does not fit into memory: make it smaller") from error
        initialise = INITIALISERS[init]
        for module in nn.ModuleList(modules).modules():
            if initialise is not None and isinstance(module, nn.Linear | nn.Conv2d):
                initialise(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return nn.Sequential(*modules)


def known(name: str, table: dict[str, Any], what: str) -> None:
    if name not in table:
        raise NetError(f"unknown {what} '{name}'; there are {', '.join(table)}")


def _resnet(
    spec: str, depth: int, shape: tuple[int, ...], outputs: int, act: Callable[[], nn.Module]
) -> list[nn.Module]:
    if depth < 8 or depth % 6 != 2:
        raise NetError(f"net '{spec}' has depth {depth}: give 6 n + 2, such as resnet20")
    if len(shape) != 3:
        raise NetError(f"net '{spec}' needs images (channels, height, width), but gets shape {_by(shape)}: use widths")
    return resnet(depth, shape[0], outputs, act)


def _parse(spec: str) -> list[dict[str, Any]]:
    parts = []
    for word in spec.split("-"):
        match = PART.fullmatch(word)
        if match is None:
            raise NetError(f"net '{spec}': cannot read the part '{word}'; {EXAMPLES}")
        part = {
            key: int(value) if value.isdigit() else value
            for key, value in match.groupdict().items()
            if value is not None
        }
        if 0 in [value for key, value in part.items() if key != "padding"]:
            raise NetError(f"net '{spec}': a size in the part '{word}' is 0; every size must be at least 1")
        parts.append({"word": word, **part})
    return parts


def _modules(
    spec: str, parts: list[dict[str, Any]], shape: tuple[int, ...], outputs: int,
    act: Callable[[], nn.Module], dropout: float, bias: bool,
) -> list[nn.Module]:  # fmt: skip
    modules: list[nn.Module] = []
    if "width" in parts[0]:
        if parts[0]["width"] != prod(shape):
            raise NetError(
                f"net '{spec}' starts with {parts[0]['width']} inputs, but the data has {prod(shape)} features "
                f"a sample (shape {_by(shape)}): start it with {prod(shape)}"
            )
        parts = parts[1:]
    if not parts or parts[-1].get("width") != outputs:
        raise NetError(
            f"net '{spec}' ends in '{parts[-1]['word'] if parts else spec}', but the data has {outputs} outputs: "
            f"end it in '-{outputs}'"
        )
    for part in parts:
        new, shape = _part(spec, part, shape, bias)
        modules += new
        if part is not parts[-1] and "pool" not in part:
            modules.append(act())
            if dropout and "width" in part:
                modules.append(nn.Dropout(dropout))
    return modules


def _part(
    spec: str, part: dict[str, Any], shape: tuple[int, ...], bias: bool
) -> tuple[list[nn.Module], tuple[int, ...]]:
    if "width" in part:
        flatten: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
        linear: nn.Module = nn.Linear(prod(shape), part["width"], bias=bias)
        if "res" in part and part["width"] != prod(shape):
            what = f"net '{spec}': '{part['word']}' adds to its input, which has {prod(shape)} features"
            raise NetError(f"{what}: write res{prod(shape)}")
        return [*flatten, Residual(linear) if "res" in part else linear], (part["width"],)
    if len(shape) != 3:
        raise NetError(
            f"net '{spec}': '{part['word']}' needs an image (channels, height, width), but gets shape {_by(shape)}: "
            "use widths only, or data of images"
        )
    if "pool" in part:
        kernel, stride, padding, channels = part["size"], part.get("step", part["size"]), 0, shape[0]
        module = POOLS[part["pool"]](kernel, stride)
    else:
        kernel, stride, padding = part["kernel"], part.get("stride", 1), part.get("padding", 0)
        channels = part["channels"]
        module = nn.Conv2d(shape[0], channels, kernel, stride, padding, bias=bias)
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    if min(height, width) < 1:
        raise NetError(
            f"net '{spec}': '{part['word']}' is larger than its input of shape {_by(shape)}: "
            "use a smaller kernel, more padding or fewer pools"
        )
    return [module], (channels, height, width)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
