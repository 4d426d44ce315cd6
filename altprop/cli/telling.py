"""How the command line tells: results on standard output, and one line each on standard error."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from altprop.limits import WIDTH, shorten
from altprop.parallel.place import leads


@contextmanager
def warnings_as_lines(kinds: tuple[type[Warning], ...]) -> Iterator[None]:
    """Warnings of these kinds as one line each, and once; others as Python shows them."""
    told: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning
        for kind in kinds:
            warnings.simplefilter("always", kind)

        def tell(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if not issubclass(category, kinds):
                usual(message, category, *place)
            elif str(message) not in told:
                told.add(str(message))
                say(str(message))

        warnings.showwarning = tell  # type: ignore[assignment]
        yield


def say(message: str, advice: str = "", tells: bool | None = None) -> None:
    """A line, of several processes by the first, unless ``tells`` says who."""
    if leads() if tells is None else tells:
        print("altprop: " + shorten(message, WIDTH - len(advice)) + advice, file=sys.stderr)


def print_result(result: dict[str, Any], as_json: bool, table: str) -> None:
    """One JSON object, or that table of ``report.terminal``."""
    if as_json:
        print(json.dumps(result))
        return
    from rich.console import Console

    from altprop.reports import terminal

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=max(console.width, terminal.WIDE))
    getattr(terminal, table)(console, result)
