"""Arguments of a rule as the command line has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from altprop.limits import shorten
from altprop.run.recipe import RunError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found, no-redef, unused-ignore]


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``key=value`` pairs, the values read as TOML where that is possible and as text elsewhere."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not (separator and key.strip()):
            raise RunError(f"--set {shorten(pair, 100)} came; write it as --set key=value, such as --set sign=-1")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # of no TOML, whole numbers of thousands of digits and endless nesting
            value = {"True": True, "False": False}.get(text, text)
        settings[key.strip()] = value
    return settings
