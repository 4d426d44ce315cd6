"""Tables on a terminal of 80 columns.  The oracle is a terminal so wide that nothing breaks: the same words."""

import io
import json

import pytest
from rich.console import Console
from run_helpers import run_cli, toy_file

from altprop.reports import terminal

SMALL = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "1"]
COMMANDS = {
    "list": (["list"], "rules"),
    "train": (["train", "drtp", *SMALL, "--out", "a-run/" + "longer/than/a/line/" * 5], "summary"),
    "compare": (["compare", "--rules", "bp,fa,shallow,drtp", *SMALL, "--seeds", "2"], "comparison"),
    "reproduce": (["reproduce", "pepita", "--status"], "reproduction"),
    "data list": (["data", "list"], "data_sets"),
}  # fmt: skip


def lines(table, result, width):
    text = io.StringIO()
    getattr(terminal, table)(Console(file=text, width=width, markup=False, highlight=False, force_terminal=True,
                                     color_system=None), result)  # fmt: skip
    return text.getvalue().splitlines()


def words_of(lines):
    return {word for line in lines for word in line.split() if set(word) != {"─"}}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_word_is_broken(name, tmp_path, monkeypatch, capsys):
    """Every word at 80 columns and more is a word at 1000, and none is lost; no line of a table is wider."""
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)
    words, table = COMMANDS[name]
    result = json.loads(run_cli(capsys, *words, "--json").out)
    wide = words_of(lines(table, result, 1000))
    for width in (80, 100, terminal.WIDE):
        narrow = lines(table, result, width)
        assert words_of(narrow) == wide
        assert all(len(line) <= width for line in narrow if table != "summary" and line.startswith(" "))


def test_prose_makes_room_for_a_long_word(capsys):
    """Of two columns that want the same width the one of short words goes on in the next line."""
    row = {"id": "a/" * 50, "note": "a few words " * 10}
    columns = [("row", lambda r: r["id"]), ("note", lambda r: r["note"])]
    console = Console(width=terminal.WIDE, markup=False, highlight=False, force_terminal=True, color_system=None)
    terminal._table(console, columns, [row], None)
    assert row["id"] in capsys.readouterr().out


def test_list_says_in_words_what_a_name_is(capsys):
    """One line each, the first sentence of the rule's own words."""
    out = run_cli(capsys, "list").out.splitlines()
    said = [" ".join(line.split()) for line in out]
    assert "dfa feedback Direct feedback alignment (Nokland 2016, eq. 7)" in said
    about = {row["name"]: row["about"] for row in run_cli(capsys, "list", "--json").json["rules"]}
    assert about["bp"] == "Backpropagation (Rumelhart et al. 1986) without autograd"
    assert all(10 < len(text) < 120 and not text.endswith(".") for text in about.values())
