"""How the last layer learns where the layers below learn without labels: the recipe's table ``readout``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from altprop.core import Suits

SUITS = Suits(lr=0.05)  # the last layer, where those below learn without labels
SOLVED = ("ridge", "svc")  # readouts that are computed, not descended to
DESCENT = ("epochs", "batch", "optimizer", "lr", "momentum", "weight_decay", "schedule", "dropout", "augment")
FEATURES = ("strength", "batch", "schedule", "dropout", "augment", "dtype", "memory")  # beside the layers below


class Readout(BaseModel):
    """How the last layer learns where the layers below learn without labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["descent", "hebbian", "ridge", "svc"] = "descent"  # the last two in closed form, after those below
    strength: float = Field(default=1.0, gt=0, allow_inf_nan=False)  # of the penalty of ridge and svc
    epochs: int | None = Field(default=None, ge=1)  # after the layers below; None: beside them, batch by batch
    batch: int = Field(default=64, ge=1)
    optimizer: str | None = None  # sgd, or for regression adam, since features are as large as they please
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    schedule: str = "constant"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    augment: str | None = None  # then what the layers below say is computed anew every epoch
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"  # in which it is kept
    memory: float = Field(default=8.0, gt=0)  # in GB, above which it is kept in a file

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
