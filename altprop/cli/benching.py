"""What ``altprop bench`` and ``altprop profile`` do with their options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from altprop.bench import bench as timing
from altprop.bench.cases import Case, cases
from altprop.bench.choose import choose as measure
from altprop.bench.choose import keep
from altprop.bench.profile import profile as measure_memory
from altprop.cli.telling import say
from altprop.limits import shorten
from altprop.reports.depths import memory_over_depth
from altprop.run.recipe import RunError
from altprop.run.values import check_rule

SHAPE = re.compile(r"\d{1,9}(x\d{1,9})*")

DEPTHS = re.compile(r"\d{1,4}(,\d{1,4})*")


def bench(
    rules: str | None, nets: list[str], shape: str, batch: int | None, rounds: int, choose: bool, compiled: bool
) -> dict[str, Any]:
    """Times, as ``altprop.bench.bench`` returns them; ``choice`` is what --choose has kept, and where."""
    asked = _cases(rules, nets, shape, batch)
    choice: dict[str, Any] = {}
    if choose:
        say("measuring the products of these nets by both libraries")
        products = measure(asked)
        choice = {"choice": {"products": products, "file": str(keep(products))}}
    return {**timing.bench(asked, rounds, say, compiled), **choice}


def profile(
    rule: str, net: str, shape: str, batch: int, depths: str | None, figure: Path | None = None
) -> dict[str, Any]:
    """Bytes and multiply-adds, as ``altprop.bench.profile`` returns them; ``figure`` is drawn of those over depth."""
    if figure is not None and depths is None:
        raise RunError(f"--figure {shorten(figure, 60)} came without depths to draw: give --depths 2,4,8,16 too")
    if depths is not None and not DEPTHS.fullmatch(depths):
        raise RunError(f"--depths {shorten(depths, 60)} came: give numbers of layers, such as 2,4,8,16")
    (case,) = _cases(rule, [net], shape, batch)
    told = measure_memory(rule, case, [int(depth) for depth in depths.split(",")] if depths else [])
    if figure is not None:
        figure.write_text(memory_over_depth(told["by_depth"]), encoding="utf-8")
        say(f"figure: {figure}")
    return told


def _cases(rules: str | None, nets: list[str], shape: str, batch: int | None) -> list[Case]:
    """Raises ``RunError`` for an unknown rule and an unreadable shape, ``NetError`` for a net that cannot be built."""
    names = [name.strip() for name in rules.split(",")] if rules else []
    for name in names:
        check_rule(name)
    if not SHAPE.fullmatch(shape):
        raise RunError(f"--shape {shorten(shape, 60)} came: give the sizes of one sample, such as 3x32x32")
    asked = cases(nets, names, batch, tuple(map(int, shape.split("x"))))
    for case in asked:
        case.build()
    return asked
