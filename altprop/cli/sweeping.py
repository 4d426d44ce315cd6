"""``altprop sweep``: its options as the command line has them, and a line a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from altprop.cli.settings import parse_settings
from altprop.cli.watching import bar_of_progress, say_line
from altprop.limits import Interrupted
from altprop.pool.workers import Workers
from altprop.reports.numbers import significant
from altprop.run.recipe import Recipe
from altprop.run.values import make_recipe, read_recipe
from altprop.study.space import parse_space
from altprop.study.sweep import run_sweep, study_name


def sweep(
    what: str, options: dict[str, Any], settings: list[str], space: str, trials: int, storage: str | None,
    workers: Workers, prune: bool, out: Path | None, quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A sweep of the recipe in a TOML file, or of a rule; returns what it has found.

    Without ``out`` its folder is named by what is searched, so that the same command goes on with it."""
    recipe, dimensions = _recipe(what, options, parse_settings(settings)), parse_space(space)
    path = out or Path("runs") / study_name(recipe, dimensions)
    with bar_of_progress() as bar:
        task = bar.add_task("", total=trials)

        def progress(trial: dict[str, Any], done: int, total: int) -> None:
            line = _line(trial, done, total)
            bar.update(task, description=line, completed=done, total=total)
            if bar.disable and not quiet:
                say_line(line)

        try:
            return run_sweep(recipe, dimensions, trials, path, storage, workers, prune, progress=progress).content
        except Interrupted:
            raise Interrupted(f"stopped; go on with the same command, which finds its trials in {path}") from None


def _recipe(what: str, options: dict[str, Any], arguments: dict[str, Any]) -> Recipe:
    given = {**options, **({"arguments": arguments} if arguments else {})}
    if what.endswith(".toml"):
        return read_recipe(Path(what), **given)
    return make_recipe(rule=what, **given)


def _line(trial: dict[str, Any], done: int, total: int) -> str:
    """A trial as a line: trial 3 (4 of 20 ended): 0.942, lr 0.0132."""
    said = "pruned" if trial["state"] == "pruned" else trial["told"]
    reached = said if trial["value"] is None else f"{trial['value']:.4f}"
    values = [
        f"{key} {significant(value) if isinstance(value, float) else value}" for key, value in trial["values"].items()
    ]
    return ", ".join([f"trial {trial['number']} ({done} of {total} ended): {reached}", *values])
