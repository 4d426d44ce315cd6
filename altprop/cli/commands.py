"""What the subcommands of the command line do, as functions that return what they print."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from altprop.cli import searching
from altprop.cli.settings import parse_settings
from altprop.cli.watching import Watch, bar_of_progress, finish, say_line
from altprop.data import fetch, image_names, printable, read_features
from altprop.evolution.loading import is_search
from altprop.export.bundle import export
from altprop.limits import Interrupted, nearest, shorten
from altprop.parallel.meeting import meeting
from altprop.parallel.place import find_place
from altprop.pool.workers import Workers
from altprop.reports.numbers import percent, significant
from altprop.reports.page import write_report
from altprop.reports.tables import FORMATS
from altprop.run import experiment
from altprop.run.directory.files import write_atomically
from altprop.run.directory.store import RunDirectory
from altprop.run.evaluation import evaluate_new
from altprop.run.experiment import evaluate_run
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import make_recipe, read_recipe
from altprop.study.compare import Comparison, run_plan, wanted_tuning
from altprop.study.papers import rows
from altprop.study.papers import status as row_status
from altprop.study.plan import make_plan, seed_numbers
from altprop.study.reproduce import Places, missing, plan
from altprop.study.reproduce import reproduce as run_missing

__all__ = [
    "check_format", "compare", "evaluate", "export", "fetch", "predict", "reproduce", "train", "write_csv",
    "write_report",
]  # fmt: skip


OF_SEARCHES = {"generations", "parts"}  # options


def train(
    options: dict[str, Any], settings: list[str], config: Path | None, out: Path | None, resume: Path | None,
    tensorboard: bool, quiet: bool = False, workers: Workers = Workers(),  # noqa: B008  which nothing changes
    pipeline: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One run, new or resumed, with its report; returns its summary."""
    if searching.names_search(options, config, resume):
        if find_place() is not None or pipeline is not None:
            what = "a search came for several processes"
            raise RunError(f"{what}: leave out torchrun and --pipeline, it has --jobs and --ray")
        if tensorboard:
            raise RunError("--tensorboard came for a search, whose metrics have no steps: leave it out")
        own = options if resume is None else _alone(resume, options, settings, config, out)
        return searching.train(own, parse_settings(settings), config, out, resume, workers, quiet)
    given = [name for name, value in workers._asdict().items() if value is not None]
    for name in (*OF_SEARCHES & options.keys(), *given):
        raise RunError(f"--{name} came without a search: it is for altprop train SEARCH --task TASK; leave it out")
    if resume is not None:
        _alone(resume, options, settings, config, out)
        return _run(experiment.resume_run, (resume,), resume, {}, tensorboard, quiet, pipeline)
    if config is None and "rule" not in options:
        raise RunError("no rule came: name one, such as altprop train pepita, or give --config or --resume")
    recipe = _recipe(options, parse_settings(settings), config)
    path = out or experiment.default_path(recipe.rule, recipe.data, recipe.seed)
    return _run(experiment.run_recipe, (recipe,), path, {"out": path}, tensorboard, quiet, pipeline)


def _run(
    work: Callable[..., experiment.Result], given: tuple[Any, ...], path: Path, writes: dict[str, Any],
    tensorboard: bool, quiet: bool, pipeline: int | None,
) -> dict[str, Any]:  # fmt: skip
    """The summary of a run that is watched, with its report; of several processes the first alone does both, and the
    others' is empty.  writes: what the run is given by who writes it down."""
    with meeting(path, pipeline) as team:
        if not team.leads:
            work(*given, team=team)
            return {}
        with Watch(path, tensorboard, quiet, _epoch) as watch:
            try:
                result = work(*given, progress=watch.progress, report=watch.report, team=team, **writes)
            except Interrupted:
                raise Interrupted(f"stopped; go on with: altprop train --resume {path}") from None
    return finish(result)


def _alone(
    path: Path, options: dict[str, Any], settings: list[str], config: Path | None, out: Path | None
) -> dict[str, Any]:
    """No options; raises ``RunError`` for any that came beside --resume."""
    extra = [f"--{name.replace('_', '-')}" for name in options] + ["--set"] * bool(settings)
    extra += ["--config"] * (config is not None) + ["--out"] * (out is not None)
    if extra:
        raise RunError(f"{extra[0]} came beside --resume: a resumed run keeps its own recipe; leave it out")
    return {}


def compare(
    options: dict[str, Any], rules: str | None, seeds: str, settings: list[str], config: Path | None, out: Path | None,
    workers: Workers = Workers(), tune: tuple[int | None, str | None] = (None, None),  # noqa: B008  which nothing changes
    together: bool = False,
) -> Comparison:  # fmt: skip
    """A comparison; ``rules``, ``seeds`` and ``settings`` as the command line has them.  tune: (trials, space)."""
    base = _recipe(options, {}, config)
    names = [name.strip() for name in rules.split(",")] if rules else None
    comparison = make_plan(names, _seeds(seeds), base, _by_rule(settings))
    tuning = wanted_tuning(*tune, comparison)
    path = out or Path("runs") / f"compare-{Path(base.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    with bar_of_progress() as bar:
        task = bar.add_task("")

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        try:
            return run_plan(comparison, path, None, workers, progress, tuning, together)
        except Interrupted:
            raise Interrupted(f"stopped; go on with the same command and --out {path}") from None


def check_format(format: str | None, as_json: bool) -> None:
    """Raises ``RunError`` for one that is not known, and beside --json."""
    known = ["table", *FORMATS]
    if format is not None and format not in known:
        raise RunError(f"--format {shorten(format, 40)} came{nearest(format, known)}")
    if format is not None and as_json:
        raise RunError(f"--format {format} came beside --json: leave one of them out")


def _by_rule(settings: list[str]) -> dict[str, dict[str, Any]]:
    """rule.key=value, as {rule: {key: value}}."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in parse_settings(settings).items():
        rule, dot, name = key.partition(".")
        if not dot:
            what = f"--set {shorten(key, 60)}=... came without a rule"
            raise RunError(f"{what}: write rule.key=value, such as dfa.lr=0.02, or give --{shorten(key, 60)} for all")
        found.setdefault(rule, {})[name] = value
    return found


def reproduce(
    targets: list[str], seeds: int, workers: Workers, dry_run: bool, only_status: bool, options: dict[str, Any]
) -> dict[str, Any]:
    """The state of the rows under ``targets``, after what is missing of them has been run."""
    places = Places(**options)
    if dry_run:
        queue = missing(targets, seeds, places)
        runs = [{"id": job.row.id, "seed": job.seed, "minutes": round(job.minutes, 1)} for job in queue]
        return {"plan": plan(queue, workers), "runs": runs}
    if only_status:
        return {"rows": [row_status(row, places.results) for row in rows(targets, places.recipes)]}
    return {"rows": run_missing(targets, seeds=seeds, **workers._asdict(), places=places, tell=say_line)}


def predict(run: Path, file: Path, encoding: str | None = None) -> tuple[list[str], list[list[Any]]]:
    """(header, rows): label, probability and one column a class; for a regression one column an output.  Images come
    with their file, below the folder that is given."""
    if is_search(run):
        return _named(file, *_answers(*searching.predict(run, file, encoding)))
    directory = RunDirectory.open(run)
    description, recipe = directory.data(), directory.recipe()
    shape = tuple((description.get("raw") or description)["shape"])
    x = read_features(
        file, shape, label=recipe.label, table=directory.table(), encoding=encoding, fallback=recipe.encoding
    )
    return _named(file, *_answers(*experiment.predict(run, x)))


def _named(file: Path, header: list[str], rows: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """With the files that images come from."""
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
    if is_search(run):
        return searching.evaluate(run, data, device)
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
    many = len(numbers) == 1 and "," not in text
    return seed_numbers(numbers[0] if many else numbers, came=f"--seeds {shorten(text, 60)}")


def _epoch(row: dict[str, Any]) -> str:
    """A row of metrics as a line: epoch 3, loss 0.213, test accuracy 94.2 %."""
    known = {key: row.get(key) for key in ("loss", "test_loss", "test_accuracy")}
    said = [f"{key.replace('_', ' ')} {_number(key, value)}" for key, value in known.items() if value is not None]
    return ", ".join([f"epoch {row['epoch']}", *said])


def _number(key: str, value: float) -> str:
    return f"{percent(value, 1)} %" if "accuracy" in key else significant(value)
