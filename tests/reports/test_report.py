"""The HTML report: what it shows of which files, what it does about missing ones, and that nothing breaks out of it."""

import json
import os
import re
import statistics
import xml.dom.minidom
from html.parser import HTMLParser
from itertools import pairwise
from unittest.mock import Mock

import matplotlib
import pytest
import scipy.stats

from altprop.panels import style
from altprop.reports import charts, comparison, curves, single
from altprop.reports.charts import Entry
from altprop.reports.page import ReportError, write_report
from altprop.run.directory.records import read_run

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
    assert [len(page.all(tag)) for tag in ("h1", "caption", "table")] == [1, 2, 2]
    shown_by = dict(have["aria-label"].split("; shown: ") for have in page.all("svg"))
    assert shown_by == {  # a family whose only rule is the reference has no lines of its own
        "Dot chart: test accuracy (%) with 95 % intervals, by family": "bp, pepita",
        "Scatter chart: test accuracy (%) over cost": "bp, pepita",
        "Dot chart: angle to backpropagation in degrees, by rule and layer": "bp, pepita",
        "Line chart: test accuracy (%) over epochs, error of the output": "bp, pepita",
    }
    assert len(page.all("figure")) == len(page.all("svg", role="img")) == 4
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("details")) == 1 + 1 + 6
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
                  "angle to backpropagation, hidden 2 (°) 78.0", "cpu a processor"):  # fmt: skip
        assert words in text, words
    assert [label.rpartition(": ")[2] for label in labels(path)[:2]] == ["train, validation, test", "train, test"]


def test_the_headline_is_the_last_row_of_metrics(tmp_path):
    """The first epoch's, the training part's, or a number that was never written."""
    run = make_run(tmp_path / "one", lines=[line(1, test_accuracy=0.9), line(2, test_accuracy=0.8125)])
    assert single.headline(read_run(run)) == ("81.25 %", "test accuracy", "")
    counts = [[30, 2], [1, 7]]
    measured = {"confusion": {"classes": ["a", "b"], "counts": counts}}
    (run / "measures.json").write_text(json.dumps(measured))
    page = shown(write_report(run))
    assert "81.25 % test accuracy of 40 unseen samples; always the largest class would be 80.00 %." in page
    assert "answers alike" not in page
    measured["confusion"]["counts"] = [[32, 0], [8, 0]]
    (run / "measures.json").write_text(json.dumps(measured))
    assert "the share of one class, as of a net that always answers alike" in shown(write_report(run))


def test_the_headline_of_a_regression_is_its_r2(tmp_path):
    """In the target's own units, and without its panel the loss."""
    run = make_run(tmp_path / "one", lines=[line(1, train_accuracy=None, test_accuracy=None, test_loss=0.25)])
    assert single.headline(read_run(run)) == ("0.250", "test loss", "")
    scores = {"r2": 0.8765, "mae": 3.21, "rmse": 4.5, "true": [[1.0], [2.0]], "said": [[1.5], [2.5]]}
    (run / "measures.json").write_text(json.dumps({"regression": scores}))
    text = shown(write_report(run))
    assert "0.876 R² on the test part mean absolute error 3.21, RMSE 4.50, in the target’s own units" in text


def test_layers_have_one_name_and_one_colour_each(tmp_path):
    """In the curves, the panels and the comparison: hidden 1, hidden 2, output, dark to bright."""
    norms = {"1": 3.0, "3": 4.0, "5": 5.0}
    run = read_run(make_run(tmp_path / "one", lines=[line(e, weight_norm=norms) for e in (1, 2)]))
    assert run.depths == {"1": "hidden 1", "3": "hidden 2", "5": "output"}
    page = write_report(tmp_path / "one").read_text()
    assert "layer 1" not in page and page.count(">hidden 1</text>") == page.count(">output</text>") == 2
    assert [style.depth_colour(name, run.depths) for name in norms] == [style.DEPTH[0], style.DEPTH[4], style.DEPTH[7]]
    only = read_run(make_run(tmp_path / "two", lines=[line(1, weight_norm={"1": 2.0}, angle_to_bp=None)]))
    assert only.depths == {"1": "output"}


def test_one_epoch_is_a_dot_over_its_own_number():
    """An axis from .6 to 1.4 epochs, or one that magnifies what has no change."""
    figure = curves.learning_curves({"train": [[89.0]], "test": [[90.0]]}, quantity="accuracy (%)")
    (axes,) = figure.axes
    assert axes.get_xlim() == (0, 2) and axes.get_xticks().tolist() == [1]
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 90
    many = curves.learning_curves({"train": [[89.0, 90.0]]}, quantity="accuracy (%)").axes[0]
    assert many.get_xlim() == (1, 2) and all(tick == int(tick) for tick in many.get_xticks())


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
    assert "test accuracy (%) –" in shown(path) and "%</b>" not in path.read_text()
    rows = [{"rule": "bp", "test_accuracy_mean": None, "test_loss_mean": 0.123456, "n": 3}]
    folder = make_comparison(tmp_path / "all", ("bp",), rows=rows)
    for run in folder.glob("*-seed*"):
        (run / "metrics.jsonl").write_text('{"epoch": 1, "loss": 2, "test_loss": 3, "test_accuracy": null}\n')
    path = write_report(folder)
    assert "0.123 (3)" in shown(path) and len(labels(path)) == 2
    assert labels(path)[0].startswith("Dot chart: test loss") and "test loss over epochs" in labels(path)[1]


def test_values_that_are_not_finite_are_named_and_not_drawn(tmp_path):
    nan, inf = float("nan"), float("inf")
    lines = [line(1), line(2, loss=nan), line(3, loss=inf, angle_to_bp={"1": None, "3": nan})]
    text = shown(write_report(make_run(tmp_path / "one", lines=lines, epochs=3)))
    assert "loss infinite" in text and "hidden 2 (°) not a number" in text and "hidden 1 (°) –" in text


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
    path = write_report(make_comparison(tmp_path, (), rows=rows))
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


def test_angles_have_a_line_of_chance_and_cover_large_ones():
    deep = {f"hidden {k}": [[90.0, 150.0 - k]] for k in range(20)}
    (axes,) = curves.learning_curves(deep, quantity="angle", degrees=True).axes
    assert axes.get_ylim()[1] == 180 and "chance" in [text.get_text() for text in axes.texts]
    assert sum(text.get_text().startswith("hidden") for text in axes.texts) == 8  # as many as have room


def entries():
    return [
        Entry(0, "ref", "gradient", 98.0, 97.5, 98.5, 1.0, [[90.0, 98.0]], {"hidden 1": [[0.0, 0.0]]}, "98.00"),
        Entry(1, "low", "feedback", 60.0, 50.0, 70.0, 2.0, [[30.0, 60.0]], {"hidden 1": [[80.0, 70.0]]}, "60.00"),
        Entry(2, "high", "feedback", 99.0, None, None, 3.0, [[95.0, 99.0]], {"output": [[0.0, 1.0]]}, "99.00"),
    ]


def drawn(figure, kind):
    """By its number, each mark of that kind."""
    return {
        int(mark.get_gid()[2:].partition("-")[0]): mark.get_xydata().tolist()
        for axes in figure.axes for mark in axes.lines if str(mark.get_gid()).endswith(f"-{kind}")
    }  # fmt: skip


def test_dots_stand_by_family_and_value_with_their_intervals():
    """A rule on another's row, an interval that is none, families in the order of names."""
    figure = charts.dots(entries(), "test accuracy (%)", "ref", percent=True)
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["high", "low", "ref"]  # the family of the best first, the best of it first
    places = dict(zip(names, axes.get_yticks().tolist(), strict=True))
    assert drawn(figure, "dot") == {
        0: [[98.0, places["ref"]]], 1: [[60.0, places["low"]]], 2: [[99.0, places["high"]]]
    }  # fmt: skip
    assert drawn(figure, "interval") == {
        0: [[97.5, places["ref"]], [98.5, places["ref"]]], 1: [[50.0, places["low"]], [70.0, places["low"]]]
    }  # fmt: skip
    low, high = axes.get_xlim()
    assert low < 50 and high > 99 and axes.get_ylim()[0] > axes.get_ylim()[1]
    assert {text.get_text() for text in axes.texts} >= {"98.00", "60.00", "99.00", "feedback", "gradient"}


def test_less_is_better_where_it_is_a_loss():
    families = charts.by_family(entries(), smaller=True)
    assert {name: [one.name for one in members] for name, members in families.items()} == {
        "feedback": ["low", "high"], "gradient": ["ref"],
    }  # fmt: skip
    assert list(charts.by_family(entries())) == ["feedback", "gradient"]


@pytest.mark.parametrize(("values", "far"), [([60.0, 99.0], True), ([97.0, 98.0], False), ([-1.0, 99.9], False)])
def test_the_axis_is_stretched_only_where_errors_lie_far_apart(values, far):
    assert charts.stretched(values, percent=True) == far and not charts.stretched(values, percent=False)
    back = charts._shrink(charts._stretch(values))
    assert back == pytest.approx(values)


def test_cost_is_drawn_against_what_was_reached():
    figure = charts.against_cost(entries(), "accuracy", "seconds", "ref", percent=True)
    assert drawn(figure, "cost") == {0: [[1.0, 98.0]], 1: [[2.0, 60.0]], 2: [[3.0, 99.0]]}
    assert [text.get_text() for text in figure.axes[0].texts] == ["ref", "high", "low"]


def test_names_of_dots_never_overlap():
    """Twenty rules at one place: those that have no room are told by a pointer alone."""
    crowd = [Entry(k, f"rule {k}", "one", 90 + k / 100, cost=1 + k / 100) for k in range(20)]
    crowd.append(Entry(20, "far", "one", 20.0, cost=9.0))
    figure = charts.against_cost(crowd, "accuracy", "seconds")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert 0 < len(boxes) < 21
    assert not [1 for a in boxes for b in boxes if a is not b and a.shrunk(0.9, 0.8).overlaps(b.shrunk(0.9, 0.8))]


def test_lines_of_a_family_stand_before_those_of_the_others():
    figure = charts.family_curves(entries(), "feedback", "accuracy", "ref", percent=True)
    assert {number for number in drawn(figure, "line")} == {0, 1, 2} and drawn(figure, "behind") == {}
    assert drawn(figure, "line")[1] == [[1, 30.0], [2, 60.0]]
    other = charts.family_curves(entries(), "gradient", "accuracy", None, percent=True)
    assert set(drawn(other, "line")) == {0} and set(drawn(other, "behind")) == {1, 2}


def test_angles_of_all_rules_end_at_their_dots():
    figure = charts.alignment(entries(), "angle", "ref")
    assert {number: xy[0][0] for number, xy in drawn(figure, "angle0").items()} == {0: 0.0, 1: 70.0}
    assert drawn(figure, "angle1")[2][0][0] == 1.0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hidden 1", "output"]


def test_intervals_are_students():
    """Of the mean over seeds, not of one seed; none of a single one."""
    values = [0.90, 0.94, 0.98]
    row = {"test_accuracy_mean": statistics.mean(values), "test_accuracy_std": statistics.stdev(values), "n": 3}
    low, high = comparison.interval(row, comparison.SCORES[0])
    expected = scipy.stats.t.interval(0.95, 2, loc=statistics.mean(values), scale=scipy.stats.sem(values))
    assert (low, high) == pytest.approx((100 * expected[0], min(100, 100 * expected[1])))
    assert comparison.interval({**row, "n": 1}, comparison.SCORES[0]) == (None, None)


def test_the_reference_is_what_the_file_says():
    """By its own field, or by the name of the differences in files of former versions; none is none."""
    assert comparison.reference_of({"rows": [{"difference_to_old": 1}], "reference": "new"}) == "new"
    assert comparison.reference_of({"rows": [{"rule": "x"}, {"difference_to_old": None}]}) == "old"
    assert comparison.reference_of({"rows": [{"rule": "x"}]}) is None


def test_another_reference_is_shown_as_such(tmp_path):
    rows = [{**{key: value for key, value in ROW.items() if key != "difference_to_bp"}, "rule": rule,
             "difference_to_x": -0.05} for rule in ("x", "y")]  # fmt: skip
    text = shown(write_report(make_comparison(tmp_path, ("x", "y"), rows=rows, reference="x")))
    assert "Difference to x (points)" in text and "−5.00" in text


def test_scores_of_a_regression(tmp_path):
    """R2 in place of accuracy, with its interval where there is one, and the loss over epochs."""
    rows = [{**ROW, "rule": rule, "test_accuracy_mean": None, "test_accuracy_std": None, "test_r2_mean": r2,
             "test_r2_std": 0.05, "test_loss_mean": 0.2} for rule, r2 in (("bp", 0.75), ("pepita", 0.5))]  # fmt: skip
    folder = make_comparison(tmp_path, rows=rows)
    for run in folder.glob("*-seed*"):
        lines = [line(e, train_accuracy=None, test_accuracy=None, test_loss=3.0 / e) for e in (1, 2, 3, 4)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    text, told = shown(write_report(folder)), labels(folder / "report.html")
    assert "0.750 bp, the best R²" in text and "0.500 ± 0.0500 (3)" in text and "points" not in text
    assert told[0].startswith("Dot chart: R²") and told[-1].startswith("Line chart: test loss over epochs")


def test_costs_are_taken_where_they_are_told():
    rows = [{"seconds_per_epoch": 1.0, "multiply_adds": 10.0}, {"seconds_per_epoch": 2.0, "multiply_adds": 5.0}]
    assert comparison.cost_of(rows)[0] == "multiply_adds"
    assert comparison.cost_of([{**row, "step_ratio_to_bp": 1.0} for row in rows])[0] == "step_ratio_to_bp"
    assert comparison.cost_of([{"seconds_per_epoch": 1.0}, {}]) is None


def test_further_costs_are_columns(tmp_path):
    rows = [{**ROW, "multiply_adds": 123456, "parameter_bytes": 4000}]
    text = shown(write_report(make_comparison(tmp_path, (), rows=rows)))
    assert "Multiply-adds Parameter" in text and "123 k" in text and "4.00 kB" in text


def test_a_picture_for_a_readme_has_both_schemes():
    """Light by its own colours, dark by a style inside it."""
    svg = style.to_picture(charts.dots(entries(), "test accuracy (%)", "ref", percent=True))
    assert "@media (prefers-color-scheme: dark)" in svg and f"--ink:{style.DARK['ink']}" in svg
    assert f"var(--ink, {style.INK})" in svg and "<script" not in svg
    xml.dom.minidom.parseString(svg)


def test_figures_can_be_saved(tmp_path):
    extreme = {"$x_{": [[1e308, float("nan"), None], [-1e308, 1e300, -1.0]], "b": [[1e-90]]}
    for figure in (curves.learning_curves(extreme, quantity="loss", log=True), charts.alignment(entries(), "angle")):
        for suffix in ("svg", "png", "pdf"):
            assert style.save(figure, tmp_path / f"figure.{suffix}").stat().st_size > 1000


def test_a_vanished_gradient_is_said_in_place_of_an_angle(tmp_path):
    """A number would be read as alignment, an empty cell as nothing measured."""
    faint = {"angle_to_bp": {"1": None, "3": 40.0, "5": 0.0}, "vanished_gradient": {"1": 2.5e-9}}
    page = write_report(make_run(tmp_path / "run", lines=[line(n, **faint) for n in (1, 2)])).read_text()
    assert re.search(r"none: the gradient has vanished \(2\.5[^)]{2,9} of the largest\)", page)
    assert "own gradient has vanished in hidden 1: an angle to it would mean nothing" in page
    assert "vanished" not in write_report(make_run(tmp_path / "plain")).read_text()
