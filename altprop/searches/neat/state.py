"""The state of a search as tensors: the genes, and all the rest as JSON, byte by byte."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from altprop.limits import Refused, shorten, shown
from altprop.searches.neat.genes import COLUMNS, Frame, Genes, Genome
from altprop.searches.neat.history import History
from altprop.searches.neat.species import Species


def pack(
    genes: Genes, species: list[Species], champion: Genome | None, history: History, generator: np.random.Generator,
    counts: dict[str, Any], given: dict[str, Any],
) -> dict[str, Tensor]:  # fmt: skip
    """All that the next generation depends on."""
    rest = {
        "species": [one.state() for one in species],
        "champion": champion and champion.to_json(),
        "history": history.state(),
        "generator": generator.bit_generator.state,
        "counts": counts,
        "given": given,
    }
    tables = {column: torch.from_numpy(getattr(genes, column).copy()) for column in COLUMNS}
    return {**tables, "rest": torch.tensor(list(json.dumps(rest).encode()), dtype=torch.uint8)}


def check(state: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises ``Refused`` for the state of a search that was given something else."""
    if set(state) != {*COLUMNS, "rest"}:
        what = shorten(", ".join(sorted(set(state) ^ {*COLUMNS, "rest"})), 100)
        raise Refused(f"the state of another search came, which differs in {what}: give one of {given['search']}")
    told, wanted = json.loads(bytes(state["rest"].tolist()))["given"], json.loads(json.dumps(given))
    other = [key for key in {**told, **wanted} if told.get(key) != wanted.get(key)]
    if other:
        what = ", ".join(f"{key}={shown(told.get(key), 40)} and not {shown(wanted.get(key), 40)}" for key in other)
        raise Refused(
            f"the state of another search came, of {shorten(what, 150)}: begin {given['search']} with the same"
        )


def unpack(
    state: dict[str, Any], frame: Frame, history: History, generator: np.random.Generator
) -> tuple[Genes, list[Species], Genome | None, dict[str, Any]]:
    """Genes, species, champion and counts; history and generator go on from where they were."""
    rest = json.loads(bytes(state["rest"].tolist()))
    history.load(rest["history"])
    generator.bit_generator.state = rest["generator"]
    genes = Genes(frame, *(state[column].cpu().numpy().copy() for column in COLUMNS))
    champion = rest["champion"] and Genome.from_json(rest["champion"])
    return genes, [Species.of(one, frame) for one in rest["species"]], champion, rest["counts"]
