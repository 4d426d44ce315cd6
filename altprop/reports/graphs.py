"""Genomes as pictures: the net that a search of graphs has grown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from altprop.panels.style import INK, MUTED, PALETTE, WIDTH, style

HEIGHT = 2.9
THICK = 2.4  # points of the heaviest connection


def depths(genome: Mapping[str, Any]) -> dict[int, int]:
    """The column of each node that takes part: inputs 0, hidden ones behind all that reach them, outputs last.

    A connection that closes a cycle moves nothing: a node is placed by the paths from the inputs that do not return."""
    inputs = genome["inputs"]
    outputs = range(inputs + 1, inputs + 1 + genome["outputs"])
    edges = [(gene["source"], gene["target"]) for gene in genome["genes"] if gene["enabled"]]
    place = dict.fromkeys(range(inputs + 1), 0)
    hidden = {node for edge in edges for node in edge} - {*place, *outputs}
    for _ in range(len(hidden) + 1):
        before = dict(place)
        for source, target in edges:
            if target in hidden and source in before and before[source] < len(hidden) + 1:
                deeper = target not in before and before[source] + 1
                longer = target in before and not _reaches(edges, target, source) and before[source] + 1
                place[target] = max(place.get(target, 0), deeper or longer or 0)
        if place == before:
            break
    place |= {node: 1 for node in hidden - place.keys()}  # that no input reaches
    last = max(place.values(), default=0) + 1
    return place | dict.fromkeys(outputs, last)


def _reaches(edges: list[tuple[int, int]], start: int, end: int) -> bool:
    seen, left = {start}, [start]
    while left:
        node = left.pop()
        later = {target for source, target in edges if source == node} - seen
        seen |= later
        left += later
    return end in seen


def draw_net(genome: Mapping[str, Any]) -> Figure:
    """Nodes in columns from the inputs at the left to the outputs; a line an enabled connection, blue where its weight
    is above 0 and orange below, the thicker the heavier."""
    column = depths(genome)
    heaviest = max((abs(gene["weight"]) for gene in genome["genes"] if gene["enabled"]), default=1.0) or 1.0
    rows: dict[int, list[int]] = {}
    for node in sorted(column):
        rows.setdefault(column[node], []).append(node)
    at = {
        node: (depth, (place + 1) / (len(nodes) + 1) + 0.06 * (depth % 2) * (depth < max(rows)))
        for depth, nodes in rows.items()
        for place, node in enumerate(reversed(nodes))
    }
    with style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        for gene in genome["genes"]:
            if gene["enabled"]:
                (x0, y0), (x1, y1) = at[gene["source"]], at[gene["target"]]
                colour = PALETTE[0] if gene["weight"] > 0 else PALETTE[1]
                bow = 0.4 if column[gene["source"]] >= column[gene["target"]] else 0.05
                width = 0.4 + THICK * abs(gene["weight"]) / heaviest
                axes.annotate(
                    "", (x1, y1), (x0, y0), zorder=1,
                    arrowprops={"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 5, "shrinkB": 6,
                                "mutation_scale": 8,
                                "connectionstyle": f"arc3,rad={bow}"},
                )  # fmt: skip
        for node, (x, y) in at.items():
            axes.plot([x], [y], "o", color=INK, markersize=7, zorder=2)
            name = _name(node, genome)
            if name:
                side, shift = ("right", -7) if column[node] == 0 else ("left", 7)
                axes.annotate(name, (x, y), (shift, 0), textcoords="offset points", ha=side, va="center", color=MUTED)
        axes.set_axis_off()
        axes.margins(0.18, 0.08)
        axes.set_title("the champion")
        return figure


def _name(node: int, genome: Mapping[str, Any]) -> str:
    inputs = genome["inputs"]
    if node < inputs:
        return f"in {node + 1}"
    if node == inputs:
        return "bias"
    return f"out {node - inputs}" if node <= inputs + genome["outputs"] else ""
