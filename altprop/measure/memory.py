"""What one assignment of credit holds in memory at its worst moment."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from altprop.core import Rule
from altprop.core.layer import Layer
from altprop.measure.probe import undone


def peak_activation_bytes(rule: Rule, x: Tensor, y: Tensor) -> int:
    """The largest number of bytes that one ``credit(x, y)`` holds beyond weights, feedback, input and gradients.

    Every tensor storage that an operation makes is counted until it is freed, those that end as a ``.grad`` excepted.
    Gradients are dropped as soon as ``ready`` hands them out, so a rule that need not wait shows what that saves.
    Run in the modes that the rule is in; ``.grad``, norms' statistics, what else of the rule ``credit`` moves, and the
    random state are left as they were."""
    live = _Live()

    def drop(layer: Layer) -> None:
        for parameter in layer.parameters():
            if parameter.grad is not None:
                live.gradients.add(live.serial.get(_key(parameter.grad), -1))
                parameter.grad = None

    with undone(rule), live:
        rule.credit(x, y, ready=drop)
    return live.peak()


def peak_bytes(step: Callable[[], Any], parameters: Iterable[Tensor]) -> int:
    """The same of a ``step()`` that leaves its gradients in ``parameters``, as ``loss.backward()`` does; they stay."""
    live = _Live()
    with live:
        step()
    live.gradients |= {live.serial.get(_key(p.grad), -1) for p in parameters if p.grad is not None}
    return live.peak()


class _Live(TorchDispatchMode):
    """Notes when the storages that operations under it make are born and freed."""

    def __init__(self) -> None:
        super().__init__()
        self.serial: dict[int, int] = {}  # of the storages alive, by address
        self.events: list[tuple[int, int]] = []  # (serial, bytes born or, negative, freed)
        self.gradients: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _key(leaf) not in given and _key(leaf) not in self.serial:
                storage = leaf.untyped_storage()
                serial = self.serial[_key(leaf)] = len(self.events)
                self.events.append((serial, storage.nbytes()))
                weakref.finalize(storage, self._freed, _key(leaf), serial, storage.nbytes())
        return result

    def _freed(self, key: int, serial: int, size: int) -> None:
        if self.serial.get(key) == serial:
            del self.serial[key]
        self.events.append((serial, -size))

    def peak(self) -> int:
        now = peak = 0
        for serial, size in self.events:
            now += 0 if serial in self.gradients else size
            peak = max(peak, now)
        return peak


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
