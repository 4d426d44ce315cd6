"""What this machine can do: its devices, cores and memory; what goes beyond is refused before it is tried."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor

from altprop.core import Rule
from altprop.limits import gigabytes, memory, shorten
from altprop.run.directory.files import RunError

DEVICE = re.compile(r"([a-z]+)(?::(\d{1,3}))?", re.ASCII)
THREADS = 4  # a core at most, and always 64: more would wait for each other, or could not be started
# Multiply-adds of a batch for each thread.  By benchmarks/threads.py on two idle cores, two threads take a step of a
# dense net .86 to 1.11 times as fast as one up to 7 million, 1.26 to 1.42 times at 13 to 26 million, and 1.5 times and
# more from 52 million on; on busy cores they lose below that, so that the second thread comes where it pays either way.
WORTH = 25 * 10**6
ALLOCATION = re.compile(r"can't allocate|not enough memory|out of memory|cannot allocate|overflow", re.IGNORECASE)


def devices() -> dict[str, int]:
    """How many there are of each kind of device that computes here."""
    found = {"cpu": 1, "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0}
    found["mps"] = int(torch.backends.mps.is_available())
    found["xpu"] = torch.xpu.device_count() if hasattr(torch, "xpu") and torch.xpu.is_available() else 0
    return {kind: count for kind, count in found.items() if count}


def find_device(name: str) -> torch.device:
    """That device, if it is there; raises ``RunError``."""
    there = devices()
    match = DEVICE.fullmatch(name) if isinstance(name, str) else None
    if match is None or int(match[2] or 0) >= there.get(match[1], 0):
        what = f"device '{shorten(name, 60)}' is not there; there is {', '.join(there)}"
        raise RunError(f"{what}: use --device cpu")
    device = torch.device(name)
    try:
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a driver that is too old, say
        raise RunError(f"device '{name}' does not work ({shorten(error, 100)}): use --device cpu") from error
    return device


def check_threads(threads: int | None) -> None:
    """Raises ``RunError`` for more than this machine could run."""
    cores = os.cpu_count() or 1
    most = max(64, THREADS * cores)
    if threads is not None and threads > most:
        raise RunError(f"threads = {threads} came, but this machine has {cores} cores: give at most {cores}")


def work(rule: Rule, batch: int) -> int:
    """The multiply-adds of a batch in the weights of all layers, forward alone."""
    each = 0
    for layer, shapes in zip(rule.layers, rule.shapes, strict=True):
        weight = getattr(layer.synapse, "weight", None)
        positions = prod(shapes.a) // len(weight) if isinstance(weight, Tensor) and weight.dim() > 1 else 1
        each += positions * sum(parameter.numel() for parameter in layer.synapse.parameters())
    return batch * each


def worth_threads(rule: Rule, batch: int) -> int:
    """The threads that a batch is worth, at most as many as this process has cores and torch has threads now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, torch.get_num_threads(), work(rule, batch) // WORTH))


def check_room(rule: Rule, batch: int) -> None:
    """Raises ``RunError`` where a batch of samples makes more in one layer than memory holds."""
    device = rule.like.device
    room = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else memory()
    for layer, shapes in zip(rule.layers, rule.shapes, strict=True):
        size = batch * rule.like.element_size() * (prod(shapes.x) + prod(shapes.a))
        if size > room:
            what = f"a batch of {batch} samples takes {gigabytes(size)} in {shorten(layer, 80)}"
            raise RunError(f"{what}, but there are {gigabytes(room)} of memory: give a smaller --batch or --net")


@contextmanager
def within_memory() -> Iterator[None]:
    """What the allocators say where memory ends becomes one ``RunError``."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or ALLOCATION.search(str(error))):
            raise
        what = shorten(error, 100) or "MemoryError"
        raise RunError(f"the memory is full ({what}): give a smaller --net, --batch or data set") from error
