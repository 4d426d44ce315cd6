"""Every rule under one protocol: one net, data, epochs and seeds, the same initial weights and order of samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altprop.core import Refused
from altprop.data import Dataset
from altprop.limits import nearest, shorten
from altprop.measure.missing import reason
from altprop.reports.tables import FORMATS
from altprop.run.build import prepare
from altprop.run.directory.files import failed_write, sweep, write_atomically
from altprop.run.directory.folder import check_free
from altprop.run.directory.store import RunDirectory
from altprop.run.isolated import isolated
from altprop.run.learner import Learner
from altprop.run.machine import within_memory
from altprop.run.metrics import majority
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe
from altprop.study.cost import MEASURES, costs, step_ratios
from altprop.study.frozen import with_controls
from altprop.study.outcomes import Failed, Outcome, Progress, Sets, folder, train_all
from altprop.study.plan import Plan, make_plan, of_role
from altprop.study.rows import baseline_row, by_score, rule_row
from altprop.study.together import check_together, train_together


@dataclass(frozen=True, repr=False)
class Comparison:
    """A finished comparison; printed it is its table.  ``comparison["drtp"]`` is the row of one rule."""

    content: dict[str, Any]  # what ``altprop compare --json`` prints
    path: Path | None  # where the runs lie

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.content["rows"]

    def __getitem__(self, rule: str) -> dict[str, Any]:
        return {row["rule"]: row for row in self.rows}[rule]

    def table(self, format: str = "table") -> str:
        """As ``table`` (of a terminal), ``csv`` (every number in full), ``latex`` or ``markdown``."""
        if format != "table" and format not in FORMATS:
            raise RunError(f"format '{shorten(format, 40)}' came{nearest(format, ['table', *FORMATS])}")
        if format in FORMATS:
            return FORMATS[format](self.content)
        from altprop.reports.terminal import comparison_text  # with rich, which only a table needs

        return comparison_text(self.content)

    def __repr__(self) -> str:
        return self.table()


def compare(
    rules: Sequence[str] | None = None,
    net: str | None = None,
    data: Any = "digits",
    *,
    seeds: int | Sequence[int] = 3,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    jobs: int | None = None,
    together: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **recipe: Any,
) -> Comparison:
    """Train several rules under one protocol, as ``altprop compare`` does.

    rules: names, or None for all that need no extra of the package; the control stands beside them always.
    net: a spec string.  data: as ``fit`` takes them.  seeds: how many, or which.  settings: of single rules, such as
    {"dfa": {"lr": 0.02, "scale": 0.5}}.  jobs: processes of one thread each, in a script below
    ``if __name__ == "__main__":``.  together: all seeds of a rule side by side in this process, by batched products, to
    the same numbers but for rounding.  out: the directory of the runs, if they are wanted; those in it are gone on
    with.  progress: hears (what, how many runs are done, of how many).  recipe: the other keys of ``Recipe``.
    Raises one-line errors as ``fit`` does, and ``Interrupted``."""
    if net is not None and not isinstance(net, str):
        raise RunError(
            f"net of type {type(net).__name__} came: give a spec such as '784-256-10', each run builds its own"
        )
    if isinstance(rules, str):
        raise RunError(f"rules '{rules}' came as a text: give a list, such as ['{rules.partition(',')[0]}']")
    named = isinstance(data, str | Path)
    base = make_recipe(net=net, data=str(data) if named else "custom", **recipe)
    plan = make_plan(rules, seeds, base, settings or {})
    return run_plan(plan, None if out is None else Path(out), None if named else data, jobs, progress, together)


@within_memory()
@isolated()
def run_plan(
    plan: Plan, out: Path | None, given: Any = None, jobs: int | None = None, progress: Progress | None = None,
    together: bool = False,
) -> Comparison:  # fmt: skip
    """Train every rule with every seed, and write runs, comparison.json and report.html below ``out``.

    Runs of a comparison that was stopped, in ``out`` already, are gone on with.  A run that fails does not end the
    others: the row of its rule says where and why; raises the first error where no run of those that were named ends.
    What a named rule refuses is told before anything is trained."""
    plan = _threaded(plan, jobs)
    if together:
        check_together(plan, jobs)
    sets = Sets(plan, given, _table(plan, out))
    data = sets.of(plan.seeds[0])
    learners, runs = _prepared(plan, data)
    plan, controls = with_controls(plan, learners)
    for rules in (plan.named, [*([plan.control] if plan.control else []), *plan.frozen]):
        ready = [rule for rule in rules if rule not in runs]
        if together:
            runs |= train_together(plan, ready, sets, out, progress)
        else:
            runs |= train_all(plan, ready, sets, out, jobs or 1, progress)
        _check_any(runs)
    frozen = {rule: runs[control] for rule, control in controls.items()}
    runs = {rule: runs[rule] for rule in plan.rules}
    content = _content(plan, runs, frozen, learners, data)
    if out is not None:
        _write(out, content)
    return Comparison(content, out)


def _threaded(plan: Plan, jobs: int | None) -> Plan:
    """With one thread each, where processes share the cores, so that the numbers do not depend on how many."""
    if jobs is None:
        return plan
    if jobs < 1 or plan.base.threads not in (None, 1):
        what = f"jobs = {jobs} came" + (f" beside threads = {plan.base.threads}" if plan.base.threads else "")
        raise RunError(f"{what}: give 1 or more, and each has one thread, so leave --threads out")
    return Plan(plan.base.with_(threads=1), plan.named, plan.seeds, plan.own, plan.lenient)


def _table(plan: Plan, out: Path | None) -> Any:
    """The columns of the runs that are there already; raises ``RunError`` where something else stands at ``out``."""
    children = [folder(out, rule, seed) for seed in plan.seeds for rule in plan.rules]
    begun = [child for child in children if child is not None and (child / "recipe.toml").exists()]
    if out is not None:
        if not begun:
            check_free(out)
        sweep(out)
    return RunDirectory.open(begun[0]).table() if begun else None


def _prepared(plan: Plan, data: Dataset) -> tuple[dict[str, Learner], dict[str, list[Outcome]]]:
    """What can be built, the reference with it in any case, and what refuses."""
    learners: dict[str, Learner] = {}
    refused: dict[str, list[Outcome]] = {}
    for rule in dict.fromkeys([*plan.rules, of_role("reference")]):
        try:
            learners[rule] = prepare(plan.recipe(rule, plan.seeds[0]), data)
        except (Refused, RunError) as error:
            if rule in plan.rules and not plan.forgives(rule):
                raise
            refused[rule] = [Failed(None, f"refused: {reason(error)}", str(error))]
    return learners, refused


def _check_any(runs: Mapping[str, Sequence[Outcome]]) -> None:
    every = [run for each in runs.values() for run in each]
    failed = [run for run in every if isinstance(run, Failed)]
    if every and len(failed) == len(every):
        raise RunError(failed[0].message)


def _content(
    plan: Plan,
    runs: Mapping[str, Sequence[Outcome]],
    frozen: Mapping[str, Sequence[Outcome]],
    learners: Mapping[str, Learner],
    data: Dataset,
) -> dict[str, Any]:
    reference = of_role("reference")
    yardstick = runs.get(reference, [])
    ratios = step_ratios(learners, data, reference)
    rows = []
    for rule in plan.rules:
        learner = learners.get(rule)
        row = rule_row(rule, runs[rule], None if rule == reference else yardstick, frozen.get(rule), learner)
        cost = costs(rule, learner) if learner else dict.fromkeys(MEASURES)
        rows.append({**row, "step_ratio_to_bp": ratios.get(rule), **cost})
    if not (data.classes or data.multihot):
        rows.sort(key=by_score)
    recipe = next(learners[rule].recipe for rule in plan.rules if rule in learners)
    return {
        "data": plan.base.data, "net": recipe.net, "epochs": recipe.epochs, "seeds": list(plan.seeds),
        "scale": recipe.scale, "reference": reference, "control": of_role("control"),
        "majority": majority(data.y_test), "rows": [*rows, baseline_row(runs, yardstick, plan)],
    }  # fmt: skip


def _write(out: Path, content: dict[str, Any]) -> None:
    from altprop.reports.page import write_report  # with matplotlib, which only a page needs

    content["report"] = str(out / "report.html")
    write_atomically(out / "comparison.json", json.dumps(content, indent=1))
    try:
        write_report(out)
    except OSError as error:
        raise failed_write(out / "report.html", error) from error
