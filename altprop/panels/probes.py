"""What is looked at once, when a run has ended: its curve, weights, first layer, hidden layers and robustness.

``train --measure`` writes it as measures.json into the run directory, and the report draws it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from altprop.core import Refused, Rule
from altprop.core.layer import is_linear
from altprop.data import Dataset, as_input
from altprop.measure import (
    ATTACKS,
    accuracy_under,
    by_depth,
    has_pictures,
    plateau,
    receptive_fields,
    shares,
    tsne,
    unit_kinds,
    weight_distribution,
    winners,
)
from altprop.measure.missing import reason, tell

SAMPLES = 256  # of the test part, for robustness
SHOWN = 500  # of the test part, in the map of hidden activity and in the competition of units
TAUGHT, ASKED = 2000, 1000  # of the training and the test part at most, for readouts
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.2)  # of an attack, in units of the inputs
FIELDS, DEEP = 25, 5  # units of the first and of each deeper hidden layer that are shown
LOG = logging.getLogger(__name__)
UNITS = 128  # of the first layer at most whose kind is told


def probe(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that can be measured of this run, by name; what cannot stands there with the reason, and is told where
    the fault is not in what was asked."""
    measures: dict[str, Any] = {}
    for name, look in PROBES.items():
        LOG.info("measuring %s", name.replace("_", " "))  # which may take minutes
        try:
            measures[name] = look(rule, data, metrics)
        except Exception as error:  # whatever is wrong with a measure, the run that it looks at is sound
            measures[name] = {"refused": reason(error)}
            if not isinstance(error, Refused):
                tell(name, reason(error))
    return measures


def _curve(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies = [row["test_accuracy"] for row in metrics if row["test_accuracy"] is not None]
    if not data.classes:
        raise Refused("a regression has no accuracy whose plateau could be fitted")
    fit = plateau(accuracies, chance=1 / data.outputs)
    return {"maximum": fit.maximum, "slowness": fit.slowness}


def _weights(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    layers = {}
    for layer in rule.layers:
        weight = getattr(layer.synapse, "weight", None)
        if isinstance(weight, Tensor):
            layers[layer.name] = _plain(weight_distribution(weight.detach().cpu())._asdict())
    return layers


def _fields(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    first = _pictures(rule, data, FIELDS)
    return {"shape": list(first.shape), "values": _rounded(first)}


def _deep_fields(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    if len(data.shape) < 2:
        raise Refused("the inputs are no images, so that what a unit responds to has no picture")
    deeper = [layer for layer in rule.layers[1:-1] if is_linear(layer.synapse)]
    if not deeper:
        raise Refused("no Linear or convolution stands between the first layer and the last, so none is deep")
    x, _ = _part(rule, data, SHOWN)
    radius = float(x.flatten(1).norm(dim=1).median())  # that of the inputs it has learned from
    fields = {}
    for layer in deeper:
        climbed = receptive_fields(rule, layer.name, DEEP, radius=radius)
        fields[layer.name] = {"shape": [len(climbed), *data.shape], "values": _rounded(climbed)}
    return fields


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.flatten().tolist()]


def _units(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    first = rule.layers[0]
    if not has_pictures(first, rule.shapes[0].a):
        raise Refused(f"{first} has no weights that are pictures: kinds are told of a Linear or a convolution")
    kinds = unit_kinds(_pictures(rule, data, UNITS))
    return {"units": len(kinds), "shares": _plain(shares(kinds))}


def _depth(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    if not data.classes:
        raise Refused("a regression has no classes that could be read out of a layer")
    train, test = (
        (as_input(x[rows], rule.like.dtype), y[rows])
        for x, y, count in ((data.x_train, data.y_train, TAUGHT), (data.x_test, data.y_test, ASKED))
        for rows in [_spaced(len(x), count)]
    )
    return _plain(by_depth(rule, train, test))


def _winners(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    x, _ = _part(rule, data, SHOWN)
    return {
        name: {
            "share": [round(share, 7) for share in layer.share.tolist()],
            "entropy": round(layer.entropy, 5),
            "dead": layer.dead,
        }
        for name, layer in winners(rule, x).items()
    }


def _activity(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    if not data.classes:
        raise Refused("a regression has no classes to colour hidden activity by")
    x, y = _part(rule, data, SHOWN)
    points = tsne(rule, x, perplexity=min(30.0, (len(x) - 1) / 3))
    return {"points": [[round(float(value), 2) for value in point] for point in points], "labels": y.tolist()}


def _robustness(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    if not data.classes:
        raise Refused("a regression has no class that an attack could change")
    x, y = _part(rule, data, SAMPLES)
    bounds = (float(x.min()), float(x.max()))
    return {
        attack: {str(strength): accuracy for strength, accuracy in under.items()}
        for attack in ATTACKS
        for under in [accuracy_under(rule, x, y, attack, STRENGTHS, bounds=bounds)]
    }


PROBES: dict[str, Callable[[Rule, Dataset, list[dict[str, Any]]], dict[str, Any]]] = {
    "curve": _curve,
    "weights": _weights,
    "receptive_fields": _fields,
    "deep_fields": _deep_fields,
    "units": _units,
    "winners": _winners,
    "depth": _depth,
    "activity": _activity,
    "robustness": _robustness,
}


def _part(rule: Rule, data: Dataset, count: int) -> tuple[Tensor, Tensor]:
    return as_input(data.x_test[:count], rule.like.dtype), data.y_test[:count]


def _spaced(total: int, count: int) -> Tensor:
    """At most ``count`` rows of ``total``, evenly spaced: data sets that come sorted by class show all of them."""
    return torch.arange(min(total, count)) * total // min(total, count)


def _pictures(rule: Rule, data: Dataset, count: int) -> Tensor:
    """(count, *shape): what the first units of the first layer respond to, if it can be seen."""
    first = receptive_fields(rule, 0, count)
    if first.dim() == 2:
        first = first.view(len(first), *data.shape) if first[0].numel() == math.prod(data.shape) else first
    if first.dim() < 3:
        raise Refused("the inputs are no images, so that weights have no picture")
    return first


def _plain(value: Any) -> Any:
    """Numbers and lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, torch.Tensor) or hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value
