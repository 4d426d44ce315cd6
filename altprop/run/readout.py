"""What a recipe says of phases: its tables ``[[phase]]``, and that of the phase named readout, ``[readout]``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from altprop.limits import LARGEST

SOLVED = ("ridge", "svc")  # readouts that are computed, not descended to
DESCENT = ("epochs", "batch", "optimizer", "lr", "momentum", "weight_decay", "schedule", "dropout", "augment")
FEATURES = ("strength", "batch", "schedule", "dropout", "augment", "dtype", "memory")  # beside the layers below


MANY = 10**9  # epochs, samples and layers that nobody has


def _text(text: str) -> str:
    if "\0" in text or text.encode("utf-8", "replace").decode() != text:
        raise ValueError("it holds a zero byte, or bytes that are no UTF-8, which no recipe can keep: rename it")
    return text


Count = Annotated[int, Field(ge=1, lt=MANY)]
Amount = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]  # that float32 holds
Rate = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, AfterValidator(_text)]


READOUT = "readout"  # the phase that may learn from features, by a table of its own


class PhaseTable(BaseModel):
    """How the phases of that name learn, in place of what the recipe says of all; None: as it says.

    name: * stands for any letters.  epochs: those of its own; a phase that has some, or beside=False, comes after the
    phase before it, where its rule would let it learn beside that one.  0 leaves it out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Text
    epochs: int | None = Field(default=None, ge=0, lt=MANY)
    beside: bool = True
    batch: Count | None = None
    optimizer: Text | None = None
    lr: Rate | None = None
    power: Amount | None = None
    momentum: Fraction | None = None
    nesterov: bool | None = None
    eps: Rate | None = None
    weight_decay: Amount | None = None
    schedule: Text | None = None

    def meets(self, name: str) -> bool:
        return fnmatchcase(name, self.name)

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True, exclude_defaults=True, exclude={"name"})


class Readout(BaseModel):
    """How the last layer learns where those below learn without labels: the recipe's table of the phase "readout"."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    by: Literal["descent", "hebbian", "ridge", "svc"] = "descent"  # the last two in closed form, after those below
    strength: Rate = 1.0  # of the penalty of ridge and svc
    epochs: Count | None = None  # after the layers below; None: beside them, batch by batch
    batch: Count = 64
    optimizer: Text | None = None  # sgd, or for regression adam, since features are as large as they please
    lr: Rate | None = None
    momentum: Fraction = 0.9
    weight_decay: Amount = 0.0
    schedule: Text = "constant"
    dropout: Fraction = 0.0
    augment: Text | None = None  # then what the layers below say is computed anew every epoch
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"  # in which it is kept
    memory: Rate = 8.0  # in GB, above which it is kept in a file

    @property
    def after(self) -> bool:
        """Whether it learns after the layers below, not beside them."""
        return self.epochs is not None or self.by in SOLVED

    @property
    def idle(self) -> tuple[str, tuple[str, ...]]:
        """How it learns, and the settings that mean nothing then."""
        if self.by in SOLVED:
            return "in closed form", DESCENT
        return ("by steps of its own", ("strength",)) if self.after else ("beside the layers below", FEATURES)
