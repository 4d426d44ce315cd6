"""What the subcommands of the command line do, as functions that return what they print."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from altprop.cli.events import Events
from altprop.cli.listing import data_info, explain, list_data, list_rules, version
from altprop.cli.settings import parse_settings
from altprop.core import Refused, RuleWarning
from altprop.data import DataError, DataWarning, fetch, image_names, printable, read_features
from altprop.export.bundle import export
from altprop.limits import shorten
from altprop.nets import NetError
from altprop.report.page import ReportError, write_report
from altprop.rules import RULES
from altprop.run import experiment
from altprop.run.directory.store import RunDirectory, failed_write, write_atomically
from altprop.run.evaluation import evaluate_new
from altprop.run.experiment import evaluate_run
from altprop.run.recipe import (
    Recipe,
    RunError,
    check_arguments,
    check_rule,
    make_recipe,
    read_recipe,
)  # fmt: skip
from altprop.run.train import Interrupted
from altprop.study.compare import compare as run_comparison
from altprop.study.papers import rows
from altprop.study.papers import status as row_status
from altprop.study.reproduce import Places, missing, plan
from altprop.study.reproduce import reproduce as run_missing

__all__ = [
    "BAD_INPUT", "WARNINGS", "compare", "data_info", "evaluate", "explain", "export", "fetch", "list_data",
    "list_rules", "predict", "reproduce", "train", "version", "write_csv", "write_report",
]  # fmt: skip

BAD_INPUT = (Refused, DataError, NetError, RunError, ReportError, OSError)
WARNINGS = (DataWarning, RuleWarning)  # each of which is one line that says what to do
MOST_SEEDS = 1000
ALL = [name for name, rule in RULES.items() if rule.requires is None]  # that need no extra of the package
UPDATE_EVERY = 20  # batches between two movements of the progress bar


def train(
    options: dict[str, Any], settings: list[str], config: Path | None, out: Path | None, resume: Path | None,
    tensorboard: bool,
) -> dict[str, Any]:  # fmt: skip
    """One run, new or resumed, with its report; returns its summary."""
    if resume is not None:
        return _finish(_resume(resume, options, settings, config, out, tensorboard))
    if config is None and "rule" not in options:
        raise RunError("no rule came: name one, such as altprop train pepita, or give --config or --resume")
    recipe = _recipe(options, parse_settings(settings), config)
    path = out or experiment.default_path(recipe)
    with _Watch(path, tensorboard) as (progress, report):
        try:
            result = experiment.run_recipe(recipe, out=path, progress=progress, report=report)
        except Interrupted:
            raise Interrupted(f"stopped; go on with: altprop train --resume {path}") from None
    return _finish(result)


def _resume(
    path: Path, options: dict[str, Any], settings: list[str], config: Path | None, out: Path | None, tensorboard: bool
) -> experiment.Result:
    extra = [f"--{name.replace('_', '-')}" for name in options] + ["--set"] * bool(settings)
    extra += ["--config"] * (config is not None) + ["--out"] * (out is not None)
    if extra:
        raise RunError(f"{extra[0]} came beside --resume: a resumed run keeps its own recipe; leave it out")
    with _Watch(path, tensorboard) as (progress, report):
        try:
            return experiment.resume_run(path, progress, report)
        except Interrupted:
            raise Interrupted(f"stopped; go on with: altprop train --resume {path}") from None


def _finish(result: experiment.Result) -> dict[str, Any]:
    if result.path is not None:
        try:
            write_report(result.path)
        except OSError as error:
            raise failed_write(result.path / "report.html", error) from error
    return result.summary()


def compare(
    options: dict[str, Any], rules: str | None, seeds: str, settings: list[str], config: Path | None, out: Path | None
) -> dict[str, Any]:
    """A comparison; ``rules`` and ``seeds`` as the command line has them."""
    names = [name.strip() for name in rules.split(",")] if rules else ALL
    for name in names:
        check_rule(name)
    if len(set(names)) < len(names):
        raise RunError(f"--rules {shorten(rules, 100)} names a rule twice: name each once")
    arguments: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in parse_settings(settings).items():
        rule, dot, argument = key.partition(".")
        if not dot or rule not in arguments:
            what = f"--set {shorten(key, 60)}=... came"
            raise RunError(f"{what}: write rule.key=value with one of {shorten(', '.join(names), 150)}")
        check_arguments(rule, {argument: value})
        arguments[rule][argument] = value
    base = _recipe(options, {}, config)
    arguments[base.rule] = {**base.arguments, **arguments.get(base.rule, {})}

    def recipes(rule: str, seed: int) -> Recipe:
        return base.by_rule(rule, seed=seed, arguments=arguments.get(rule, {}))

    path = out or Path("runs") / f"compare-{Path(base.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbers = _seeds(seeds)
    with _bar() as bar:
        task = bar.add_task("", total=len(names) * len(numbers))
        begun: list[tuple[str, int]] = []

        def progress(rule: str, seed: int) -> None:
            bar.update(task, description=f"{rule}, seed {seed}", completed=len(begun))
            begun.append((rule, seed))

        try:
            return run_comparison(names, numbers, recipes, path, progress=progress, lenient=rules is None)
        except Interrupted:
            raise Interrupted(f"stopped; go on with the same command and --out {path}") from None


def reproduce(
    targets: list[str], seeds: int, jobs: int, dry_run: bool, only_status: bool, options: dict[str, Any]
) -> dict[str, Any]:
    """The state of the rows under ``targets``, after what is missing of them has been run."""
    places = Places(**options)
    if dry_run:
        queue = missing(targets, seeds, places)
        runs = [{"id": job.row.id, "seed": job.seed, "minutes": round(job.minutes, 1)} for job in queue]
        return {"plan": plan(queue, jobs), "runs": runs}
    if only_status:
        return {"rows": [row_status(row, places.results) for row in rows(targets, places.recipes)]}
    return {"rows": run_missing(targets, seeds=seeds, jobs=jobs, places=places, tell=_say)}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def predict(run: Path, file: Path, encoding: str | None = None) -> tuple[list[str], list[list[Any]]]:
    """(header, rows): label, probability and one column a class; for a regression one column an output.  Images come
    with their file, below the folder that is given."""
    directory = RunDirectory.open(run)
    description, recipe = directory.data(), directory.recipe()
    shape = tuple((description.get("raw") or description)["shape"])
    x = read_features(
        file, shape, label=recipe.label, table=directory.table(), encoding=encoding, fallback=recipe.encoding
    )
    header, rows = _answers(*experiment.predict(run, x))
    names = image_names(file)
    if not names:
        return header, rows
    return ["file", *header], [[printable(name), *row] for name, row in zip(names, rows, strict=True)]


def _answers(y_hat: Tensor, classes: list[str]) -> tuple[list[str], list[list[Any]]]:
    if not classes:
        return [f"y{index}" for index in range(y_hat.shape[1])], [[f"{v:.6g}" for v in row] for row in y_hat.tolist()]
    rows = [[classes[max(range(len(row)), key=row.__getitem__)], f"{max(row):.6f}"] for row in y_hat.tolist()]
    each = [[f"{value:.6f}" for value in row] for row in y_hat.tolist()]
    header = ["label", "probability", *(f"p_{name}" for name in classes)]
    return header, [left + right for left, right in zip(rows, each, strict=True)]


def evaluate(run: Path, data: str | None, label: str | None, device: str) -> dict[str, Any]:
    """Of a run, on the test part of its data, or on new ones."""
    if data is None and label is not None:
        raise RunError(f"--label {label} came without --data: it names the labels of new samples; leave it out")
    return evaluate_run(run, device) if data is None else evaluate_new(run, data, label=label, device=device)


def write_csv(path: Path, header: list[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, text.getvalue())


def _recipe(options: dict[str, Any], arguments: dict[str, Any], config: Path | None) -> Recipe:
    given = {**options, **({"arguments": arguments} if arguments else {})}
    return make_recipe(**given) if config is None else read_recipe(config, **given)


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and "," not in text:
        numbers = list(range(min(numbers[0], MOST_SEEDS + 1)))
    if not 0 < len(numbers) <= MOST_SEEDS or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise RunError(f"--seeds {shorten(text, 60)} came: give how many, such as 3, or which, such as 4,7,9")
    return numbers


def _bar() -> Progress:
    """A bar on standard error; silent where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class _Watch(ExitStack):
    """The progress bar of one run, and its TensorBoard events if they are wanted."""

    def __init__(self, path: Path, tensorboard: bool) -> None:
        super().__init__()
        self.events = Events(path) if tensorboard else None

    def __enter__(self) -> tuple[Callable[..., None], Callable[..., None]]:  # type: ignore[override]
        bar = self.enter_context(_bar())
        task = bar.add_task("")
        if self.events is not None:
            self.enter_context(self.events)

        def progress(epoch: int, epochs: int, batch: int, batches: int, loss: float) -> None:
            if batch % UPDATE_EVERY == 0:
                done, total = epoch * batches + batch, epochs * batches
                bar.update(task, description=f"epoch {epoch + 1}, loss {loss:.3f}", completed=done, total=total)

        def report(row: dict[str, Any]) -> None:
            if self.events is not None:
                self.events.row(row)

        return progress, report
