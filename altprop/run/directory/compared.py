"""What stands in comparison.json and in the files of its tuning, type by type, as the other schemas."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from altprop.run.directory.schemas import Finite, Loose, Number, Part, Plain, Whole


class Compared(Loose):
    """A rule's row in comparison.json."""

    rule: str | None = None
    family: str | None = None
    activation: str | None = None
    lr: float | list[float] | None = None
    test_accuracy_mean: Number = None
    test_accuracy_std: Number = None
    test_loss_mean: Number = None
    test_r2_mean: Number = None
    n: Whole | None = None
    difference_to_bp: Number = None
    difference_low: Number = None
    difference_high: Number = None
    seconds_per_epoch: Number = None
    step_ratio_to_bp: Number = None
    peak_activation_bytes: Number = None
    claims: dict[str, Plain | list[Any]] | None = None
    readout: str | None = None
    tuned: dict[str, Plain] | None = None
    tuned_val: Number = None
    tuned_edge: list[str] | None = None


class Trial(Part):
    """A trial of a rule: its values, what it reached on the validation part, and why where it did not end."""

    values: dict[str, bool | int | Finite | str]
    value: Finite | None
    told: str = ""
    epochs: Whole = 0

    @model_validator(mode="after")
    def _either(self) -> Trial:
        if (self.value is None) != bool(self.told):
            raise ValueError("a trial has either a value, or the reason why it has none")
        return self


class Tried(Part):
    """tuning/RULE.json, the trials of a rule: what was searched, of which recipe, and every trial in its order."""

    rule: str
    recipe: str = Field(pattern=r"^[0-9a-f]{16}$")
    space: dict[str, str]
    seed: Whole
    start: dict[str, bool | int | Finite | str] | None = None
    trials: list[Trial]

    @model_validator(mode="after")
    def _of_the_space(self) -> Tried:
        if any(trial.values.keys() != self.space.keys() for trial in self.trials):
            raise ValueError("a trial has other keys than its space")
        return self


class ToldRule(Loose):
    """Of the tuning of a rule, in comparison.json."""

    space: dict[str, str]
    trials: list[Trial]
    best: Whole | None = None  # the place of the best trial; None where none has ended
    edge: list[str] = Field(default_factory=list)
    start: dict[str, Plain] | None = None

    @model_validator(mode="after")
    def _there(self) -> ToldRule:
        if self.best is not None and not (self.best < len(self.trials) and self.trials[self.best].value is not None):
            raise ValueError(f"trial {self.best} is not among {len(self.trials)} that ended")
        return self


class Tuned(Loose):
    """The tuning of a comparison: its budget, which is that of every rule, and what came of it."""

    trials: Whole
    epochs: Whole | None = None
    samples: Whole | None = None
    val_samples: Whole | None = None
    seed: Whole | None = None
    sampler: str = ""
    rules: dict[str, ToldRule]


class Comparison(Loose):
    """comparison.json."""

    data: str | None = None
    reference: str | None = None  # the rule that the others are held against
    net: str | None = None
    epochs: Whole | None = None
    seeds: list[Whole] | None = None
    tuning: Tuned | None = None
    rows: list[Compared]
