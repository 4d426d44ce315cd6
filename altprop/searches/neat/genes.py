"""Genes and genomes: a population is one padded table, a row a genome, a column a gene, sorted by innovation number.

Nodes bear numbers: the inputs 0..I-1, the bias I, whose value is 1, the outputs I+1..I+C, then hidden nodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from altprop.limits import Refused, shown
from altprop.searches.neat.activations import ACTIVATIONS

PAD = 2**31 - 1  # the innovation number of no gene, larger than any
SPAN = PAD + 1  # row * SPAN + number is one number for a gene of one genome
COLUMNS = ("innovation", "source", "target", "weight", "enabled")
KINDS = {"innovation": np.int64, "source": np.int64, "target": np.int64, "weight": np.float64, "enabled": np.bool_}
FILL = {"innovation": PAD, "source": 0, "target": 0, "weight": 0.0, "enabled": False}


class Frame(NamedTuple):
    """What all genomes of a search share."""

    inputs: int
    outputs: int
    memory: bool
    activation: str
    functions: tuple[str, ...] = ()  # of hidden nodes, by their numbers; none: the activation

    @property
    def fixed(self) -> int:
        """Nodes that every genome has: the first hidden one bears this number."""
        return self.inputs + 1 + self.outputs

    @property
    def names(self) -> tuple[str, ...]:
        """All functions: the activation of outputs, then those of hidden nodes."""
        return (self.activation, *self.functions)


@dataclass
class Genome:
    """One individual: its genes as lists, one entry a gene, by innovation number."""

    frame: Frame
    innovation: list[int]
    source: list[int]
    target: list[int]
    weight: list[float]
    enabled: list[bool]

    def nodes(self) -> list[int]:
        """Hidden nodes, in the order in which genes name them."""
        seen = dict.fromkeys([*self.source, *self.target])
        return [node for node in seen if node >= self.frame.fixed]

    def net(self) -> nn.Module:
        """An ordinary module, (N, inputs) -> (N, outputs), in float32."""
        from altprop.searches.neat.module import GenomeNet  # which reads this file

        return GenomeNet(self)

    def to_json(self) -> str:
        """Everything, as text."""
        genes = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*self.columns(), strict=True)]
        return json.dumps({"kind": "neat", **self.frame._asdict(), "genes": genes}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Genome:
        """Back from ``to_json``.  Raises ``Refused`` for what is no genome."""
        try:
            told = json.loads(text)
            known = {key: told[key] for key in Frame._fields if key != "functions"}
            frame = Frame(**known, functions=tuple(told.get("functions", ())))
            genes = sorted(told["genes"], key=lambda gene: gene["innovation"])
            columns = [[KINDS[key](gene[key]).item() for gene in genes] for key in COLUMNS]
            wrong = told["kind"] != "neat" or min(frame.inputs - 1, frame.outputs - 1, *columns[0], *columns[1]) < 0
            wrong |= not set(frame.names) <= set(ACTIVATIONS) or min(columns[2], default=PAD) <= frame.inputs
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"{shown(text)} came as a genome: give what to_json wrote") from error
        if wrong:
            raise Refused(f"{shown(text)} came as a genome: give what to_json wrote, of kind 'neat'")
        return cls(frame, *columns)

    def columns(self) -> list[list[Any]]:
        """The lists, in the order of ``COLUMNS``."""
        return [getattr(self, column) for column in COLUMNS]


@dataclass
class Genes:
    """P genomes, each column (P, E), padded behind the last gene of a row."""

    frame: Frame
    innovation: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    enabled: np.ndarray

    def __len__(self) -> int:
        return len(self.innovation)

    @property
    def there(self) -> np.ndarray:
        """(P, E), which places hold a gene."""
        return self.innovation != PAD

    @property
    def biases(self) -> np.ndarray:
        """(P, E), which genes come from the bias."""
        return self.source == self.frame.inputs

    def keys(self) -> np.ndarray:
        """(P, E), a number for every gene of every row, rising along the flat table."""
        return np.arange(len(self))[:, None] * SPAN + self.innovation

    def rows(self, rows: np.ndarray) -> Genes:
        """Those genomes, copied."""
        return Genes(self.frame, *(getattr(self, column)[rows] for column in COLUMNS))

    def genome(self, row: int) -> Genome:
        """One of them, by itself."""
        return self.rows(np.array([row])).genomes()[0]

    def genomes(self) -> list[Genome]:
        """All of them, each by itself."""
        tables = [getattr(self, column).tolist() for column in COLUMNS]
        counts = self.there.sum(1).tolist()
        return [Genome(self.frame, *(row[:E] for row in rows)) for E, *rows in zip(counts, *tables, strict=True)]

    def put(self, rows: np.ndarray, changed: Genes) -> Genes:
        """With these rows in place of those there were, each sorted, as narrow as can be.  changed: no narrower."""
        counts = self.there.sum(1)
        counts[rows] = changed.there.sum(1)
        E, order = max(int(counts.max()), 1), changed.innovation.argsort(1)
        columns = []
        for column in COLUMNS:
            table: np.ndarray = np.full((len(self), E), FILL[column], KINDS[column])
            kept = getattr(self, column)[:, :E]
            table[:, : kept.shape[1]] = kept
            table[rows] = np.take_along_axis(getattr(changed, column), order, 1)[:, :E]
            columns.append(table)
        return Genes(self.frame, *columns)

    @classmethod
    def of(cls, genomes: list[Genome]) -> Genes:
        """A table of genomes of one frame."""
        lengths = np.array([len(genome.weight) for genome in genomes])
        filled = np.arange(max(lengths.max(), 1)) < lengths[:, None]  # (P, E)
        columns = []
        for column in COLUMNS:
            table: np.ndarray = np.full(filled.shape, FILL[column], KINDS[column])
            table[filled] = [value for genome in genomes for value in getattr(genome, column)]
            columns.append(table)
        return cls(genomes[0].frame, *columns)
