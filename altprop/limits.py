"""What every room shares without torch: kinds of errors and notices, what a message, a float32 and this machine can
hold, and the nearest name: the one place that shortens, and that knows the memory."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WIDTH = 290  # letters of a message: with "altprop: " before it and a line break behind it, a line of 300
LARGEST = 3.4e38  # of the numbers in float32
CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Problem(ValueError):
    """Bad input, told in one line of at most ``WIDTH`` letters: what came, what was expected, what to do."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shorten(message))


class Refused(Problem):
    """A net or an argument that altprop will not guess about; the message says what to do instead."""


class Notice(UserWarning):
    """What is told beside a result that stands; one line that says what to do."""


class RuleWarning(Notice):
    """A net, data or a run that a rule works with, but not as its source does; one line that says what to do."""


class Interrupted(Exception):
    """The run was stopped from outside, at a step from which it can be resumed."""


def shorten(text: object, width: int = WIDTH) -> str:
    """One line of at most ``width`` letters, those that cannot be printed as escapes.

    What is too much is left out of the middle, since a message begins with what came and ends with what to do."""
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    if len(line) <= width:
        return line
    head = (width - 5) * 3 // 5
    return f"{line[:head]} ... {line[len(line) - (width - 5 - head) :]}"


def shown(value: Any, width: int = 60) -> str:
    """A value in a message: as Python writes it, cut to ``width`` letters."""
    try:
        return shorten(repr(value), width)
    except (ValueError, RecursionError):  # a whole number of more digits than Python writes, or lists without end
        return f"{'an' if isinstance(value, int) else 'a'} {type(value).__name__} too long to show"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a word, in whatever letters; None where none is near."""
    lowered = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word[:60].lower(), lowered, 1, cutoff=0.5)
    return lowered[found[0]] if found else None


def nearest(word: str, known: Iterable[str], width: int = 210) -> str:
    """The end of a message about an unknown name: the nearest one that there is, and all of them."""
    names = list(known)
    close = closest(word, names)
    listed = shorten(", ".join(names) or "none", width - 40 * bool(close))
    return (f"; did you mean '{close}'?" if close else ";") + f" there is {listed}"


def memory() -> int:
    """The bytes of memory that this process may hold: the machine's, or what its control group leaves of them."""
    limits = [int(text) for text in map(_first_word, CONTROL_GROUPS) if text.isdigit()]
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not told by this system
        limits.append(2**63)
    return min(limits)


def gigabytes(size: float) -> str:
    """A number of bytes in GB, for a message."""
    return f"{size / 1e9:.3g} GB"


def _first_word(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
