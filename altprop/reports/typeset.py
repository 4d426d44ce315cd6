"""Numbers as pages write them: a real minus, and an en dash where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from jinja2 import Undefined

from altprop.reports import numbers


def _typeset(write: Callable[..., str]) -> Callable[..., str]:
    @wraps(write)
    def written(value: Any, *arguments: Any, **named: Any) -> str:
        said = write(None if isinstance(value, Undefined) else value, *arguments, **named)
        if said == numbers.NONE:
            return "\u2013"
        return said.replace("-", "\u2212") if isinstance(value, int | float) else said

    return written


fixed, significant = _typeset(numbers.fixed), _typeset(numbers.significant)
size, text = _typeset(numbers.size), _typeset(numbers.text)
FILTERS = {"fixed": fixed, "significant": significant, "size": size, "text": text}
