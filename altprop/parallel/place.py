"""Where a process stands among those that were started together, by the variables that ``torchrun`` sets."""

from __future__ import annotations

import os
from typing import NamedTuple

from altprop.limits import Problem, shown


class Place(NamedTuple):
    """A process of several.  local: which it is on its machine, and so which device is its own."""

    rank: int
    size: int
    local: int


def find_place() -> Place | None:
    """That of this process; None for one that was started alone.  Raises ``Problem`` for variables that are none."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    named = {name: os.environ.get(name, os.environ["RANK"]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if not all(text.isdecimal() for text in named.values()) or int(named["RANK"]) >= int(named["WORLD_SIZE"]):
        raise Problem(f"{shown(named, 120)} came: start the processes by torchrun, or unset RANK and WORLD_SIZE")
    place = Place(*(int(text) for text in named.values()))
    return place if place.size > 1 else None


def leads() -> bool:
    """Whether this process speaks: one that is alone, or the first of several."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"
