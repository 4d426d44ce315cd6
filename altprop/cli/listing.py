"""What there is: rules with their claims and papers, and data sets."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import asdict
from typing import Any

from altprop.data import DATASETS, load
from altprop.evolution.recipe import arguments_of
from altprop.limits import shown
from altprop.registry import discover
from altprop.rules import REFERENCES, RULES
from altprop.run.values import check_rule, rule_arguments
from altprop.searches import REFERENCES as OF_SEARCHES
from altprop.searches import SEARCHES
from altprop.tasks import TASKS


def list_rules() -> list[dict[str, Any]]:
    """name, family, what it is, claims, reference, and the defaults, of every rule."""
    discover()
    return [
        {
            "name": name, "family": rule.family, "about": _about(rule), "claims": asdict(rule.claims),
            "reference": rule.reference, "lr": rule.suits.lr, "lr_regression": rule.suits.rate(classes=False),
            "activation": rule.suits.activation,
        }
        for name, rule in RULES.items()
    ]  # fmt: skip


def list_searches() -> list[dict[str, Any]]:
    """name, what it is, what its individuals are written in, reference, and arguments of every search."""
    return [
        {"name": name, "about": _about(search), "genome": search.claims.genome,
         "reference": getattr(search, "reference", None), "arguments": _spelled(search)}
        for name, search in SEARCHES.items()
    ]  # fmt: skip


def list_tasks() -> list[dict[str, Any]]:
    """name, what it is, and arguments of every task that a search can be asked."""
    return [{"name": name, "about": _about(task), "arguments": _spelled(task)} for name, task in TASKS.items()]


def _spelled(kind: type) -> dict[str, str]:
    return {name: shown(value) for name, value in arguments_of(kind).items()}


def _about(rule: type) -> str:
    """The first sentence of a rule's docstring."""
    head = " ".join((inspect.getdoc(rule) or "").partition("\n\n")[0].split())
    return re.split(r"(?<!\bal)(?<!\beq)\.(?: |$)", head)[0]


def explain(rule: str) -> str:
    """The documentation of a rule, a search or a task, its arguments, claims and reference."""
    if rule in SEARCHES or rule in TASKS:
        return _explain_search(rule)
    check_rule(rule)
    kind = RULES[rule]
    arguments = ", ".join(f"{key}={value!r}" for key, value in rule_arguments(rule).items()) or "none"
    claims = "\n".join(f"    {key}: {value}" for key, value in asdict(kind.claims).items())
    reference = REFERENCES.get(kind.reference, kind.reference)
    parts = [inspect.getdoc(sys.modules[kind.__module__]), f"{kind.__name__}: {inspect.getdoc(kind)}",
             f"Arguments (--set key=value): {arguments}", f"Claims:\n{claims}", reference]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _explain_search(name: str) -> str:
    kind: Any = SEARCHES.get(name) or TASKS[name]
    arguments = ", ".join(f"{key}={shown(value)}" for key, value in arguments_of(kind).items()) or "none"
    spelled = "key=value" if name in SEARCHES else "task.key=value"
    parts = [inspect.getdoc(sys.modules[kind.__module__]), f"{kind.__name__}: {inspect.getdoc(kind)}",
             f"Arguments (--set {spelled}): {arguments}", OF_SEARCHES.get(getattr(kind, "reference", ""))]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def list_data() -> list[dict[str, Any]]:
    keys = ("about", "shape", "classes", "outputs", "n_train", "n_test", "net", "task", "source", "downloadable")
    return [{"name": name, **{key: getattr(entry, key) for key in keys}} for name, entry in DATASETS.items()]


def data_info(source: str, **options: Any) -> dict[str, Any]:
    """Shape, classes and sizes, from the files themselves."""
    data = load(source, **options)
    entry = DATASETS.get(source)
    return {
        "name": data.name, "about": entry.about if entry else None, "task": data.task, "shape": list(data.shape),
        "dtype": str(data.x_train.dtype).removeprefix("torch."), "train": len(data.x_train), "test": len(data.x_test),
        "outputs": data.outputs, "classes": list(data.classes), "net": data.net or None,
        "source": entry.source if entry else None,
    }  # fmt: skip
