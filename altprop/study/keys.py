"""The keys of a recipe that a search may move, those of its tables among them: ``arguments.NAME`` of the rule,
``readout.KEY`` and ``phase.NAME.KEY``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from altprop.limits import nearest, shorten
from altprop.run.readout import PhaseTable, Readout
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import rule_arguments

# What decides on which samples, where and by what a trial is judged, so that trials could no longer be compared.
HELD = {
    "rule", "arguments", "data", "data_dir", "label", "task", "encoding", "categories", "missing", "target_scale",
    "class_weight", "val", "loss", "seed", "device", "threads", "measure", "probe", "phase", "readout",
}  # fmt: skip
FREE = [key for key in Recipe.model_fields if key not in HELD]
HEADS = ("arguments.", "readout.", "phase.")


def check_key(key: str) -> None:
    """Raises ``RunError`` for a key that no recipe has, and for one that decides how trials are judged."""
    if key in HELD:
        raise RunError(
            f"--space {key}=... came, but {key} decides how or on what trials are judged: give it by itself, as --{key}"
        )
    head = next((head for head in HEADS if key.startswith(head) and len(key) > len(head)), None)
    if head is None and key not in FREE:
        known = [*FREE, "arguments.NAME", "readout.KEY", "phase.NAME.KEY"]
        raise RunError(f"--space has no key '{shorten(key, 60)}'{nearest(key, known)}")
    last = key.rpartition(".")[2]
    if head in TABLES and (last not in TABLES[head] or (head == "phase." and key.count(".") < 2)):
        raise RunError(f"--space {shorten(key, 60)}=... came{nearest(last, TABLES[head])}; write phase.NAME.KEY")


TABLES = {
    "readout.": [key for key in Readout.model_fields if key != "memory"],
    "phase.": [key for key in PhaseTable.model_fields if key != "name"],
}


def _in_phase(given: dict[str, Any], name: str, value: Any) -> None:
    phase, _, key = name.rpartition(".")
    kept = [table for table in given["phase"] if table["name"] != phase]
    own = next((table for table in given["phase"] if table["name"] == phase), {"name": phase})
    given["phase"] = [*kept, {**own, key: value}]


def _in_table(head: str) -> Callable[[dict[str, Any], str, Any], None]:
    return lambda given, name, value: given.update({head: {**given[head], name: value}})


PARTS: dict[str, Callable[[dict[str, Any], str, Any], None]] = {
    "arguments": _in_table("arguments"), "readout": _in_table("readout"), "phase": _in_phase,
}  # fmt: skip


def changes(recipe: Recipe, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a recipe the keys that these values change, whole tables of arguments, readout and phases among them."""
    given = recipe.model_dump(include=set(PARTS))
    before = dict(given)
    for key, value in values.items():
        head, dot, name = key.partition(".")
        if dot:
            PARTS[head](given, name, value)
        else:
            given[key] = value
    return {key: value for key, value in given.items() if key not in before or value != before[key]}


def value_in(recipe: Recipe, key: str) -> Any:
    """What a recipe says of a key; None where it says nothing."""
    head, dot, name = key.partition(".")
    if not dot:
        return getattr(recipe, key)
    if head == "phase":
        phase, _, key = name.rpartition(".")
        return next((getattr(table, key) for table in recipe.phase if table.name == phase), None)
    table = getattr(recipe, head)
    return table.get(name) if isinstance(table, dict) else getattr(table, name)


def started(recipe: Recipe, key: str) -> Any:
    """What a resolved recipe says of a key, and of an argument that it does not give what the rule takes by itself."""
    value, name = value_in(recipe, key), key.removeprefix("arguments.")
    return rule_arguments(recipe.rule).get(name) if value is None and name != key else value
