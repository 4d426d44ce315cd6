"""Measures which library multiplies the products of these cases faster, and keeps it for ``altprop.backend``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from altprop import backend
from altprop.backend import WORTHWHILE, machine, prefers_onednn, processor, product_name
from altprop.bench.bench import make
from altprop.bench.cases import Case
from altprop.bench.products import operands, products, timed, ways
from altprop.bench.timing import one_thread
from altprop.core import Refused
from altprop.run.directory.files import write_atomically

CLEAR = 0.95  # the share of the usual library's time that another must stay below
REPEATS = 15


def choose(cases: Sequence[Case]) -> dict[str, str]:
    """The library of each product, by its name, that is clearly faster than the one that is usual on this processor."""
    usual, found = "onednn" if prefers_onednn(*processor()) else "mkl", {}
    with one_thread(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for product in (product for case in cases for product in _of(case)):
            pair = operands(product)
            name = product_name(pair[0], pair[1].T) if pair is not None and _large(*pair) else ""
            if not name or name in found:
                continue
            seconds = timed(ways(product), REPEATS)
            best = min(seconds, key=seconds.__getitem__)
            found[name] = best if seconds[best] < CLEAR * seconds[usual] else usual
    return {name: way for name, way in found.items() if way != usual}


def keep(chosen: dict[str, str], file: Path | None = None) -> Path:
    """Write them as this machine's, in the place of what was chosen before, and use them from now on."""
    file = backend.path() if file is None else file
    content = {**backend.read(file), machine(): chosen}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(content, indent=1, sort_keys=True) + "\n")
    backend.choices.cache_clear()
    return file


def _of(case: Case) -> list[Any]:
    x, y = case.data()
    found = []
    for name in case.rules:
        try:
            found += products(make(name, case, x), x, y)
        except Refused:
            continue
    return found


def _large(x: torch.Tensor, weight: torch.Tensor) -> bool:
    single = x.dtype == weight.dtype == torch.float32 and backend.HAS_ONEDNN
    return single and x.numel() * weight.shape[1] >= WORTHWHILE
