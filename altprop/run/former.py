"""Recipes of former versions, and other spellings, as the recipe of today: the one place where old keys are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altprop.run.readout import READOUT

OLD = ("rates", "layerwise")


def modern(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's keys, checked later: ``layerwise`` and ``rates`` as tables of phases, and the table of the phase
    "readout" under the key that it has of its own.

        layerwise = true        [[phase]] name = "layer *", beside = false
        rates = [a, b]          [[phase]] name = "layer 1", lr = a   [[phase]] name = "layer 2", lr = b"""
    new = {key: value for key, value in values.items() if key not in OLD}
    rates, layerwise, tables = values.get("rates") or [], values.get("layerwise"), new.get("phase") or []
    rates = rates if isinstance(rates, list) else [rates]
    old = [{"name": "layer *", "beside": False}] if layerwise else []
    old += [{"name": f"layer {number}", "lr": rate} for number, rate in enumerate(rates, 1)]
    if not isinstance(tables, list):
        return new
    readouts = [table for table in tables if isinstance(table, Mapping) and table.get("name") == READOUT]
    for table in readouts:
        new[READOUT] = {**new.get(READOUT, {}), **{key: value for key, value in table.items() if key != "name"}}
    tables = [*old, *(table for table in tables if table not in readouts)]
    return {**new, "phase": tables} if tables or "phase" in new else new
