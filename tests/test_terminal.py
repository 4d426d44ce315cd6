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


@pytest.mark.parametrize("name", COMMANDS)
def test_no_word_is_broken(name, tmp_path, monkeypatch, capsys):
    """Every word at 80 columns is a word at 1000, and none is lost; no line of a table is wider."""
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)
    words, table = COMMANDS[name]
    result = json.loads(run_cli(capsys, *words, "--json").out)
    narrow, wide = lines(table, result, 80), lines(table, result, 1000)
    assert set(" ".join(narrow).split()) - {"─" * n for n in range(100)} == {
        word for word in " ".join(wide).split() if set(word) != {"─"}
    }
    assert all(len(line) <= 80 for line in narrow if table != "summary" and line.startswith(" "))


def test_list_says_in_words_what_a_name_is(capsys):
    """One line each, the first sentence of the rule's own words."""
    out = run_cli(capsys, "list").out.splitlines()
    said = [" ".join(line.split()) for line in out]
    assert "dfa feedback Direct feedback alignment (Nokland 2016, eq. 7)" in said
    about = {row["name"]: row["about"] for row in run_cli(capsys, "list", "--json").json["rules"]}
    assert about["bp"] == "Backpropagation (Rumelhart et al. 1986) without autograd"
    assert all(10 < len(text) < 120 and not text.endswith(".") for text in about.values())
