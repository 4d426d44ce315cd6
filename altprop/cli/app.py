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
from altprop.allocator import keep_freed_memory
from altprop.cli import measuring, studies
from altprop.cli.options import RECIPE, Config, Imports, Json, Out, Ray, Settings, taking
from altprop.cli.telling import print_result, say, warnings_as_lines
from altprop.limits import Interrupted, Notice, Problem
from altprop.parallel.place import find_place

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
    keep_freed_memory()
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
        _fail(str(error), 2, advice, getattr(error, "tells", None))
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
    elif context.invoked_subcommand != "train" and find_place() is not None:
        what = f"{context.invoked_subcommand} came for several processes"
        raise Problem(f"{what}: leave out torchrun, which is for altprop train")


@data_app.callback(invoke_without_command=True)
def data_sets(context: typer.Context) -> None:
    """Data sets: what there is, and fetching it."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def _fail(message: str, status: int, advice: str = "", tells: bool | None = None) -> None:
    if message:
        say(message, advice, tells)
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
    ray: Ray = None,
    pipeline: Annotated[
        int | None, typer.Option(min=2, max=4096, help="Of torchrun's processes, as many: each owns some layers.")
    ] = None,
    imports: Imports = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Train one net by one rule, or evolve one by a search, and write a run directory with a report."""
    from altprop.cli import commands
    from altprop.pool.workers import Workers

    own = {"rule": rule, "generations": generations, "parts": parts}
    options = {**recipe, **{key: value for key, value in own.items() if value is not None}}
    workers = Workers(jobs, ray)
    result = commands.train(options, settings or [], config, out, resume, tensorboard, as_json, workers, pipeline)
    if result:
        print_result(result, as_json, "summary")


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


for command in (studies.compare, studies.sweep, studies.reproduce, measuring.bench, measuring.profile):
    app.command()(command)
