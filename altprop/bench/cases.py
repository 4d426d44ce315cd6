"""What is benchmarked: nets, batches and rules, from ``cases.toml`` or as they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from altprop.nets import build

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IMAGE = (3, 32, 32)  # what a net that does not begin with a number of features is given
CLASSES = 10  # of a net that does not end in a number


class Case(NamedTuple):
    """net: a spec.  shape: of one sample."""

    net: str
    shape: tuple[int, ...]
    batch: int
    rules: tuple[str, ...]

    def build(self) -> nn.Sequential:
        """The net, the same each time."""
        return build(self.net, self.shape, self.classes)

    def data(self) -> tuple[Tensor, Tensor]:
        """A batch x (N, *shape) in [0, 1) and labels y (N,), the same each time."""
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(self.batch, *self.shape, generator=generator)
        return x, torch.randint(0, self.classes, (self.batch,), generator=generator)

    @property
    def classes(self) -> int:
        last = self.net.rpartition("-")[2]
        return int(last) if last.isdecimal() else CLASSES


def usual() -> list[Case]:
    """The cases that come with the package."""
    entries = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))["case"]
    return [
        case_of(entry["net"], entry["batch"], entry["rules"], tuple(entry["shape"]) if "shape" in entry else None)
        for entry in entries
    ]


def cases(
    nets: Sequence[str] = (), rules: Sequence[str] = (), batch: int | None = None, shape: tuple[int, ...] | None = None
) -> list[Case]:
    """Those nets by those rules; the usual ones where none are named."""
    known = usual()
    named = tuple(rules) or tuple(dict.fromkeys(rule for case in known for rule in case.rules))
    if nets:
        return [case_of(net, batch or 64, named, shape) for net in nets]
    return [case._replace(batch=batch or case.batch, rules=tuple(rules) or case.rules) for case in known]


def case_of(net: str, batch: int, rules: Sequence[str], shape: tuple[int, ...] | None = None) -> Case:
    """shape: of a sample where the net does not begin with its number of features."""
    first = net.partition("-")[0]
    return Case(net, (int(first),) if first.isdecimal() else shape or IMAGE, batch, tuple(rules))
