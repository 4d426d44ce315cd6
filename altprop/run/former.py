"""Recipes of former versions, and other spellings, as the recipe of today: the one place where old keys are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altprop.limits import shown
from altprop.run.directory.files import RunError
from altprop.run.readout import READOUT

OLD = ("rates", "layerwise")


def modern(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's keys, checked later: ``layerwise`` and ``rates`` as tables of phases, and the table of the phase
    "readout" under the key that it has of its own.

        layerwise = true        [[phase]] name = "layer *", beside = false
        rates = [a, b]          [[phase]] name = "layer 1", lr = a   [[phase]] name = "layer 2", lr = b"""
    new = {key: value for key, value in values.items() if key not in OLD}
    rates, layerwise, tables = values.get("rates", []), values.get("layerwise", False), new.get("phase", [])
    if not isinstance(layerwise, bool):
        raise RunError(f"layerwise = {shown(layerwise)} came: it should be true or false")
    old: list[Any] = [{"name": "layer *", "beside": False}] if layerwise else []
    each = rates if isinstance(rates, list) else [rates]
    old += [{"name": f"layer {number}", "lr": rate} for number, rate in enumerate(each, 1)]
    if not isinstance(tables, list):
        return new
    head, readouts = new.get(READOUT, {}), [table for table in tables if _names_readout(table)]
    if readouts and isinstance(head, Mapping):
        own = [(key, value) for table in readouts for key, value in table.items() if key != "name"]
        new[READOUT] = {**head, **dict(own)}
    tables = [*old, *(table for table in tables if not _names_readout(table))]
    return {**new, "phase": tables} if tables or "phase" in new else new


def _names_readout(table: Any) -> bool:
    return isinstance(table, Mapping) and isinstance(table.get("name"), str) and table["name"] == READOUT
