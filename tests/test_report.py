"""The HTML report: what it shows of which files, what it does about missing ones, and that nothing breaks out of it."""

import json
import os
import re
from html.parser import HTMLParser
from itertools import pairwise
from unittest.mock import Mock

import matplotlib
import pytest

from altprop.panels import style
from altprop.reports import curves
from altprop.reports.page import ReportError, write_report

CLAIMS = {"weight_transport": "none", "locking": "forward", "signal": "error", "labels": True, "passes": 2}
ROW = {
    "rule": "pepita", "activation": "tanh", "lr": 0.05, "test_accuracy_mean": 0.9382, "test_accuracy_std": 0.0041,
    "n": 3, "difference_to_bp": -0.0268, "difference_low": -0.031, "difference_high": -0.0226,
    "seconds_per_epoch": 0.0512, "step_ratio_to_bp": 1.237, "peak_activation_bytes": 12345, "claims": CLAIMS,
}  # fmt: skip


def line(epoch, **changes):
    entry = {"epoch": epoch, "step": 23 * epoch, "loss": 2.5 / epoch, "train_accuracy": 0.5 + 0.02 * epoch,
             "test_accuracy": 0.45 + 0.02 * epoch, "seconds": 0.12, "lr": 0.1,
             "angle_to_bp": {"1": 90 - epoch, "3": 80 - epoch, "5": 0.0}}  # fmt: skip
    return {**entry, **changes}


def make_run(folder, rule="pepita", seed=0, lines=None, epochs=4, recipe=""):
    folder.mkdir(parents=True)
    text = f'rule = "{rule}"\ndata = "digits"\nnet = "64-32-10"\nepochs = {epochs}\nlr = 0.05\nseed = {seed}\n'
    (folder / "recipe.toml").write_text(f'{text}{recipe}\n[arguments]\ninit = "uniform"\n')
    (folder / "environment.json").write_text(json.dumps({"torch": "2.9.0", "cpu": "a processor", "threads": 1}))
    lines = [line(epoch) for epoch in range(1, epochs + 1)] if lines is None else lines
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    return folder


def make_comparison(folder, rules=("bp", "pepita"), seeds=(0, 1, 2), rows=None, **changes):
    folder.mkdir(exist_ok=True)
    for rule in rules:
        for seed in seeds:
            make_run(folder / f"{rule}-seed{seed}", rule, seed)
    rows = [{**ROW, "rule": rule} for rule in rules] if rows is None else rows
    content = {"data": "digits", "net": "64-32-10", "epochs": 4, "seeds": list(seeds), "report": "test", "rows": rows}
    (folder / "comparison.json").write_text(json.dumps({**content, **changes}))
    return folder


class Page(HTMLParser):
    """The elements of a page, (tag, attributes); each that opens closes."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag, **attributes):
        return [have for name, have in self.elements if name == tag and attributes.items() <= have.items()]


def shown(path):
    """The page's text without tags, figures, style and script, its white space single."""
    text = re.sub(r"<(style|script|svg)\b.*?</\1>|<[^>]*>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", text).replace("&nbsp;", " ")


def labels(path):
    return [have["aria-label"] for have in Page(path).all("svg")]


def refused(folder, *words, out=None):
    with pytest.raises(ReportError) as caught:
        write_report(folder, out)
    message = str(caught.value)
    assert "\n" not in message and [word for word in words if str(word) not in message] == []


def test_comparison_shows_its_numbers(tmp_path):
    text = shown(write_report(make_comparison(tmp_path)))
    for words in ("Comparison on digits", "93.82 ± 0.41 (3)", "▼ −2.68 [−3.10, −2.26]", "0.0512", "1.24", "12.3 kB",
                  "none", "forward", "error", "tanh", "2.9.0", "pepita-seed2", "rule = &#34;bp&#34;",
                  "4 of 4 epochs"):  # fmt: skip
        assert words in text, words


def test_comparison_structure(tmp_path):
    page = Page(write_report(make_comparison(tmp_path)))
    assert [len(page.all(tag)) for tag in ("title", "h1", "figure", "caption", "table")] == [1, 1, 3, 2, 2]
    assert len(page.all("svg", role="img")) == 3
    assert [have["aria-label"].partition("; shown: ")[2] for have in page.all("svg")] == ["bp, pepita"] * 3
    assert (tmp_path / "report.html").read_text().count(">chance</text>") == 2
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("details")) == 1 + 6
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {have["xlink:href"] for have in page.all("use")} <= {f"#{name}" for name in ids}


def test_page_asks_for_nothing_from_elsewhere(tmp_path):
    path = write_report(make_comparison(tmp_path))
    text = path.read_text()
    assert all(address.startswith("http://www.w3.org/") for address in re.findall(r"https?:[^\s\"<)]*", text))
    assert not re.findall(r"\bsrc=|@import|<!DOCTYPE svg|<metadata|file:", text)
    assert all(re.match("#|data:,$", have.get("href", "#")) for _, have in Page(path).elements)
    assert str(tmp_path) not in text


def test_single_run_shows_settings_and_last_metrics(tmp_path):
    lines = [line(1), line(2, val_accuracy=0.4321, test_loss=3)]
    path = write_report(make_run(tmp_path / "one", lines=lines, epochs=2))
    text = shown(path)
    assert "<title>pepita</title>" in path.read_text()
    for words in ("init uniform", "test accuracy (%) 49.00", "val accuracy (%) 43.21", "loss 1.25", "step 46",
                  "angle to bp, layer 3 (°) 78.0", "cpu a processor"):  # fmt: skip
        assert words in text, words
    assert [label.rpartition(": ")[2] for label in labels(path)[:2]] == ["train, validation, test", "train, test"]


EVIL = "<script>alert(1)</script>"


def test_names_cannot_break_out(tmp_path):
    evil = {"epoch": 1, "loss": 1.0, "test_accuracy": 0.5, "angle_to_bp": {EVIL: 3.0, '" onload="x': 4.0, "$x$": 2.0}}
    rows = [{**ROW, "rule": EVIL, "activation": EVIL, "claims": {"signal": EVIL}, "readout": EVIL}]
    folder = make_comparison(tmp_path / "all", (), rows=rows, data=EVIL, net=EVIL, report=EVIL)
    run = make_run(folder / "x-seed0", EVIL, lines=[evil], recipe=f'note = "{EVIL}]]>--></pre>"')
    (run / "environment.json").write_text(json.dumps({EVIL: EVIL}))
    for path, scripts in ((write_report(folder), 1), (write_report(run), 0)):
        page = Page(path)
        assert len(page.all("script")) == scripts
        assert not [have for _, have in page.elements if any(name.startswith("on") for name in have)]
        assert EVIL not in path.read_text() and "&lt;script&gt;" in path.read_text()


def test_missing_figures_are_dashes(tmp_path):
    nothing = {**dict.fromkeys(ROW), "rule": "bp"}
    path = write_report(make_comparison(tmp_path, rows=[nothing, {"rule": "fa"}]))
    assert shown(path).count("–") >= 24
    assert "None" not in shown(path) and "nan" not in shown(path)


def test_regression_without_accuracy_or_angles(tmp_path):
    lines = [line(epoch, train_accuracy=None, test_accuracy=None, angle_to_bp=None) for epoch in (1, 2)]
    del lines[0]["angle_to_bp"]
    path = write_report(make_run(tmp_path / "one", lines=lines))
    assert len(labels(path)) == 1 and "loss" in labels(path)[0]
    assert "test accuracy (%) –" in shown(path)
    rows = [{"rule": "bp", "test_accuracy_mean": None, "test_loss_mean": 0.123456, "n": 3}]
    folder = make_comparison(tmp_path / "all", ("bp",), rows=rows)
    for run in folder.glob("*-seed*"):
        (run / "metrics.jsonl").write_text('{"epoch": 1, "loss": 2, "test_loss": 3, "test_accuracy": null}\n')
    path = write_report(folder)
    assert "0.123 (3)" in shown(path) and "test loss" in labels(path)[0] and len(labels(path)) == 1


def test_values_that_are_not_finite_are_named_and_not_drawn(tmp_path):
    nan, inf = float("nan"), float("inf")
    lines = [line(1), line(2, loss=nan), line(3, loss=inf, angle_to_bp={"1": None, "3": nan})]
    text = shown(write_report(make_run(tmp_path / "one", lines=lines, epochs=3)))
    assert "loss infinite" in text and "layer 3 (°) not a number" in text and "layer 1 (°) –" in text


def test_unfinished_run_says_so(tmp_path):
    folder = make_comparison(tmp_path)
    with open(folder / "bp-seed1" / "metrics.jsonl", "w") as file:
        file.write(json.dumps(line(1)) + "\n" + json.dumps(line(2))[:30])  # the second line is being written
    for path in (write_report(folder), write_report(folder / "bp-seed1")):
        assert "Unfinished: bp-seed1 (1 of 4 epochs)" in re.sub(r" +:", ":", shown(path))


@pytest.mark.parametrize("remove", [False, True])
def test_run_without_an_epoch(tmp_path, remove):
    run = make_run(tmp_path / "one", lines=[])
    if remove:
        (run / "metrics.jsonl").unlink()
        (run / "environment.json").unlink()
    path = write_report(run)
    assert "No epoch has been measured yet" in shown(path) and "(0 of 4 epochs)" in shown(path)
    assert labels(path) == []


def test_an_interval_that_shows_0_is_not_marked(tmp_path):
    edges = [(-0.02, -1e-9), (-0.02, 0.01), (None, -0.01), (0.001, 0.02)]
    rows = [{**ROW, "difference_low": low, "difference_high": high} for low, high in edges]
    path = write_report(make_comparison(tmp_path, (), rows=rows))  # without the runs there are no figures
    assert labels(path) == []
    table = shown(path).partition("Passes")[2]
    assert (table.count("▼"), table.count("▲")) == (1, 1)
    assert "[−2.00, 0.00]" in table and "[−2.00, +1.00]" in table


def test_seeds_come_in_order_and_environments_that_differ_show_both(tmp_path):
    folder = make_comparison(tmp_path, ("pepita", "bp"), (0, 2, 10))
    (folder / "bp-seed2" / "environment.json").write_text(json.dumps({"torch": "2.4.1", "cuda": "12"}))
    text = shown(write_report(folder))
    places = [text.index(f"{rule}-seed{seed} ") for rule in ("pepita", "bp") for seed in (0, 2, 10)]
    assert places == sorted(places)
    assert "2.9.0 | 2.4.1" in text and "– | 12" in text


def test_same_input_same_bytes(tmp_path):
    folder = make_comparison(tmp_path)
    first = write_report(folder).read_bytes()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.fonttype": "path"}):
        assert write_report(folder).read_bytes() == first


def test_a_write_that_fails_leaves_the_old_report(tmp_path, monkeypatch):
    run = make_run(tmp_path / "one")
    (run / "report.html").write_text("old")
    before = sorted(os.listdir(run))
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_report(run)
    assert (run / "report.html").read_text() == "old" and sorted(os.listdir(run)) == before
    monkeypatch.undo()
    write_report(run)
    assert sorted(os.listdir(run)) == before and (run / "report.html").read_text() != "old"


def test_folders_that_are_no_run_and_other_places(tmp_path):
    refused(tmp_path, tmp_path, "neither recipe.toml nor comparison.json", "expected", "check the path")
    refused(tmp_path / "none", "no such directory", "expected")
    refused(make_run(tmp_path / "one"), "is a folder", "give the path of a file", out=tmp_path)
    assert write_report(tmp_path / "one", tmp_path / "new" / "page.html").is_file()
    assert not (tmp_path / "one" / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("recipe.toml", "rule = ", "TOML"),
        ("recipe.toml", b"\xff", "UTF-8"),
        ("environment.json", "[1]", "list"),
        ("metrics.jsonl", "{}\n", "line 1: epoch is missing"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epoch\n', "line 2"),
        ("metrics.jsonl", '{"epoch": 1, "loss": "low"}\n', "line 1: loss is 'low'"),
        ("metrics.jsonl", '{"epoch": 1, "angle_to_bp": {"1": []}}\n', "angle_to_bp.1 is []"),
        ("metrics.jsonl", '{"epoch": 1, "angle_to_bp": 3}\n', "angle_to_bp is 3"),
    ],
)
def test_unreadable_files_of_a_run(tmp_path, name, content, word):
    run = make_run(tmp_path / "one")
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(run, run / name, word, "expected", "again")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"rows": 3}', '{"rows": [3]}'])
def test_unreadable_comparison(tmp_path, content):
    (tmp_path / "comparison.json").write_text(content)
    refused(tmp_path, "comparison.json", "expected", "again")
    assert os.listdir(tmp_path) == ["comparison.json"]


def test_learning_curves_draw_mean_and_band():
    figure = curves.learning_curves({"bp": [[1.0, 2.0], {1: 3.0, 2: 4.0, 5: None}]}, quantity="loss")
    (mean,) = figure.axes[0].get_lines()
    assert mean.get_xydata().tolist() == [[1, 2], [2, 3]]
    (band,) = figure.axes[0].collections
    assert band.get_datalim(figure.axes[0].transData).extents == pytest.approx([1, 2 - 2**0.5, 2, 3 + 2**0.5])


def test_names_at_line_ends_do_not_overlap():
    figure = curves.learning_curves({str(k): [[50.0, 90 + k / 100]] for k in range(12)}, quantity="accuracy (%)")
    heights = sorted(text.xyann[1] for text in figure.axes[0].texts)
    assert len(heights) == 12 and heights[-1] <= 1
    assert all(b - a > 0.05 for a, b in pairwise(heights))


def test_alignment_has_a_panel_a_rule_and_covers_large_angles():
    deep = {f"block.{k}": [[90.0, 150.0 - k]] for k in range(20)}
    figure = curves.alignment({"fa": deep, "_dfa": {"_last": [[10.0]]}, "x": {}}, columns=2)
    drawn = [(axes.get_title(loc="left"), axes.get_ylim()[1]) for axes in figure.axes if axes.axison]
    assert drawn == [("fa", 180), ("_dfa", 180), ("x", 180)]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "layer block.0" and names[-1] == "layer _last" and len(names) == 8


def test_figures_can_be_saved(tmp_path):
    extreme = {"$x_{": [[1e308, float("nan"), None], [-1e308, 1e300, -1.0]], "b": [[1e-90]]}
    for figure in (curves.learning_curves(extreme, quantity="loss", log=True), curves.alignment({})):
        for suffix in ("svg", "png", "pdf"):
            assert style.save(figure, tmp_path / f"figure.{suffix}").stat().st_size > 1000
