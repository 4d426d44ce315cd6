"""Numbers and other values as tables and pages write them; a dash where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

NONE = "-"
PREFIXES = ("", "k", "M", "G", "T")


def fixed(value: Any, digits: int = 2, scale: float = 1, plus: bool = False) -> str:
    """A number times ``scale`` with that many decimals, a plus before it if asked for."""
    if not isinstance(value, int | float):
        return text(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    rounded = round(value * scale, digits) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:{'+' if plus and rounded else ''}.{digits}f}"


def percent(value: Any, digits: int = 2) -> str:
    """A fraction, without the sign of percent."""
    return fixed(value, digits, 100)


def significant(value: Any, digits: int = 3) -> str:
    """So many significant digits, without an exponent where that stays short."""
    if not isinstance(value, int | float) or not math.isfinite(value) or value == 0:
        return fixed(value, 0)
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    return fixed(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def size(value: Any, unit: str = "B") -> str:
    """Bytes, or another unit, with the prefix that makes the number short: 1 kB is 1000 B."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return fixed(value)
    place = min(max(0, math.floor(math.log10(max(abs(value), 1)) / 3)), len(PREFIXES) - 1)
    return f"{significant(value / 1000**place)} {PREFIXES[place]}{unit}".rstrip()


def text(value: Any) -> str:
    """Anything else: a dash for nothing, yes and no, and lists with commas."""
    if value in (None, "", []):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(text, value)) if isinstance(value, list) else str(value)


def spread(
    value: float | None, deviation: float | None, write: Callable[..., str] = fixed, digits: int = 2
) -> str:  # fmt: skip
    """mean ± deviation, each as ``write`` has it with these digits."""
    beside = "" if value is None or deviation is None else f" ± {write(deviation, digits)}"
    return write(value, digits) + beside


def measured(value: float | None, deviation: float | None, digits: int = 2) -> str:
    """mean ± deviation, in the unit they come in; below 10 with one decimal more."""
    return spread(value, deviation, fixed, digits if value is None or abs(value) >= 10 else digits + 1)


def signed(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """A difference and its interval."""
    difference, *interval = (fixed(each, digits, plus=True) for each in (value, low, high))
    return difference if value is None or low is None else f"{difference} [{', '.join(interval)}]"
