"""The command line: parses, calls, prints.

Each command imports what it runs when it runs, so that help, version and mistakes in an option do not wait for torch.

Results go to standard output, everything else to standard error.  Bad input is one line and exit status 2; a run that
is stopped by Ctrl-C ends with status 130 and says how to go on.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import altprop
from altprop.cli.options import RECIPE, Config, Imports, Json, Out, Settings, taking
from altprop.cli.telling import print_result, say, warnings_as_lines
from altprop.limits import Interrupted, Notice, Problem

app = typer.Typer(
    help="Train and compare neural networks without backpropagation.",
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
data_app = typer.Typer(help="Data sets: what there is, and fetching it.")
app.add_typer(data_app, name="data")

ClickException = typer.BadParameter.__mro__[2]  # typer carries its own copy of click in some versions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):  # a terminal without these letters shows others, and loses no result
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with warnings_as_lines((Notice,)):
            status = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        if status == 130:
            _fail("stopped", 130)
        sys.exit(status if isinstance(status, int) else 0)
    except (Problem, OSError) as error:
        if os.environ.get("ALTPROP_TRACEBACK"):
            raise
        advice = "; check path, permissions and free space" if isinstance(error, OSError) else ""
        _fail(str(error), 2, advice)
    except ClickException as error:  # type: ignore[misc, unused-ignore]
        _fail(error.format_message(), 2)  # type: ignore[attr-defined, unused-ignore]
    except Interrupted as error:
        _fail(str(error), 130)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped", 130)
    except typer.Exit as error:
        sys.exit(error.exit_code)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context, show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Train and compare neural networks without backpropagation."""
    if show_version:
        print(altprop.__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


@data_app.callback(invoke_without_command=True)
def data_sets(context: typer.Context) -> None:
    """Data sets: what there is, and fetching it."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def _fail(message: str, status: int, advice: str = "") -> None:
    if message:
        say(message, advice)
    sys.exit(status)


@app.command()
@taking(*RECIPE)
def train(
    recipe: dict[str, Any],
    rule: Annotated[str | None, typer.Argument(help="Or a search: altprop list; none with --config, --resume.")] = None,
    settings: Settings = None, config: Config = None, out: Out = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write events beside the metrics.")] = False,
    generations: Annotated[int | None, typer.Option(min=1, help="Of a search, at most [100].")] = None,
    parts: Annotated[
        int | None, typer.Option(min=1, max=4096, help="In which a generation is evaluated [1; 8 with --jobs].")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that evaluate a search's generation [none: here].")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that evaluates; local: of --jobs processes here.")
    ] = None,
    imports: Imports = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Train one net by one rule, or evolve one by a search, and write a run directory with a report."""
    from altprop.cli import commands
    from altprop.evolution.evaluation import Workers

    own = {"rule": rule, "generations": generations, "parts": parts}
    options = {**recipe, **{key: value for key, value in own.items() if value is not None}}
    workers = Workers(jobs, ray)
    result = commands.train(options, settings or [], config, out, resume, tensorboard, as_json, workers)
    print_result(result, as_json, "summary")


@app.command()
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
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes, of one thread each [none: here, with --threads].")
    ] = None,
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

    commands.check_format(form, as_json)
    result = commands.compare(recipe, rules, seeds, settings or [], config, out, jobs, together)
    if form in (None, "table"):
        print_result(result.content, as_json, "comparison")
    else:
        print(result.table(form), end="")


@app.command("eval")
def evaluate(
    run: Path,
    data: Annotated[str | None, typer.Option(help="New labelled samples, in place of its data's test part.")] = None,
    label: Annotated[str | None, typer.Option(help="Label column of a new .csv [that of training].")] = None,
    device: Annotated[str, typer.Option()] = "cpu", imports: Imports = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Loss and accuracy of a run, or the errors of a regression, on the test part of its data or on new samples."""
    from altprop.cli import commands

    print_result(commands.evaluate(run, data, label, device), as_json, "summary")


@app.command()
@taking("encoding")
def predict(
    run: Path,
    file: Annotated[Path, typer.Argument(help="Samples: .npz, .csv, an image or a folder of images.")],
    recipe: dict[str, Any],
    out: Annotated[Path | None, typer.Option(help="Write the CSV here instead of standard output.")] = None,
    imports: Imports = None,
) -> None:  # fmt: skip
    """CSV of label and probability, one row a sample (for a regression: of the outputs)."""
    from altprop.cli import commands

    header, rows = commands.predict(run, file, **recipe)
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *rows])
    else:
        commands.write_csv(out, header, rows)


@app.command()
def export(
    run: Path,
    to: Annotated[str, typer.Option(help="pt2, onnx (needs altprop[onnx]), torchscript or state_dict.")],
    out: Annotated[Path | None, typer.Option(help="[RUN/model.pt2, .onnx, .ts or .pt]")] = None,
    imports: Imports = None,
) -> None:
    """Write the model, raw samples to outputs, for use without altprop, check it, and print its path."""
    from altprop.cli import commands

    print(commands.export(run, to, out))


@app.command("list")
def list_rules(imports: Imports = None, as_json: Json = False) -> None:
    """Every rule: what it is, its family, what it needs, its default learning rate and activation, its paper; and every
    search, and what it can be asked."""
    from altprop.cli import listing

    told = {"rules": listing.list_rules(), "searches": listing.list_searches(), "tasks": listing.list_tasks()}
    print_result(told, as_json, "rules")


@app.command()
def explain(
    rule: Annotated[str, typer.Argument(help="Or a search, or a task.")], imports: Imports = None
) -> None:  # fmt: skip
    """What a rule, a search or a task does: the idea, its equations, arguments, claims and paper."""
    from altprop.cli import listing

    print(listing.explain(rule))


@app.command()
def report(run: Path, out: Annotated[Path | None, typer.Option(help="[RUN/report.html]")] = None) -> None:
    """Write the HTML report of a run or a comparison anew, and print its path."""
    from altprop.cli import commands

    print(commands.write_report(run, out))


@app.command()
@taking("data_dir", "device")
def reproduce(
    recipe: dict[str, Any],
    targets: Annotated[list[str] | None, typer.Argument(help="PAPER, PAPER/TABLE or PAPER/TABLE/ROW [all].")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds 0, 1, ... of each row.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes, of one thread each.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and how long it takes.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Run nothing; show what has been reached.")] = False,
    results: Annotated[Path | None, typer.Option(help="Where finished runs are kept [results].")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run what a paper's tables still lack, and hold it against the published numbers."""
    from altprop.cli import commands

    options = recipe if results is None else {**recipe, "results": results}
    table = commands.reproduce(targets or [], seeds, jobs, dry_run, status, options)
    print_result(table, as_json, "reproduction")


@data_app.command("list")
def list_data(as_json: Json = False) -> None:
    """The data sets known by name."""
    from altprop.cli import listing

    print_result({"data": listing.list_data()}, as_json, "data_sets")


@data_app.command("info")
@taking("data_dir", "label", "task", "encoding", "categories", "missing")
def info(data: str, recipe: dict[str, Any], as_json: Json = False) -> None:
    """Shape, classes and sizes of one data set, read from its files."""
    from altprop.cli import listing

    print_result(listing.data_info(data, **recipe), as_json, "summary")


@data_app.command("fetch")
@taking("data_dir")
def fetch(
    data: str, recipe: dict[str, Any], mirror: Annotated[str | None, typer.Option(help="[ALTPROP_MIRROR]")] = None
) -> None:
    """Download a published data set, check it, and print where it lies."""
    from altprop.cli import commands

    print(commands.fetch(data, recipe.get("data_dir"), mirror))
