"""A recipe: everything that decides a run, and how it is written down.  Without torch."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from altprop.run.directory.files import RunError as RunError
from altprop.run.readout import MANY, Amount, Count, Fraction, PhaseTable, Rate, Readout, Text

# Where and how a run is made, but not what it is: two recipes that differ in these alone are the same experiment.
BESIDE = {"seed", "device", "threads", "data_dir", "measure", "probe"}
SELDOM = ("power", "phase", "readout", "categories")  # keys that say nothing where they are not given


class Recipe(BaseModel):
    """One run.  ``None`` is decided from the rule and the data when the run starts, and written down then."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rule: Text = "bp"
    arguments: dict[str, bool | int | float | Text | list[float]] = Field(default_factory=dict)
    loss: Text | None = None
    data: Text = "digits"
    data_dir: Text | None = None
    label: Text = "label"
    task: Literal["classification", "regression"] | None = None  # of labels that could be either
    encoding: Text | None = None  # of the letters of a table
    categories: list[Text] = Field(default_factory=list)  # columns of a table that are text
    missing: Literal["drop", "mean"] | None = None  # of cells without a value
    scale: Text | None = None  # of the inputs: none, unit or standard; None: standard for tables, else none
    target_scale: Text | None = None  # of a regression's targets; None: standard, but none for published data
    class_weight: Text | list[Amount] | dict[Text, Amount] | None = None  # "balanced", one a class, or by name
    val: Fraction = 0.0
    net: Text | None = None
    act: Text | None = None
    dropout: Fraction = 0.0
    bias: bool = True
    init: Text | None = None
    freeze: int = Field(default=0, ge=0, lt=MANY)  # layers, from the input up, that stay as they were drawn
    whiten: Text | None = None
    augment: Text | None = None
    epochs: Count | None = None
    batch: Count = 64
    optimizer: Text | None = None
    lr: Rate | None = None
    power: Amount = 0.5  # of norm_sgd
    momentum: Fraction = 0.9
    nesterov: bool = False
    eps: Rate | None = None  # of adam and adamw
    weight_decay: Amount = 0.0
    schedule: Text = "constant"
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Text = "cpu"
    threads: int | None = Field(default=None, ge=1, le=1024)
    stream: bool = False
    phase: list[PhaseTable] = Field(default_factory=list)  # how phases of a rule learn that are not as the above says
    readout: Readout = Readout()  # and the one named readout, whose features may be computed once
    measure: bool = True  # angles and norms after every epoch
    probe: bool = False  # and at the end weights, receptive fields, hidden activity and robustness

    @property
    def rate_used(self) -> list[float] | float | None:
        """The rates of the phases that have their own, else the one of all."""
        return [table.lr for table in self.phase if table.lr is not None] or self.lr

    def with_(self, **changes: Any) -> Recipe:
        """The recipe with these changes, checked; raises ``RunError``."""
        from altprop.run.values import make_recipe  # which knows the rules, and so reads torch

        return make_recipe(**{**self.model_dump(), **changes})

    def by_rule(self, rule: str, **changes: Any) -> Recipe:
        """The same experiment by another rule, without the settings of phases that it cannot have."""
        from altprop.rules import RULES

        claims = RULES[rule].claims
        if claims.labels and rule != self.rule:
            changes = {"phase": [], **changes}
        if claims.signal != "none":
            changes = {"readout": {}, **changes}
        return self.with_(rule=rule, **{"arguments": {}, **changes})

    def experiment(self) -> dict[str, Any]:
        """What decides the numbers that come out, the seed and what is left at its default excepted."""
        return self.model_dump(exclude_defaults=True, exclude=BESIDE)

    def toml(self) -> str:
        """The recipe as TOML, without what is None or says nothing of this rule; ``read_recipe`` gives it back."""
        table, given = self.model_dump(exclude_none=True), self.model_dump(exclude_defaults=True)
        table = {key: value for key, value in table.items() if key not in SELDOM or key in given}
        phases = [each.given() | {"name": each.name} for each in self.phase]
        table.pop("phase", None)
        tables = ("readout", "arguments", *("class_weight",) * isinstance(self.class_weight, dict))
        inner = {key: table.pop(key, None) for key in tables}
        lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
        for name, part in inner.items():
            if part:
                lines += ["", f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in part.items())]
        for part in phases:
            lines += [
                "",
                "[[phase]]",
                *(f"{key} = {_toml(part[key])}" for key in PhaseTable.model_fields if key in part),
            ]
        return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one that TOML forbids beside JSON's
