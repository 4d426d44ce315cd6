"""``altprop train`` for searches: as for rules, a generation in the place of an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from altprop.cli.watching import Watch, finish
from altprop.data import read_features
from altprop.evolution.directory import SearchDirectory
from altprop.evolution.experiment import evaluate_search, load_search, resume_search, run_search
from altprop.evolution.recipe import SearchRecipe, make_search_recipe, read_search_recipe
from altprop.limits import Interrupted
from altprop.pool.workers import Workers
from altprop.reports.numbers import significant
from altprop.run.directory.files import RunError, read_toml
from altprop.run.experiment import default_path
from altprop.searches import SEARCHES

TASK = "task."  # begins the arguments of a task in --set


def names_search(options: dict[str, Any], config: Path | None, resume: Path | None) -> bool:
    """Whether these ask for a search: by its name, by its recipe or by its run."""
    if resume is not None:
        return (resume / "task.json").is_file()
    if "rule" in options:
        return options["rule"] in SEARCHES
    return config is not None and "search" in read_toml(config)


def train(
    options: dict[str, Any], settings: dict[str, Any], config: Path | None, out: Path | None, resume: Path | None,
    workers: Workers, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """One run of a search, new or resumed, with its report; returns its summary."""
    if resume is not None:
        generations = SearchDirectory.open(resume).recipe().generations
        with Watch(resume, False, quiet, lambda row: _line(row, generations)) as watch:
            try:
                return finish(resume_search(resume, workers=workers, report=watch.report))
            except Interrupted:
                raise Interrupted(f"stopped; go on with: altprop train --resume {resume}") from None
    recipe = _recipe(options, settings, config)
    path = out or default_path(recipe.search, recipe.task or recipe.data or "", recipe.seed)
    with Watch(path, False, quiet, lambda row: _line(row, recipe.generations)) as watch:
        try:
            return finish(run_search(recipe, out=path, workers=workers, report=watch.report))
        except Interrupted:
            raise Interrupted(f"stopped; go on with: altprop train --resume {path}") from None


def _recipe(options: dict[str, Any], settings: dict[str, Any], config: Path | None) -> SearchRecipe:
    options = dict(options)
    if "rule" in options:
        options["search"] = options.pop("rule")
    strange = next((key for key in options if key not in SearchRecipe.model_fields), None)
    if strange is not None:
        option = f"--{strange.replace('_', '-')}"
        raise RunError(f"{option} came for search '{options.get('search')}': it is for rules; leave it out")
    own = {key: value for key, value in settings.items() if not key.startswith(TASK)}
    asked = {key.removeprefix(TASK): value for key, value in settings.items() if key.startswith(TASK)}
    given = {**options, **({"arguments": own} if own else {}), **({"task_arguments": asked} if asked else {})}
    return make_search_recipe(**given) if config is None else read_search_recipe(config, **given)


def _line(row: dict[str, Any], generations: int) -> str:
    """A row of metrics as a line: generation 3 of 100, best 3.9, median 2.5, species 12."""
    said = [f"generation {row['generation']} of {generations}", f"best {significant(row['best'])}"]
    said += [f"median {significant(row['fitness']['median'])}"] if "median" in row["fitness"] else []
    said += [f"species {row['watch']['species']:g}"] if "species" in row["watch"] else []
    said += [f"test accuracy {100 * row['test_accuracy']:.1f} %"] if "test_accuracy" in row else []
    return ", ".join(said + [f"{row['failed']} failed"] * bool(row["failed"]))


def evaluate(run: Path, data: str | None, device: str) -> dict[str, Any]:
    """The champion of a run asked anew; raises ``RunError`` for what it cannot be asked by."""
    idle = "--data" if data is not None else "--device" if device != "cpu" else None
    if idle is not None:
        raise RunError(f"{idle} came for the run of a search, which is asked by its own task: leave it out")
    return evaluate_search(run)


def predict(run: Path, file: Path, encoding: str | None) -> tuple[Tensor, list[str]]:
    """(what the champion says of the samples in a file, the names of the classes)."""
    loaded, description = load_search(run), SearchDirectory.open(run).data() or {}
    model, label = loaded.model, loaded.recipe.label
    x = read_features(file, model.raw.shape, label=label, table=model.table, encoding=encoding, fallback=None)
    return (model.predict_proba(x) if model.has_labels else model.outputs(x)), list(description.get("classes") or ())
