"""What is looked at once, when a run has ended: its curve, weights, receptive fields, hidden activity and robustness.

``train --measure`` writes it as measures.json into the run directory, and the report draws it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from altprop.core import Refused, Rule
from altprop.data import Dataset, as_float
from altprop.measure import ATTACKS, accuracy_under, plateau, receptive_fields, tsne, weight_distribution

SAMPLES = 256  # of the test part, for robustness
SHOWN = 500  # of the test part, in the map of hidden activity
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.2)  # of an attack, in units of the inputs
FIELDS = 25


def probe(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that can be measured of this run, by name; what cannot stands there with the reason."""
    measures: dict[str, Any] = {}
    for name, look in PROBES.items():
        try:
            measures[name] = look(rule, data, metrics)
        except Refused as error:
            measures[name] = {"refused": str(error)}
    return measures


def _curve(rule: Rule, data: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies = [row["test_accuracy"] for row in metrics]
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
    first = receptive_fields(rule, 0, FIELDS)  # (count, *shape)
    if first.dim() == 2:
        first = first.view(len(first), *data.shape) if first[0].numel() == math.prod(data.shape) else first
    if first.dim() < 3:
        raise Refused("the inputs are no images, so that weights have no picture")
    return {"shape": list(first.shape), "values": [round(value, 4) for value in first.flatten().tolist()]}


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
    "activity": _activity,
    "robustness": _robustness,
}


def _part(rule: Rule, data: Dataset, count: int) -> tuple[Tensor, Tensor]:
    return as_float(data.x_test[:count], rule.like.dtype), data.y_test[:count]


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
