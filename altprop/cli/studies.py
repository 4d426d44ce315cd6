"""The commands that make many runs; like those of ``app`` they import what they run when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from altprop.cli.options import RECIPE, Config, Imports, Json, Out, Ray, Settings, taking
from altprop.cli.telling import print_result


@taking(*(name for name in RECIPE if name != "seed"))
def compare(
    recipe: dict[str, Any],
    rules: Annotated[
        str | None, typer.Option(help="Comma-separated [all that need no extra]; the control shallow is always beside.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="How many (3: seeds 0, 1, 2), or which (4,7,9).")] = "3",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Of one rule, rule.key=value, such as dfa.lr=0.02 or drtp.scale=2; repeatable."),
    ] = None,
    tune: Annotated[
        int | None, typer.Option(min=1, help="Trials of every rule before, on a validation part; needs altprop[sweep].")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Tuned beside the learning rate, such as arguments.scale=log:.01:10.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes, of one thread each [none: here, with --threads].")
    ] = None,
    ray: Ray = None,
    together: Annotated[
        bool, typer.Option("--together", help="All seeds of a rule at once in one process, by batched products.")
    ] = False,
    config: Config = None, out: Out = None,
    form: Annotated[
        str | None, typer.Option("--format", help="table, csv, latex or markdown [table].")
    ] = None,
    imports: Imports = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Train several rules under one protocol, and print a table of what they reach, cost and need."""
    from altprop.cli import commands
    from altprop.pool.workers import Workers

    commands.check_format(form, as_json)
    result = commands.compare(
        recipe, rules, seeds, settings or [], config, out, Workers(jobs, ray), (tune, space), together
    )
    if form in (None, "table"):
        print_result(result.content, as_json, "comparison")
    else:
        print(result.table(form), end="")


@taking(*RECIPE)
def sweep(
    recipe_or_rule: str,
    recipe: dict[str, Any],
    space: Annotated[
        str, typer.Option(help="KEY=log:a:b, lin:a:b, int:a:b or choice:a|b, comma-separated; KEY or arguments.KEY.")
    ] = "lr=log:1e-4:1",
    trials: Annotated[int, typer.Option(min=1, help="Of the whole study, earlier ones among them.")] = 20,
    storage: Annotated[str | None, typer.Option(help="URL of Optuna's [SQLite in --out].")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes of one thread [none: here].")] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="End trials below the median [prune].")] = True,
    ray: Ray = None, settings: Settings = None, out: Out = None, imports: Imports = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Search the settings of a recipe or a rule on a validation part, by Optuna; the same command goes on with it."""
    from altprop.cli import sweeping
    from altprop.pool.workers import Workers

    workers = Workers(jobs, ray)
    found = sweeping.sweep(recipe_or_rule, recipe, settings or [], space, trials, storage, workers, prune, out, as_json)
    print_result(found, as_json, "sweep")


@taking("data_dir", "device")
def reproduce(
    recipe: dict[str, Any],
    targets: Annotated[list[str] | None, typer.Argument(help="PAPER, PAPER/TABLE or PAPER/TABLE/ROW [all].")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds 0, 1, ... of each row.")] = 3,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes, of one thread each [1].")] = None,
    ray: Ray = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and how long it takes.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Run nothing; show what has been reached.")] = False,
    results: Annotated[Path | None, typer.Option(help="Where finished runs are kept [results].")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run what a paper's tables still lack, and hold it against the published numbers."""
    from altprop.cli import commands
    from altprop.pool.workers import Workers

    options = recipe if results is None else {**recipe, "results": results}
    table = commands.reproduce(targets or [], seeds, Workers(jobs, ray), dry_run, status, options)
    print_result(table, as_json, "reproduction")
