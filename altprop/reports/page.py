"""One HTML file of a run, or of a comparison: every number and line in it is read from their directories."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from altprop.limits import shorten
from altprop.panels.style import DARK, LIGHT
from altprop.reports.comparison import comparison_context
from altprop.reports.evolution import search_context
from altprop.reports.single import run_context
from altprop.reports.typeset import FILTERS
from altprop.run.directory.files import check_writable, is_folder
from altprop.run.directory.records import ReportError, read_run


def write_report(folder: Path, out: Path | None = None) -> Path:
    """One self-contained HTML file on the run or comparison in `folder`, which opens offline; returns its path.

    out: where to write it, by default report.html in `folder`; a file there is replaced in one step, or stays whole.
    Raises `ReportError` for a folder that is neither, and for files in it that cannot be read.
    """
    folder = Path(folder)
    out = folder / "report.html" if out is None else Path(out)
    check_writable(out)
    there = is_folder(folder)
    if there and (folder / "comparison.json").is_file():
        page = _page("comparison.html.j2", comparison_context(folder))
    elif there and (folder / "task.json").is_file():
        page = _page("search.html.j2", search_context(folder))
    elif there and (folder / "recipe.toml").is_file():
        page = _page("run.html.j2", run_context(read_run(folder)))
    else:
        came = "neither recipe.toml nor comparison.json is in it" if there else "no such directory"
        raise ReportError(
            f"{shorten(folder, 120)}: {came}; expected the directory of a run or of a comparison; check the path"
        )
    _write(out, page)
    return out


def _page(template: str, context: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("altprop.reports"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= FILTERS
    return environment.get_template(template).render(context, light=LIGHT, dark=DARK)


def _write(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # JSON may hold halves of characters, which UTF-8 has no bytes for.
        beside.write_bytes(page.encode("utf-8", errors="xmlcharrefreplace"))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
