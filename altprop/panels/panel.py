"""What a panel is, and the ended run that it looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from altprop.core import Refused, Rule
from altprop.data import Dataset, as_input, batches
from altprop.measure import receptive_fields
from altprop.measure.probe import in_mode

BATCH = 1024  # test samples that are asked about at once

#: Names of layers in files -> what they are called: "hidden 1", "hidden 2", ..., "output", in the net's order.
Depths = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Ended:
    """A run that has ended: its rule, its data, and one row of metrics an epoch."""

    rule: Rule
    data: Dataset
    metrics: list[dict[str, Any]]

    @cached_property
    def outputs(self) -> Tensor:
        """(N, C): what the net says of the test part, in eval mode, on the CPU."""
        like = self.rule.like
        parts = batches(self.data.x_test, self.data.y_test, BATCH, dtype=like.dtype, device=like.device)
        with in_mode(self.rule, training=False), torch.no_grad():
            return torch.cat([self.rule(x).cpu() for x, _ in parts])

    def part(self, count: int) -> tuple[Tensor, Tensor]:
        """The first samples of the test part, as the net takes them, and what they are."""
        return as_input(self.data.x_test[:count], self.rule.like.dtype), self.data.y_test[:count]

    def first_fields(self, count: int) -> Tensor:
        """(count, *shape): what the first units of the first layer respond to; raises ``Refused`` if it is unseen."""
        first = receptive_fields(self.rule, 0, count)
        if first.dim() == 2:
            shape = self.data.shape
            first = first.view(len(first), *shape) if first[0].numel() == math.prod(shape) else first
        if first.dim() < 3:
            raise Refused("the inputs are no images, so that weights have no picture")
        return first


class Panel(NamedTuple):
    """One thing to look at when a run has ended: ``measure`` gives plain numbers for measures.json, or raises
    ``Refused``; ``draw`` makes a figure of them, given the names of layers; ``caption`` says in words what they show.

    label: the figure, for those who hear it.  draw: None where words are enough.  fits: for which runs it is meant.
    cheap: whether it is measured without being asked for; the others wait for ``--measure``."""

    label: str
    measure: Callable[[Ended], dict[str, Any]]
    draw: Callable[[Any, Depths], Figure | None] | None
    caption: Callable[[Any], str]
    fits: Callable[[Ended], bool] = lambda ended: True
    cheap: bool = False


def called(layer: str, depths: Depths) -> str:
    """What a layer is called; one that nothing is known of keeps its name in the file."""
    return depths.get(layer, f"layer {layer}")


def spaced(total: int, count: int) -> Tensor:
    """At most ``count`` rows of ``total``, evenly spaced: data sets that come sorted by class show all of them."""
    return torch.arange(min(total, count)) * total // max(min(total, count), 1)


def plain(value: Any) -> Any:
    """Numbers and lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, torch.Tensor) or hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value
