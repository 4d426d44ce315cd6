"""Means over processes: of gradients, as soon as a layer's are complete, and of what else a credit changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Rule
from altprop.parallel.peers import Peers


class Means:
    """Sums under way over processes, of what each counts by its share of the batch."""

    def __init__(self, peers: Peers, share: float) -> None:
        self.peers, self.share = peers, share
        self.begun: list[tuple[list[Tensor], Tensor]] = []

    def begin(self, tensors: Iterable[Tensor]) -> None:
        """Begin the mean of these; ``take`` puts it in their place."""
        own = list(tensors)
        if own:
            flat = torch.cat([tensor.reshape(-1) for tensor in own]).mul_(self.share)
            self.peers.begin(flat)
            self.begun.append((own, flat))

    def take(self) -> None:
        """Wait for all that was begun.  Where a process is gone each keeps what its own share says."""
        whole, begun, self.begun = self.peers.wait(), self.begun, []
        for own, flat in begun if whole else ():
            for tensor, mean in zip(own, flat.split([tensor.numel() for tensor in own]), strict=True):
                tensor.copy_(mean.view_as(tensor))


def moving(rule: Rule) -> Iterator[Tensor]:
    """What a credit changes beside gradients: what the rule says, and the running statistics of norms."""
    norms = [module for module in rule.modules() if isinstance(module, _NormBase)]
    things: list[Any] = [*(getattr(rule, name) for name in rule.claims.changes), *(norm._buffers for norm in norms)]
    seen: set[int] = set()
    for thing in things:
        for tensor in _tensors(thing):
            if tensor.is_floating_point() and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def _tensors(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, nn.Module):
        yield from (*thing.parameters(), *thing.buffers())
    elif isinstance(thing, dict):
        yield from (each for each in thing.values() if isinstance(each, Tensor))


class Changes:
    """What moves in a credit, averaged as what was added to it, so that what stood still stays to the bit."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.before = [tensor.detach().clone() for tensor in moving(rule)]

    @torch.no_grad()
    def differences(self) -> list[Tensor]:
        return [now.detach() - then for now, then in zip(moving(self.rule), self.before, strict=True)]

    @torch.no_grad()
    def put(self, differences: list[Tensor]) -> None:
        for now, then, difference in zip(moving(self.rule), self.before, differences, strict=True):
            now.detach().copy_(then + difference)
