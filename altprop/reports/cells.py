"""Numbers as tables show them; a dash where there is none."""

from __future__ import annotations

NONE = "-"


def number(value: float | None, digits: str) -> str:
    """By a format such as ``.3g``."""
    return NONE if value is None else f"{value:{digits}}"


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction, without the sign of percent."""
    return NONE if value is None else f"{100 * value:.{digits}f}"


def size(value: float | None) -> str:
    """Bytes in kB, MB or GB, 1 kB = 1000 B."""
    if value is None:
        return NONE
    if value >= 1e9:
        return f"{value / 1e9:.2f} GB"
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB" if value else "0"


def count(value: float | None) -> str:
    """A large number in thousands (k), millions (M) or milliards (G)."""
    if value is None:
        return NONE
    return next((f"{value / unit:.3g} {name}" for unit, name in COUNTS if value >= unit), f"{value:.4g}")


COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def rates(lr: float | list[float] | None) -> str:
    """One for all layers, or one each."""
    if lr is None:
        return NONE
    return ", ".join(f"{rate:g}" for rate in (lr if isinstance(lr, list) else [lr]))


def spread(value: float | None, deviation: float | None, digits: str) -> str:
    """mean ± deviation, both by that format."""
    return number(value, digits) + ("" if value is None or deviation is None else f" ± {deviation:{digits}}")


def measured(value: float | None, deviation: float | None, digits: int = 2) -> str:
    """mean ± deviation, in the unit they come in; below 10 with one decimal more."""
    digits = digits if value is None or abs(value) >= 10 else digits + 1
    return spread(value, deviation, f".{digits}f")


def signed(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """A difference and its interval."""
    if value is None:
        return NONE
    return f"{value:+.{digits}f}" + ("" if low is None else f" [{low:+.{digits}f}, {high:+.{digits}f}]")
