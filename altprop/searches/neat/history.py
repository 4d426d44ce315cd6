"""Innovation numbers: the same structure gets the same number, so that genomes are aligned without a look at nets."""

from __future__ import annotations

from collections.abc import Container
from typing import Any


class History:
    """Numbers of genes and nodes that are given out, and those of this generation, or of the whole run.

    Two genomes that split the same gene get the same node; so must its two new genes be the same, and they are, since
    they join the same nodes."""

    def __init__(self, node: int) -> None:
        self.next_gene, self.next_node = 0, node
        self.joined: dict[tuple[int, int], int] = {}  # (source, target) -> gene
        self.split: dict[tuple[int, int], int] = {}  # (gene, how often the genome split it before) -> node

    def gene(self, source: int, target: int) -> int:
        """The number of a gene between two nodes."""
        if (source, target) not in self.joined:
            self.joined[source, target] = self.next_gene
            self.next_gene += 1
        return self.joined[source, target]

    def node(self, gene: int, taken: Container[int]) -> int:
        """The number of the node in the middle of a gene, none of those, ``taken``, that the genome has already."""
        times = 0
        while self.split.get((gene, times), -1) in taken:
            times += 1
        if (gene, times) not in self.split:
            self.split[gene, times] = self.next_node
            self.next_node += 1
        return self.split[gene, times]

    def forget(self) -> None:
        """A new generation: the same structure is a new innovation."""
        self.joined.clear()
        self.split.clear()

    def state(self) -> dict[str, Any]:
        """Counters and both tables, as lists."""
        tables = {name: [[*key, value] for key, value in getattr(self, name).items()] for name in ("joined", "split")}
        return {"next_gene": self.next_gene, "next_node": self.next_node, **tables}

    def load(self, state: dict[str, Any]) -> None:
        """Back from ``state``."""
        self.next_gene, self.next_node = state["next_gene"], state["next_node"]
        self.joined = {(source, target): gene for source, target, gene in state["joined"]}
        self.split = {(gene, times): node for gene, times, node in state["split"]}
