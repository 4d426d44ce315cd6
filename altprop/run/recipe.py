"""A recipe: everything that decides a run, and how it is written down.  Without torch."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from altprop.run.directory.files import RunError as RunError
from altprop.run.readout import MANY, Amount, Count, Fraction, PhaseTable, Rate, Readout, Text
from altprop.suits import RULE

# Where and how a run is made, but not what it is: two recipes that differ in these alone are the same experiment.
BESIDE = {"seed", "device", "threads", "data_dir", "measure", "probe"}
SELDOM = ("power", "phase", "precision", "compile", "readout", "categories")  # which say nothing if they are not given


class Recipe(BaseModel):
    """One run.  ``None`` is decided from the rule and the data when the run starts, and written down then."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rule: Text = RULE
    arguments: dict[str, bool | int | float | Text | list[float]] = Field(default_factory=dict)
    data: Text = Field("digits", description="Name, .npz, .csv or folder of images by class")
    net: Text | None = Field(None, description="Spec such as 784-1024-10 or conv32k5-pool2-10 [the data's]")
    data_dir: Text | None = Field(None, description="Where published sets lie [ALTPROP_DATA, else a cache]")
    label: Text = Field("label", description="Label column of a .csv")
    scale: Text | None = Field(None, description="Of inputs: none, unit, standard [standard for tables, else none]")
    target_scale: Text | None = None  # of a regression's targets; None: standard, but none for published data
    task: Literal["classification", "regression"] | None = Field(
        None, description="classification or regression [told from the labels]; of a search what is asked, such as xor"
    )
    encoding: Text | None = Field(None, description="Of the letters of a .csv [told from the file]")
    categories: list[Text] = Field([], description="Text columns of a .csv to be one-hot, comma-separated [none]")
    missing: Literal["drop", "mean"] | None = Field(
        None, description="Cells of a .csv without a value: drop (the row) or mean [refused]"
    )
    class_weight: Text | list[Amount] | dict[Text, Amount] | None = Field(
        None, description="What classes count: balanced, numbers such as 1,5, or cat=1,dog=5 [all alike]"
    )
    val: Fraction = Field(0.0, description="Fraction of the training part to hold out for tuning")
    act: Text | None = Field(None, description="Activation, or auto: that of the rule's source [auto]")
    dropout: Fraction = Field(0.0, description="After every hidden linear layer")
    bias: bool = Field(True, description="Biases in the net")
    init: Text | None = Field(None, description="Initialiser of the weights [the rule's, mostly he_uniform]")
    loss: Text | None = Field(None, description="cross_entropy, binary_cross_entropy or mse [by the data]")
    epochs: Count | None = Field(None, description="Times that all samples are seen [10, or 60 where they are few]")
    batch: Count = Field(64, description="Samples a step")
    optimizer: Text | None = Field(None, description="sgd, adam, adamw, rmsprop or norm_sgd [the rule's, mostly sgd]")
    lr: Rate | None = Field(None, description="Learning rate [the rule's, see altprop list]")
    power: Amount = 0.5  # of norm_sgd
    momentum: Fraction = Field(0.9, description="Of sgd and rmsprop")
    nesterov: bool = Field(False, description="Of sgd's momentum")
    eps: Rate | None = None  # of adam and adamw
    weight_decay: Amount = Field(0.0, description="Weight decay")
    schedule: Text = Field("constant", description="constant, linear, ramp, cosine, step@60,90 or halve@50%")
    freeze: int = Field(0, ge=0, lt=MANY, description="Layers, from the input up, that stay as they were drawn")
    augment: Text | None = Field(
        None,
        description="Of images: flip, crop or flip+crop; of all: noise [none; noise for rules of two views]",
    )
    whiten: Text | None = Field(None, description="Inputs by the training part: pca or zca [neither]")
    stream: bool = Field(False, description="Step each layer as soon as it can")
    seed: int = Field(0, ge=0, lt=2**63, description="Of weights, order, dropout and feedback")
    device: Text = Field("cpu", description="cpu, cuda, ...")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="Of products: float32, or bf16 with float32 weights and sums"
    )
    compile: bool = Field(False, description="Each step by one compiled graph")
    threads: int | None = Field(None, ge=1, le=1024, description="Of the processor [as many as the net is worth]")
    measure: bool = Field(True, description="All that can be measured / nothing [angles, norms]")
    probe: bool = False  # at the end also weights, receptive fields, hidden activity and robustness
    phase: list[PhaseTable] = Field(default_factory=list)  # how phases of a rule learn that are not as the above says
    readout: Readout = Readout()  # and the one named readout, whose features may be computed once

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
        lines = [f"{key} = {toml_value(value)}" for key, value in table.items()]
        for name, part in inner.items():
            if part:
                lines += ["", f"[{name}]", *(f"{toml_key(key)} = {toml_value(value)}" for key, value in part.items())]
        for part in phases:
            lines += [
                "",
                "[[phase]]",
                *(f"{key} = {toml_value(part[key])}" for key in PhaseTable.model_fields if key in part),
            ]
        return "\n".join(lines) + "\n"


def toml_key(name: str) -> str:
    """A key as TOML writes it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one that TOML forbids beside JSON's
