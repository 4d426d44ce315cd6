"""A measure that cannot be taken: why, in one line."""

from __future__ import annotations

import warnings
from contextlib import suppress

from altprop.core import RuleWarning


def tell(name: str, why: str) -> None:
    """A warning that a measure is missing, which ends no run even where warnings are errors."""
    with suppress(UserWarning):
        warnings.warn(f"{name} cannot be measured: {why}", RuleWarning, stacklevel=2)


def reason(error: Exception) -> str:
    """One line of at most 200 letters; the kind of an error that is none of the package's own stands before it."""
    text = " ".join(str(error).split())
    own = type(error).__module__.startswith("altprop.")
    return (text if own else f"{type(error).__name__}: {text}")[:200]
