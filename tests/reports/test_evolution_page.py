"""The page of a search's run, read as its reader sees it; the drawn net against its genes."""

import json

import pytest

import altprop
from altprop.panels.style import PALETTE, to_svg
from altprop.reports.evolution import search_context
from altprop.reports.graphs import depths, draw_net
from altprop.reports.page import write_report


def gene(source, target, weight=1.0, enabled=True):
    return {"innovation": 0, "source": source, "target": target, "weight": weight, "enabled": enabled}


def genome(*genes, inputs=2, outputs=1):
    return {"kind": "neat", "inputs": inputs, "outputs": outputs, "memory": False, "genes": list(genes)}


CHAIN = genome(gene(0, 4), gene(4, 5, -2.0), gene(5, 3), gene(1, 3), gene(2, 3, enabled=False))


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (genome(gene(0, 3)), {0: 0, 1: 0, 2: 0, 3: 1}),
        (CHAIN, {0: 0, 1: 0, 2: 0, 4: 1, 5: 2, 3: 3}),
        (genome(gene(0, 4), gene(4, 5), gene(5, 4), gene(5, 3)), {0: 0, 1: 0, 2: 0, 4: 1, 5: 2, 3: 3}),  # a cycle
        (genome(gene(4, 3)), {0: 0, 1: 0, 2: 0, 4: 1, 3: 2}),  # no input reaches it
        (genome(gene(0, 4), gene(1, 5), gene(4, 5), gene(5, 3)), {0: 0, 1: 0, 2: 0, 4: 1, 5: 2, 3: 3}),  # the longest
    ],
)
def test_nodes_stand_behind_all_that_reach_them(told, wanted):
    assert depths(told) == wanted


def test_connections_have_the_colour_of_their_sign():
    figure = draw_net(CHAIN)
    (axes,) = figure.axes
    arrows = [note.arrow_patch for note in axes.texts if note.arrow_patch is not None]
    colours = ["#" + "".join(f"{round(255 * part):02x}" for part in arrow.get_edgecolor()[:3]) for arrow in arrows]
    assert sorted(colours) == sorted([PALETTE[1], *[PALETTE[0]] * 3])
    widths = {colour: arrow.get_linewidth() for colour, arrow in zip(colours, arrows, strict=True)}
    assert widths[PALETTE[1]] > widths[PALETTE[0]]
    assert all(name in to_svg(figure) for name in ("in 1", "in 2", "bias", "out 1"))


def test_page_tells_what_the_run_has_left(tmp_path):
    run = altprop.evolve("neat", "xor", generations=3, arguments={"size": 12}, out=tmp_path / "run")
    (tmp_path / "run" / "champion.gif").write_bytes(b"GIF89a")
    page = write_report(tmp_path / "run").read_text()
    for said in ("fitness of the champion", "after generation 3 of 3, 36 evaluations", "species", "hidden", "genes"):
        assert said in page
    assert "data:image/gif;base64,R0lGODlh" in page
    assert search_context(tmp_path / "run")["headline"].value == f"{run.fitness:.2f}"


def test_page_of_data_and_of_failures(tmp_path):
    altprop.evolve("ga", data="digits", net="64-4-10", generations=2, arguments={"size": 4}, out=tmp_path / "run")
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(rows[-1]) | {"failed": 3, "best": None, "fitness": {}}
    (tmp_path / "run" / "metrics.jsonl").write_text(f"{rows[0]}\n{json.dumps(last)}\n")
    headline = search_context(tmp_path / "run")["headline"]
    assert headline.what == "test accuracy" and headline.value.endswith(" %") and "3 of which failed" in headline.beside
    write_report(tmp_path / "run")


def test_champion_that_cannot_be_drawn_says_why(tmp_path):
    altprop.evolve("neat", "xor", generations=1, arguments={"size": 4}, out=tmp_path / "run")
    (tmp_path / "run" / "champion.json").write_text('{"kind": "neat"}')
    assert "the champion cannot be drawn: KeyError" in write_report(tmp_path / "run").read_text()


def test_code_of_a_program_is_shown(tmp_path):
    altprop.evolve("gp", "symbolic_regression", generations=1, arguments={"size": 8}, out=tmp_path / "run")
    assert "def f(x0)" in write_report(tmp_path / "run").read_text()
