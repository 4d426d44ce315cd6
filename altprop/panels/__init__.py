"""What is looked at once, when a run has ended, one file a picture: measured, drawn and put into words.

What ``look`` measures is written as measures.json into the run directory, and the report draws it from there."""

from __future__ import annotations

import logging
from typing import Any

from altprop.core import Refused, Rule
from altprop.data import Dataset
from altprop.measure.missing import reason, tell
from altprop.panels import (
    activity,
    confusion,
    deep_fields,
    depth,
    examples,
    fields,
    in_time,
    plateau,
    regression,
    robustness,
    units,
    weights,
    winners,
)
from altprop.panels.panel import Ended, Panel

LOG = logging.getLogger(__name__)
PANELS: dict[str, Panel] = {  # by their key in measures.json, in the order of the page
    "confusion": confusion.PANEL,
    "regression": regression.PANEL,
    "examples": examples.PANEL,
    "curve": plateau.PANEL,
    "activity": activity.PANEL,
    "receptive_fields": fields.PANEL,
    "units": units.PANEL,
    "deep_fields": deep_fields.PANEL,
    "depth": depth.PANEL,
    "winners": winners.PANEL,
    "robustness": robustness.PANEL,
    "in_time": in_time.PANEL,
    "weights": weights.PANEL,
}


def look(rule: Rule, data: Dataset, metrics: list[dict[str, Any]], everything: bool = True) -> dict[str, Any]:
    """What the panels measure of this run, by their keys: of all of them, or of those that cost little.

    What cannot be measured stands there with the reason, and is told where the fault is not in what was asked."""
    ended, measures = Ended(rule, data, metrics), {}
    for name, panel in PANELS.items():
        if not panel.fits(ended) or not (panel.cheap or everything):
            continue
        if not panel.cheap:
            LOG.info("measuring %s", name.replace("_", " "))  # which may take minutes
        try:
            measures[name] = panel.measure(ended)
        except Exception as error:  # whatever is wrong with a measure, the run that it looks at is sound
            measures[name] = {"refused": reason(error)}
            if not isinstance(error, Refused):
                tell(name, reason(error))
    return measures
