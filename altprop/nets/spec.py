"""The spec string: a net in one word, such as ``784-1024-10`` or ``conv32k5-pool2-conv64k3s2p1-10``.

    net  := part ("-" part)*                           the last part is the output layer
          | "resnet20" | "resnet56" | ...              the residual net of that depth, 6 n + 2, for images
    part := WIDTH                                      a linear layer; as the first part, the number of input features
          | "res" WIDTH                                x + linear(x), of as many features as come
          | "conv" CHANNELS "k" KERNEL ["s" STRIDE] ["p" PADDING | "r" REFLECTED]
          | "pool" SIZE ["s" STRIDE] ["p" PADDING]     max pooling, stride = size unless given
          | "avgpool" SIZE ["s" STRIDE] ["p" PADDING]
          | "norm"                                     batch norm without parameters
          | "centre"                                   the same, but one deviation for all features: see nets/norms.py
          | "sample"                                   each sample by itself: less its mean, by its deviation

Every hidden layer is followed by the activation; every hidden linear layer by dropout as well.  A Flatten stands
wherever an image meets a linear layer.  ``conv32k5`` has stride 1 and no padding.  Convolutions, pools and norms are of
one, two or three dimensions, by the samples: sequences (C, L), images (C, H, W), volumes (C, D, H, W).  The activation
is one name, or one a hidden layer, with its number where it has one: ``triangle0.7,triangle1.4,triangle``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from altprop.limits import LARGEST, Problem, gigabytes, memory, shorten
from altprop.nets.activations import RePU, ShiftedSigmoid, Softmax, Triangle, WideHardSigmoid
from altprop.nets.norms import Centre1d, Centre2d, Centre3d
from altprop.nets.residual import Residual, resnet
from altprop.nets.vectors import vectorised

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
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
    "relu6": nn.ReLU6,
    "hard_sigmoid": partial(nn.Hardtanh, 0.0, 1.0),
    "wide_hard_sigmoid": WideHardSigmoid,
    "shifted_sigmoid": ShiftedSigmoid,
    "identity": nn.Identity,
    "repu": RePU,
    "softmax": Softmax,
    "triangle": Triangle,
}
POWERED = re.compile(r"(repu|softmax|triangle)(\d*\.?\d+)")

INITIALISERS: dict[str, Callable[[Tensor], Any] | None] = {  # of the weights; biases start at zero
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot_uniform": nn.init.xavier_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "orthogonal": nn.init.orthogonal_,
    "zeros": nn.init.zeros_,
    "torch": None,  # torch's own, biases too
    "on_off": None,  # that of vector units, which it puts into the place of others: see nets/vectors.py
}
# Of hidden layers alone, the last one is he_uniform: normal or, where inputs are positive, uniform from 0 up, so scaled
# that a unit's weights have about the norm that is given, as in radius25.
RADII: dict[str, Callable[[Tensor, float], Any]] = {
    "radius": lambda weight, R: nn.init.normal_(weight, std=R / weight[0].numel() ** 0.5),
    "positive": lambda weight, R: nn.init.uniform_(weight, 0.0, R * (3 / weight[0].numel()) ** 0.5),
}
RADIUS = re.compile(r"(radius|positive)(\d*\.?\d+)")

PART = re.compile(
    r"(?P<res>res)?(?P<width>\d+)"
    r"|conv(?P<channels>\d+)k(?P<kernel>\d+)(s(?P<stride>\d+))?(p(?P<padding>\d+)|r(?P<reflected>\d+))?"
    r"|(?P<pool>pool|avgpool)(?P<size>\d+)(s(?P<step>\d+))?(p(?P<margin>\d+))?|(?P<norm>norm|centre|sample)",
    re.ASCII,
)
MAY_BE_ZERO = ("padding", "reflected", "margin")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)  # by how many sides a sample has beside its channels
NORMS: dict[str, Sequence[Callable[..., nn.Module]]] = {
    "norm": tuple(partial(norm, affine=False) for norm in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)),
    "centre": (Centre1d, Centre2d, Centre3d),
    "sample": (partial(nn.GroupNorm, 1, affine=False),) * 3,  # one group: all of a sample, in any dimension
}
POOLS: dict[str, Sequence[Callable[..., nn.Module]]] = {
    "pool": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avgpool": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
}
RESNET = re.compile(r"resnet(\d+)", re.ASCII)
DIGITS = 9  # of a size; what is larger fits into no memory, and into no 64 bits where sizes are multiplied
DEEPEST = 2000  # layers; each costs milliseconds a step and a page of memory, whatever its width
EXAMPLES = (
    "expected widths like 1024, res1024, conv32k5, conv64k3s2p1, pool2, avgpool2, norm, centre or sample, joined by '-'"
)


class NetError(Problem):
    """A net spec that cannot be read or does not fit the data; one line that says what to do."""


def build(
    spec: str, shape: tuple[int, ...], outputs: int, *, act: str = "relu", dropout: float = 0.0, bias: bool = True,
    init: str = "he_uniform", seed: int = 0,
) -> nn.Sequential:  # fmt: skip
    """The net of that spec for samples of ``shape`` and ``outputs`` classes or targets; init="on_off": of vector units.

    The same seed gives the same weights, whatever the activation; the global random state is left alone.
    Raises ``NetError`` for a typo, an unknown activation or initialiser, and a spec that does not fit the data;
    ``Refused`` for what vector units do not have."""
    acts = [_activation(word) for word in act.split(",")]
    _check_initialiser(init)
    form: Callable[..., Any] = vectorised if init == "on_off" else nn.ModuleList
    if not 0 <= dropout < 1:
        raise NetError(f"dropout {dropout} came; expected a fraction of at least 0 and below 1")
    resnet_depth, name = RESNET.fullmatch(spec), shorten(spec, 80)
    if resnet_depth and len(acts) > 1:
        raise NetError(f"net '{name}' has one activation, but {len(acts)} came: give one")
    if resnet_depth:
        make = partial(_resnet, name, _depth(name, resnet_depth[1]), shape, outputs, acts[0])
    else:
        make = partial(_modules, name, _parse(spec), shape, outputs, acts, dropout, bias)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # where tensors have a size and take no memory
                size = sum(p.element_size() * p.numel() for p in form(make()).parameters())
            if size > memory():
                raise NetError(f"net '{name}' takes {gigabytes(size)}, but {_memory()}: make it smaller")
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every other device as well
            modules = form(make())
        except (RuntimeError, OverflowError, MemoryError) as error:
            raise NetError(f"net '{name}' does not fit into memory: make it smaller") from error
        _initialise(init, [m for m in nn.ModuleList(modules).modules() if isinstance(m, (nn.Linear, *CONVOLUTIONS))])
    return nn.Sequential(*modules)


def _initialise(init: str, synapses: list[Any]) -> None:
    radius = RADIUS.fullmatch(init)
    hidden = (lambda weight: RADII[radius[1]](weight, float(radius[2]))) if radius else INITIALISERS[init]
    for module in synapses:
        draw: Callable[..., Any] | None = INITIALISERS["he_uniform"] if radius and module is synapses[-1] else hidden
        if draw is not None:
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _activation(word: str) -> Callable[..., nn.Module]:
    powered = POWERED.fullmatch(word)
    known(powered[1] if powered else word, ACTIVATIONS, "activation")
    if powered and float(powered[2]) > LARGEST:
        raise NetError(f"activation '{shorten(word, 60)}' came, whose number no float32 can hold: give a smaller one")
    return partial(ACTIVATIONS[powered[1]], float(powered[2])) if powered else ACTIVATIONS[word]


def _check_initialiser(init: str) -> None:
    radius = RADIUS.fullmatch(init)
    if radius is None:
        known(init, INITIALISERS, "initialiser")
    elif float(radius[2]) > LARGEST:
        raise NetError(f"initialiser '{shorten(init, 60)}' came, whose radius no float32 can hold: give a smaller one")


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


def _depth(name: str, digits: str) -> int:
    """The depth of a residual net, if it can be built."""
    if len(digits) > DIGITS or int(digits) > DEEPEST:
        raise NetError(f"net '{name}' is too deep: give a depth of at most {DEEPEST}, such as resnet20")
    return int(digits)


def _parse(spec: str) -> list[dict[str, Any]]:
    name, words, parts = shorten(spec, 80), spec.split("-"), []
    if len(words) > DEEPEST:
        raise NetError(f"net '{name}' has {len(words)} parts: give at most {DEEPEST}")
    for word in words:
        match, short = PART.fullmatch(word), shorten(word, 40)
        if match is None:
            raise NetError(f"net '{name}': cannot read the part '{short}'; {EXAMPLES}")
        given = {key: value for key, value in match.groupdict().items() if value is not None}
        if any(value.isdigit() and len(value) > DIGITS for value in given.values()):
            raise NetError(f"net '{name}': the size in the part '{short}' fits into no memory: make it smaller")
        part = {key: int(value) if value.isdigit() else value for key, value in given.items()}
        if 0 in [value for key, value in part.items() if key not in MAY_BE_ZERO]:
            raise NetError(f"net '{name}': a size in the part '{short}' is 0; every size must be at least 1")
        parts.append({"word": short, **part})
    return parts


def _modules(
    spec: str, parts: list[dict[str, Any]], shape: tuple[int, ...], outputs: int,
    acts: list[Callable[[], nn.Module]], dropout: float, bias: bool,
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
    count = sum("width" in part or "channels" in part for part in parts[:-1])
    if len(acts) not in (1, count):
        what = f"net '{spec}' has {count} hidden layers, but {len(acts)} activations came"
        raise NetError(f"{what}: give one, or one a hidden layer")
    left = iter(acts if len(acts) > 1 else acts * count)
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if "norm" in part and "width" in (following or {}) and len(shape) > 1:
            modules.append(nn.Flatten())  # each feature by itself, as a linear layer sees it
            shape = (prod(shape),)
        new, shape = _part(spec, part, shape, bias)
        if 4 * prod(shape) > memory():
            what = f"'{part['word']}' makes {gigabytes(4 * prod(shape))} of one sample"
            raise NetError(f"net '{spec}': {what}, but {_memory()}: make it smaller")
        modules += new
        if following and ("width" in part or "channels" in part):
            modules.append(next(left)())
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
    if "norm" in part:
        return [NORMS[part["norm"]][max(len(shape) - 2, 0)](shape[0])], shape
    if len(shape) not in (2, 3, 4):
        raise NetError(
            f"net '{spec}': '{part['word']}' needs an image (channels, height, width) or a sequence (channels, "
            f"length), but gets shape {_by(shape)}: use widths only, or such data"
        )
    if "pool" in part:
        kernel, stride, padding = part["size"], part.get("step", part["size"]), part.get("margin", 0)
        if 2 * padding > kernel:
            raise NetError(
                f"net '{spec}': '{part['word']}' pads by more than half its size: write p{kernel // 2} or less"
            )
        channels, module = shape[0], POOLS[part["pool"]][len(shape) - 2](kernel, stride, padding)
    else:
        kernel, stride, padding = part["kernel"], part.get("stride", 1), part.get("padding", part.get("reflected", 0))
        if padding >= min(shape[1:]) and "reflected" in part:
            raise NetError(f"net '{spec}': '{part['word']}' reflects more than its input of shape {_by(shape)} has")
        channels, mode = part["channels"], "reflect" if "reflected" in part else "zeros"
        convolution: Any = CONVOLUTIONS[len(shape) - 2]
        module = convolution(shape[0], channels, kernel, stride, padding, bias=bias, padding_mode=mode)
    sides = tuple((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    if min(sides) < 1:
        raise NetError(
            f"net '{spec}': '{part['word']}' is larger than its input of shape {_by(shape)}: "
            "use a smaller kernel, more padding or fewer pools"
        )
    return [module], (channels, *sides)


def _memory() -> str:
    return f"this machine has {gigabytes(memory())} of memory"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
