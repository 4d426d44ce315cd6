"""What stands in the files of a search's run, type by type."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from altprop.run.directory.schemas import Finite, Loose, Number, Whole


class GenerationRow(Loose):
    """A line of metrics.jsonl of a search."""

    __pydantic_extra__: dict[str, Any]
    generation: Whole
    evaluations: Whole
    failed: Whole
    best: Number
    fitness: dict[str, Finite]
    watch: dict[str, Number]
    seconds: Finite


class SearchState(Loose):
    """checkpoint/state.json of a search."""

    tensors: str = Field(pattern=r"^\d{1,19}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    step: Whole
    seconds: Finite = Field(ge=0)


class Asked(Loose):
    """task.json: what is needed to use the champion."""

    inputs: list[Whole] = Field(min_length=1, max_length=8)
    outputs: int = Field(ge=1, lt=2**31)


class Champion(Loose):
    """champion.json: a genome, of what kind it says itself."""

    kind: str
