"""Every rule under one protocol: one net, data, epochs and seeds, the same initial weights and order of samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from altprop.core import Refused
from altprop.data import Dataset
from altprop.limits import nearest, shorten
from altprop.measure.missing import reason
from altprop.pool.workers import ALONE, Workers, open_pool
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
from altprop.study.outcomes import Failed, Outcome, Progress, Sets, begun, folder, silence, train_all
from altprop.study.plan import Plan, make_plan, of_role
from altprop.study.rows import baseline_row, by_score, rule_row
from altprop.study.together import check_together, train_together
from altprop.study.trials import share
from altprop.study.tuned import beside, tuned, untuned
from altprop.study.tuning import Tuning, make_tuning


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
    tune: int | None = None,
    space: str | Mapping[str, Any] | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    together: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **recipe: Any,
) -> Comparison:
    """Train several rules under one protocol, as ``altprop compare`` does.

    rules: names, or None for all that need no extra of the package; the control stands beside them always.
    net: a spec string.  data: as ``fit`` takes them.  seeds: how many, or which.  settings: of single rules, such as
    {"dfa": {"lr": 0.02, "scale": 0.5}}.  tune: so many trials for every rule before, judged by a validation part, of
    its learning rate and of what ``space`` adds, such as {"arguments.scale": "log:.01:10"}; the runs that follow have
    the best values and the whole training part.  jobs: processes of one thread each, in a script below
    ``if __name__ == "__main__":``.  ray: the address of a Ray cluster in their place, or "local" for a new one of
    them.  together: all seeds of a rule side by side in this process, by batched products, to the same numbers but for
    rounding.  out: the directory of the runs, if they are wanted; those in it are gone on with.
    progress: hears (what, how many runs are done, of how many).  recipe: the other keys of ``Recipe``.
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
    tuning, path = wanted_tuning(tune, space, plan), None if out is None else Path(out)
    return run_plan(plan, path, None if named else data, Workers(jobs, ray), progress, tuning, together)


def wanted_tuning(tune: int | None, space: str | Mapping[str, Any] | None, plan: Plan) -> Tuning | None:
    """The tuning of a plan, or None; raises ``RunError`` for a space that nothing is tuned over."""
    if tune is None and space is not None:
        raise RunError("space came without tune, how many trials every rule gets: give it, such as --tune 10")
    return None if tune is None else make_tuning(tune, space, plan.rules)


@within_memory()
@isolated()
def run_plan(
    plan: Plan, out: Path | None, given: Any = None, workers: Workers = ALONE, progress: Progress | None = None,
    tuning: Tuning | None = None, together: bool = False,
) -> Comparison:  # fmt: skip
    """Train every rule with every seed, and write runs, comparison.json and report.html below ``out``; where it is
    tuned, with what its trials on the validation part have found best.

    Runs of a comparison that was stopped, in ``out`` already, are gone on with.  A run that fails does not end the
    others: the row of its rule says where and why; raises the first error where no run of those that were named ends.
    What a named rule refuses is told before anything is trained."""
    val, base = share(plan.base, given), plan.base
    plan = replace(plan, base=base.with_(threads=workers.threads(base.threads, base.device)))
    plan = plan if tuning is None else untuned(plan)
    if together:
        check_together(plan, workers)
    sets = Sets(plan, given, _table(plan, out))
    data = sets.of(plan.seeds[0])
    learners, runs = _prepared(plan, data)
    found = None
    if tuning is not None:
        plan, found = tuned(plan, tuning, learners, sets, val, out, workers, progress or silence)
        learners, runs = _prepared(plan, data)
    plan, controls = with_controls(plan, learners)
    alone = together or workers.follow
    with open_pool(ALONE if alone else workers, sets if alone else sets.sent()) as pool:
        for rules in (plan.named, [*([plan.control] if plan.control else []), *plan.frozen]):
            ready = [rule for rule in rules if rule not in runs]
            if together:
                runs |= train_together(plan, ready, sets, out, progress)
            else:
                runs |= train_all(plan, ready, pool, out, progress)
            _check_any(runs)
    frozen = {rule: runs[control] for rule, control in controls.items()}
    runs = {rule: runs[rule] for rule in plan.rules}
    content = _content(plan, runs, frozen, learners, data, found)
    if out is not None:
        _write(out, content)
    return Comparison(content, out)


def _table(plan: Plan, out: Path | None) -> Any:
    """The columns of the runs that are there already; raises ``RunError`` where something else stands at ``out``."""
    children = [folder(out, rule, seed) for seed in plan.seeds for rule in plan.rules]
    made = [child for child in children if child is not None and (child / "recipe.toml").exists()]
    if out is not None:
        if not made and not (out / "tuning").is_dir():
            check_free(out)
        sweep(out)
    known = next(filter(begun, made), None)
    return None if known is None else RunDirectory.open(known).table()


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
    tuning: Mapping[str, Any] | None,
) -> dict[str, Any]:
    reference = of_role("reference")
    yardstick = runs.get(reference, [])
    ratios = step_ratios(learners, data, reference)
    rows = []
    for rule in plan.rules:
        learner = learners.get(rule)
        row = rule_row(rule, runs[rule], None if rule == reference else yardstick, frozen.get(rule), learner)
        cost = costs(rule, learner) if learner else dict.fromkeys(MEASURES)
        rows.append({**beside(row, tuning), "step_ratio_to_bp": ratios.get(rule), **cost})
    if not (data.classes or data.multihot):
        rows.sort(key=by_score)
    recipe = next(learners[rule].recipe for rule in plan.rules if rule in learners)
    return {
        "data": plan.base.data, "net": recipe.net, "epochs": recipe.epochs, "seeds": list(plan.seeds),
        "scale": recipe.scale, "reference": reference, "control": of_role("control"),
        "majority": majority(data.y_test), **({"tuning": tuning} if tuning else {}),
        "rows": [*rows, baseline_row(runs, yardstick, plan)],
    }  # fmt: skip


def _write(out: Path, content: dict[str, Any]) -> None:
    from altprop.reports.page import write_report  # with matplotlib, which only a page needs

    content["report"] = str(out / "report.html")
    write_atomically(out / "comparison.json", json.dumps(content, indent=1))
    try:
        write_report(out)
    except OSError as error:
        raise failed_write(out / "report.html", error) from error
