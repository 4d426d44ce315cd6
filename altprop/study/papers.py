"""The papers' tables: a TOML file a table, below ``recipes/<paper>/``, and what of them has been measured.

title = "..."               what the table shows, and where it stands in the paper
published_runs = 10         how many runs a published mean stands for, if the paper says so

[base.fc-mnist]             settings that several rows share; a base may name another as its own
data = "mnist"

[row.fc-mnist-pepita]       the id of this row is <paper>/<table>/fc-mnist-pepita
base = "fc-mnist"
rule = "pepita"             every key of a recipe, and beside them those of ``ROW``
published = 98.01
published_std = 0.09
minutes = 5                 of one core for a seed, until a run has been timed
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from altprop.evolution.recipe import SearchRecipe, make_search_recipe
from altprop.limits import nearest
from altprop.run.directory.files import read_json, read_toml, unreadable
from altprop.run.directory.schemas import Finite, Loose, Number, Whole
from altprop.run.former import OLD
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import make_recipe
from altprop.statistics import half_width, mean_and_std
from altprop.study.quantities import QUANTITIES, TOLERANCES

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = (PACKAGE / "recipes").is_dir()  # a wheel carries them; a checkout has them beside the package
RECIPES = (PACKAGE if INSTALLED else PACKAGE.parent) / "recipes"
CARRIED = (PACKAGE if INSTALLED else PACKAGE.parent) / "results"
RESULTS = Path("results") if INSTALLED else PACKAGE.parent / "results"  # never into an installed package
# Of a row beside its recipe's keys: the published mean and deviation in the quantity's unit; the row whose runs it
# reads, if not its own; the minutes that a seed takes; the device it needs; what there is to say; and instead of a
# recipe what the paper calls a method that has none here.
ROW = ("base", "published", "published_std", "quantity", "runs_of", "minutes", "needs", "note", "method")

Curve = list[float | None]


class Finished(Loose):
    """What of a result file is read, whatever else stands in it."""

    recipe_hash: str
    recipe: dict[str, Any] = Field(default_factory=dict)  # as it was spelled then
    seed: Whole
    seconds: Finite = Field(ge=0)
    classes: int = Field(1, ge=1)
    test_accuracy: list[Number] = Field(default_factory=list)  # fractions, one an epoch
    test_loss: list[Number] = Field(default_factory=list)
    feedback_angle: dict[str, Annotated[list[Number], Field(min_length=1)]] = Field(default_factory=dict)
    evaluations: Whole = 0  # these are of searches
    solved: bool = False
    fitness: Number = None


@dataclass(frozen=True)
class Row:
    """One number of a paper, and the recipe that should give it."""

    id: str  # paper/table/row
    recipe: Recipe | SearchRecipe | None  # None where only the published number stands here yet
    published: float | None
    published_std: float | None
    published_runs: int | None
    quantity: str  # of ``QUANTITIES``: accuracy (percent), slowness (epochs), evaluations until a task is solved, ...
    runs_of: str  # the id of the row whose runs it reads
    minutes: float
    needs: str  # the device without which it would take too long, or "recipe"
    note: str
    method: str = ""  # what the paper calls it, where there is no recipe

    @property
    def paper(self) -> str:
        return self.id.split("/")[0]

    @property
    def table(self) -> str:
        return self.id.split("/")[1]

    @cached_property
    def hash(self) -> str:
        """Of what decides the numbers; a result of another hash is not this row's."""
        return _digest(self.recipe.experiment() if self.recipe else {"method": self.method})

    def result_path(self, seed: int, results: Path) -> Path:
        return results / self.runs_of / f"seed{seed}.json"

    def results(self, folder: Path) -> dict[int, dict[str, Any]]:
        """The finished runs of this recipe, by seed, those that an installed package carries among them; raises
        ``RunError`` for a file that is damaged."""
        runs = {}
        folders = dict.fromkeys((CARRIED, folder) if folder == RESULTS else (folder,))
        for path in (path for each in folders for path in sorted((each / self.runs_of).glob("seed*.json"))):
            run = read_json(path, Finished, "remove it, and the run is made anew")
            self._check(run, path)
            if self.hash in (run["recipe_hash"], _as_of_today(run.get("recipe", {}))):
                runs[run["seed"]] = run
        return runs

    def _check(self, run: dict[str, Any], path: Path) -> None:
        """Raises ``RunError`` where what the row tells cannot be told of that run."""
        try:
            told = QUANTITIES[self.quantity](run)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            told = math.nan
        if not math.isfinite(told):
            what = f"its curves give no {self.quantity}"
            raise unreadable(path, what, "numbers", "remove it, and the run is made anew")


def _digest(experiment: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(experiment, sort_keys=True).encode()).hexdigest()[:12]


def _as_of_today(recipe: dict[str, Any]) -> str | None:
    """The hash of a finished run's recipe where it has keys of former versions, which are spelled otherwise now."""
    return _digest(make_recipe(**recipe).experiment()) if "rule" in recipe and recipe.keys() & set(OLD) else None


def tables(recipes: Path = RECIPES) -> dict[str, str]:
    """The title of every table, by paper/table."""
    return {_name(path): str(read_toml(path).get("title", "")) for path in _files(recipes)}


def rows(targets: Iterable[str] = (), recipes: Path = RECIPES) -> list[Row]:
    """The rows under each PAPER, PAPER/TABLE or PAPER/TABLE/ROW, or all; raises ``RunError`` for an unknown one."""
    by_id = {row.id: row for path in _files(recipes) for row in _read_table(path)}
    for row in by_id.values():
        if row.runs_of not in by_id:
            raise RunError(f"{row.id} reads the runs of '{row.runs_of}'{nearest(row.runs_of, by_id)}")
        if by_id[row.runs_of].runs_of != row.runs_of:
            raise RunError(
                f"{row.id} reads the runs of {row.runs_of}, which has none of its own: name the row that has"
            )
    sources = [(row, by_id[row.runs_of]) for row in by_id.values()]
    everything = [replace(row, recipe=source.recipe, needs=source.needs) for row, source in sources]
    wanted = [target.strip("/") for target in targets]
    for target in wanted:
        if not any(_under(row.id, target) for row in everything):
            depth, above = target.count("/") + 1, target.rpartition("/")[0]
            near = [row for row in everything if not above or _under(row.id, above)] or everything
            known = {"/".join(row.id.split("/")[:depth]) for row in near}
            raise RunError(f"no recipe for '{target}'{nearest(target, sorted(known))}")
    return [row for row in everything if not wanted or any(_under(row.id, target) for target in wanted)]


def status(row: Row, results: Path = RESULTS) -> dict[str, Any]:
    """Published value, ours and the verdict; in percent for accuracies."""
    runs = row.results(results)
    values = [QUANTITIES[row.quantity](run) for run in runs.values()]
    known = values and row.published is not None
    centre, deviation = mean_and_std(values)
    difference = centre - row.published if known else None  # type: ignore[operator]
    half = _half_width(values, row) if known else None
    return {
        "id": row.id, "paper": row.paper, "table": row.table,
        "rule": row.recipe.rule if row.recipe else row.method,
        "data": row.recipe and (row.recipe.data or row.recipe.task), "net": row.recipe and row.recipe.net,
        "quantity": row.quantity, "published": row.published,
        "published_std": row.published_std, "mean": centre,
        "std": deviation, "n": len(values), "seeds": sorted(runs),
        "difference": difference, "difference_low": None if half is None else difference - half,  # type: ignore[operator]
        "difference_high": None if half is None else difference + half,  # type: ignore[operator]
        "verdict": verdict(row, difference, half) if values else "not run", "needs": row.needs, "note": row.note,
    }  # fmt: skip


def verdict(row: Row, difference: float | None, half: float | None) -> str:
    """Of equivalence, within two published deviations or ``TOLERANCES``.  Reproduced: the whole 95 % interval of the
    difference lies within; consistent: a part of it does, or a single seed, which has none; else above or below.

    That an interval reaches the tolerance shows little by itself: the fewer the seeds, the further it reaches."""
    if difference is None or row.published is None:
        return "run"  # there is no published number to hold it against
    tolerance = max(2 * (row.published_std or 0.0), TOLERANCES[row.quantity](row.published))
    low, high = difference - (half or 0.0), difference + (half or 0.0)
    if half is not None and -tolerance <= low and high <= tolerance:
        return "reproduced"
    if low <= tolerance and high >= -tolerance:
        return "consistent"
    return "above" if difference > 0 else "below"


def _half_width(values: list[float], row: Row) -> float | None:
    """Half the 95 % interval of ours - published: Student's t over our seeds, and the published mean's own error.

    None for a single run, whose scatter is not known."""
    own = half_width(values)
    if own is None:
        return None
    theirs = 1.96 * (row.published_std or 0.0) / (row.published_runs or 1) ** 0.5
    return float((own**2 + theirs**2) ** 0.5)


def _under(id: str, target: str) -> bool:
    return id == target or id.startswith(target + "/")


def _files(recipes: Path) -> list[Path]:
    files = sorted(recipes.glob("*/*.toml"))
    if not files:
        raise RunError(f"no recipes below {recipes}: install altprop whole, or work in its checkout")
    return files


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _read_table(path: Path) -> list[Row]:
    table = read_toml(path)
    bases = table.get("base", {})
    try:
        return [_row(f"{_name(path)}/{name}", _merged(row, bases), table) for name, row in table["row"].items()]
    except (KeyError, TypeError, AttributeError, RunError) as error:
        raise RunError(f"{path}: {error}") from error


def _merged(row: dict[str, Any], bases: dict[str, Any]) -> dict[str, Any]:
    if "base" not in row:
        return row
    base = _merged(bases[row["base"]], bases)
    arguments = {**base.get("arguments", {}), **row.get("arguments", {})}
    return {**base, **row, **({"arguments": arguments} if arguments else {})}


def _row(id: str, values: dict[str, Any], table: dict[str, Any]) -> Row:
    own = {key: values.get(key) for key in ROW}
    given = {key: value for key, value in values.items() if key not in ROW}
    make = make_search_recipe if "search" in given else make_recipe
    recipe = None if own["method"] else make(**given)
    if own["method"] and given:
        raise RunError(f"{id}: method names what has no recipe, but {', '.join(given)} came: give a rule instead")
    quantity = own["quantity"] or "accuracy"
    if quantity not in QUANTITIES:
        raise RunError(f"{id}: unknown quantity '{quantity}'{nearest(quantity, QUANTITIES)}")
    return Row(
        id, recipe, own["published"], own["published_std"], table.get("published_runs"), quantity,
        own["runs_of"] or id, own["minutes"] or 0.0, own["needs"] or ("recipe" if own["method"] else "cpu"),
        own["note"] or "", own["method"] or "",
    )  # fmt: skip
