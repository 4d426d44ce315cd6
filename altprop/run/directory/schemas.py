"""What stands in the files of a run, type by type: numbers stay numbers, lists lists, and nothing is guessed.

Keys that are not named here are let through, so that a run of a later version can be read."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Whole = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Number = float | None  # of metrics: not a number where a run left the numbers, and nothing where it was not taken
Plain = str | bool | int | float | None


class Part(BaseModel):
    """A piece of a file, of exactly these types; what else stands in it is let through where ``Loose`` says so."""

    model_config = ConfigDict(strict=True)


class Loose(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class Row(Loose):
    """A line of metrics.jsonl, and of a checkpoint: beside the epoch numbers, some of them by layer."""

    __pydantic_extra__: dict[str, Plain | dict[str, Any]]
    epoch: int = Field(ge=1, le=10**9)
    step: Whole = 0
    loss: Number = None
    train_accuracy: Number = None
    test_loss: Number = None
    test_accuracy: Number = None
    val_loss: Number = None
    val_accuracy: Number = None
    seconds: Number = None
    lr: Number = None
    angle_to_bp: dict[str, Number] | None = None
    vanished_gradient: dict[str, Finite] | None = None
    feedback_angle: dict[str, Number] | None = None
    weight_norm: dict[str, Number] | None = None
    unit_norm: dict[str, Number] | None = None
    watch: dict[str, Number | dict[str, Number]] | None = None


class FullRow(Row):
    """A row as a run goes on with it, and sums it up."""

    step: Whole
    loss: Number
    train_accuracy: Number
    test_loss: Number
    test_accuracy: Number
    seconds: Finite


class Format(Loose):
    """checkpoint/state.json, of whatever version."""

    format: int


class OptimizerState(Loose):
    """What of an optimizer is no tensor."""

    plain: dict[Annotated[str, Field(pattern=r"^\d{1,6}$")], dict[str, Plain]]
    param_groups: list[dict[str, Any]]


class State(Loose):
    """checkpoint/state.json."""

    tensors: str = Field(pattern=r"^\d{1,19}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    phase: Whole = 0
    epoch: Whole
    batch: Whole
    step: Whole
    loss_sum: Finite
    seconds: Finite = Field(ge=0)
    rows: list[FullRow]
    first: Finite = 0.0  # these two are not in checkpoints of former versions
    refused: dict[str, str] = Field(default_factory=dict)
    optimizers: list[OptimizerState] = Field(min_length=1)

    @model_validator(mode="after")
    def _counted(self) -> State:
        unmeasured = self.epoch - len(self.rows)  # an epoch is saved before it is measured
        counted = [row.epoch for row in self.rows] == list(range(1, len(self.rows) + 1))
        if not counted or unmeasured not in (0, 1) or (unmeasured and self.batch):
            raise ValueError(f"{len(self.rows)} rows of metrics do not count {self.epoch} epochs")
        return self


class ToldReadout(Loose):
    by: str | None = None
    epochs: Whole | None = None


class ToldPhase(Loose):
    name: str | None = None
    epochs: Whole | None = None


class Told(Loose):
    """What a report reads of recipe.toml, whose other keys it shows as they are."""

    rule: str | None = None
    epochs: Whole | None = None
    readout: ToldReadout | None = None
    phase: list[ToldPhase] = Field(default_factory=list)


class Environment(Loose):
    """environment.json."""

    __pydantic_extra__: dict[str, Plain]


class Refusal(Part):
    """In the place of a measure that could not be taken."""

    refused: str


class Plateau(Loose):
    slowness: Finite


class Quantiles(Loose):
    quantiles: list[Annotated[list[Finite], Field(min_length=2, max_length=2)]]
    aic: Finite


class Fits(Loose):
    normal: Quantiles
    student: Quantiles


class Pictures(Part):
    shape: list[Annotated[int, Field(ge=1, lt=2**31)]] = Field(min_length=3, max_length=4)
    values: list[Finite]

    @model_validator(mode="after")
    def _fills(self) -> Pictures:
        if math.prod(self.shape) != len(self.values):
            raise ValueError(f"{len(self.values)} values do not fill the shape {self.shape}")
        return self


class Kinds(Loose):
    gabor: Finite
    colour: Finite
    other: Finite


class Units(Part):
    units: Whole
    shares: Kinds


class Points(Part):
    points: list[Annotated[list[Finite], Field(min_length=2, max_length=2)]]
    labels: list[Whole]
    classes: list[str] = Field(default_factory=list)  # not in files of former versions

    @model_validator(mode="after")
    def _labelled(self) -> Points:
        if len(self.points) != len(self.labels) or not self.points:
            raise ValueError(f"{len(self.points)} points have {len(self.labels)} labels")
        return self


class Confusion(Part):
    classes: list[str] = Field(min_length=1, max_length=100)
    counts: list[list[Whole]]

    @model_validator(mode="after")
    def _square(self) -> Confusion:
        if {len(self.counts), *map(len, self.counts)} != {len(self.classes)}:
            raise ValueError(f"its counts are no square of {len(self.classes)} classes")
        return self


class Example(Part):
    sample: Whole
    true: str
    said: str
    probability: Annotated[float, Field(ge=0, le=1)]


class Examples(Part):
    wrong: list[Example]
    right: list[Example]
    pictures: Pictures | None = None

    @model_validator(mode="after")
    def _shown(self) -> Examples:
        count = len(self.wrong) + len(self.right)
        if self.pictures is not None and (len(self.pictures.shape) != 4 or self.pictures.shape[0] != count):
            raise ValueError(f"pictures of shape {self.pictures.shape} show {count} samples")
        return self


class Scores(Part):
    """Of a regression, and the targets and predictions of some samples."""

    r2: Finite | None
    mae: Finite
    rmse: Finite
    true: list[Annotated[list[Finite], Field(min_length=1)]] = Field(min_length=1)
    said: list[list[Finite]]

    @model_validator(mode="after")
    def _paired(self) -> Scores:
        if len({len(row) for row in self.true}) > 1 or list(map(len, self.true)) != list(map(len, self.said)):
            raise ValueError("what is true and what was said are not of one shape")
        return self


class Winners(Loose):
    share: list[Annotated[Finite, Field(ge=0)]] = Field(min_length=1)
    dead: Whole


class Steps(Loose):
    rmse: Finite
    sign_error: Annotated[float, Field(ge=0, le=1)]
    own: list[Finite] = Field(min_length=1)
    exact: list[Finite]

    @model_validator(mode="after")
    def _of_one_length(self) -> Steps:
        if len(self.own) != len(self.exact):
            raise ValueError(f"{len(self.own)} steps stand beside {len(self.exact)}")
        return self


def _same_keys(table: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    if len({frozenset(each) for each in table.values()}) != 1:
        raise ValueError("the layers have not the same readouts")
    return table


Strength = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(e-?\d+)?$", max_length=30)]


class Measures(Loose):
    """measures.json."""

    confusion: Refusal | Confusion | None = None
    regression: Refusal | Scores | None = None
    examples: Refusal | Examples | None = None
    curve: Refusal | Plateau | None = None
    weights: Refusal | dict[str, Fits] | None = None
    receptive_fields: Refusal | Pictures | None = None
    deep_fields: Refusal | dict[str, Pictures] | None = None
    units: Refusal | Units | None = None
    winners: Refusal | dict[str, Winners] | None = None
    depth: Refusal | Annotated[dict[str, dict[str, Finite]], AfterValidator(_same_keys)] | None = None
    activity: Refusal | Points | None = None
    robustness: Refusal | dict[str, dict[Strength, Finite]] | None = None
    in_time: Refusal | dict[str, Steps] | None = None
