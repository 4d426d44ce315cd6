"""The page of a search's run: how fit its generations were, what they were like, and who has won."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from altprop.limits import shorten
from altprop.panels.style import PALETTE, WIDTH, style, to_html
from altprop.reports.curves import HEIGHT, draw_line, epochs_axis, learning_curves, name_ends
from altprop.reports.graphs import draw_net
from altprop.reports.single import Headline, Shown
from altprop.reports.typeset import significant, text
from altprop.run.directory.files import AGAIN, read_json, read_rows, read_text, read_toml
from altprop.run.directory.generations import Champion, GenerationRow
from altprop.run.directory.schemas import Environment

Rows = Sequence[Mapping[str, Any]]


def search_context(folder: Path) -> dict[str, Any]:
    """What the page shows of a search's directory; raises ``ReportError`` for files in it that cannot be read."""
    recipe = read_toml(folder / "recipe.toml", AGAIN)
    metrics, facts = folder / "metrics.jsonl", folder / "environment.json"
    rows = read_rows(metrics, GenerationRow, whole=False) if metrics.is_file() else []
    champion = read_champion(folder)
    environment = read_json(facts, Environment) if facts.is_file() else {}
    return {
        "title": text(recipe.get("search")),
        "recipe": recipe,
        "headline": headline(rows, recipe),
        "figures": [one for one in (_fitness(rows), _drawn(champion), *_told(rows), *_watched(rows)) if one],
        "code": champion.get("code"),
        "settings": _flat(recipe),
        "last": [*_last(rows)],
        "environment": {key: text(value) for key, value in environment.items()},
        "toml": read_text(folder / "recipe.toml"),
        "films": [_embedded(path) for path in sorted(folder.glob("*.gif"))],
    }


def read_champion(folder: Path) -> dict[str, Any]:
    """The genome of a run that has ended, where it is written as a graph or a tree."""
    path = folder / "champion.json"
    return read_json(path, Champion) if path.is_file() else {}


def headline(rows: Rows, recipe: Mapping[str, Any]) -> Headline | None:
    if not rows:
        return None
    last = rows[-1]
    share = last.get("test_accuracy")
    beside = f"after generation {last['generation']} of {recipe.get('generations')}, {last['evaluations']} evaluations"
    beside += f", {last['failed']} of which failed" if last["failed"] else ""
    if isinstance(share, int | float):
        return Headline(f"{100 * share:.2f} %", "test accuracy", f"{beside}; fitness {significant(last['best'])}")
    return Headline(significant(last["best"]), "fitness of the champion", beside)


def _curve(rows: Rows, read: Callable[[Mapping[str, Any]], Any]) -> dict[int, float | None]:
    return {row["generation"]: read(row) for row in rows}


def _fitness(rows: Rows) -> Shown | None:
    """The best so far, and of each generation the median in a band from its lower to its upper quarter."""
    if not rows:
        return None
    best, median = _curve(rows, lambda row: row["best"]), _curve(rows, lambda row: row["fitness"].get("median"))
    with style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        ends: dict[str, tuple[float, float, str]] = {}
        for name, curve, colour in (("best so far", best, PALETTE[0]), ("median", median, PALETTE[1])):
            end = draw_line(axes, [curve], colour, "-")
            ends |= {name: (*end, colour)} if end else {}
        whole = [row for row in rows if {"lower", "upper"} <= row["fitness"].keys()]
        axes.fill_between(
            [row["generation"] for row in whole], [row["fitness"]["lower"] for row in whole],
            [row["fitness"]["upper"] for row in whole], color=PALETTE[1], alpha=0.18, linewidth=0,
        )  # fmt: skip
        epochs_axis(axes, [[best], [median]], plain=False)
        axes.set_xlabel("generation")
        axes.set_title("fitness")
        name_ends(axes, ends)
    caption = (
        "The best fitness so far, and the median of each generation in a band from its lower to its upper quarter; "
        "larger is better."
    )
    return Shown("fitness", _inline(figure, "fitness", "Line chart: fitness over generations"), caption)


def _watched(rows: Rows) -> list[Shown]:
    """What the search told of each generation: species, and how complex its individuals are."""
    names = dict.fromkeys(name for row in rows for name in row["watch"])
    said = "What the search tells of each generation"
    return [_line(rows, name, lambda row, name=name: row["watch"].get(name), said) for name in names]  # type: ignore[misc]


def _told(rows: Rows) -> list[Shown]:
    """What each best individual did, beside how well."""
    names = dict.fromkeys(name for row in rows for name in row.get("told") or {})
    said = "What the best individual so far does"
    return [_line(rows, name, lambda row, name=name: (row.get("told") or {}).get(name), said) for name in names]  # type: ignore[misc]


def _line(rows: Rows, name: str, read: Callable[[Mapping[str, Any]], Any], said: str) -> Shown:
    what = name.replace("_", " ")
    figure = learning_curves({what: [_curve(rows, read)]}, quantity=what, over="generation")
    drawn = _inline(figure, f"line-{name.replace('_', '-')}", f"Line chart: {what} over generations")
    return Shown(name, drawn, f"{said}: {what}.")


def _drawn(champion: Mapping[str, Any]) -> Shown | None:
    """The genome as a picture, where it is a net; one that cannot be drawn says why, and the page goes on."""
    if champion.get("kind") not in DRAWN:
        return None
    label = "Picture: the net of the champion"
    try:
        drawn = _inline(DRAWN[champion["kind"]](champion), "champion", label)
        return Shown("champion", drawn, "The champion: blue connections have weights above 0, orange ones below, the "
                     "thicker the heavier. Hidden nodes have no name.")  # fmt: skip
    except Exception as error:  # whatever is wrong with one picture, the others and the numbers are sound
        return Shown(
            "champion", None, "", f"the champion cannot be drawn: {shorten(f'{type(error).__name__}: {error}', 200)}"
        )


DRAWN: dict[str, Callable[[Mapping[str, Any]], Figure]] = {"neat": draw_net}  # by the kind of a genome


def _embedded(film: Path) -> str:
    """A film as an address that holds all of it, since the page fetches nothing."""
    return f"data:image/gif;base64,{base64.b64encode(film.read_bytes()).decode()}"


def _flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in recipe.items() if isinstance(value, dict)}
    plain = {key: value for key, value in recipe.items() if key not in inner}
    return plain | {f"{key.removesuffix('_arguments')} {name}".removeprefix("arguments "): value
                    for key, part in inner.items() for name, value in part.items()}  # fmt: skip


def _last(rows: Rows) -> Any:
    for key, value in (rows[-1] if rows else {}).items():
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            whole = key in ("generation", "evaluations", "failed")
            yield f"{key} {name}".replace("_", " ").strip(), text(number) if whole else significant(number)


def _inline(figure: Figure, name: str, label: str) -> Markup:
    # The text in the figure was escaped by matplotlib, its label is by `to_html`.
    return Markup(to_html(figure, name, label))
