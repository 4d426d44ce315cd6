"""Numbers as pages write them."""

from __future__ import annotations

import math
from typing import Any

from jinja2 import Undefined


def fixed(value: Any, digits: int = 2, scale: float = 1, plus: bool = False) -> str:
    """A number times `scale` with that many decimals, its sign a real minus; a dash where there is none."""
    if not isinstance(value, int | float):
        return text(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    rounded = round(value * scale, digits) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:{'+' if plus and rounded else ''}.{digits}f}".replace("-", "\u2212")


def significant(value: Any) -> str:
    """Three significant digits, without an exponent where that stays short."""
    if not isinstance(value, int | float) or not math.isfinite(value) or value == 0:
        return fixed(value, 0)
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}".replace("-", "\u2212")
    return fixed(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def size(value: Any, unit: str = "B") -> str:
    """Bytes, or another unit, with the prefix that makes the number short: 1 kB is 1000 B."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return fixed(value)
    place = min(max(0, math.floor(math.log10(max(abs(value), 1)) / 3)), 4)
    return f"{significant(value / 1000**place)} {('', 'k', 'M', 'G', 'T')[place]}{unit}".rstrip()


def text(value: Any) -> str:
    """Anything else: a dash for nothing, yes and no, and lists with commas."""
    if value in (None, "", []) or isinstance(value, Undefined):
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(text, value)) if isinstance(value, list) else str(value)


FILTERS = {"fixed": fixed, "significant": significant, "size": size, "text": text}
