"""Runs on tables: answers do not depend on the order of a file's columns or its dialect. Oracle: the first answer."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from run_helpers import assert_refused, rows, run_cli, same_bits, toy, toy_tensors

import altprop
from altprop.data import DataError, load
from altprop.limits import Interrupted
from altprop.run.experiment import evaluate_run, resume_run
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe

NAMES = ["a", "b", "c", "d", "e", "f"]
QUICK = ["--net", "7-5-3", "--epochs", 3, "--lr", 0.05, "--no-measure"]
KINDS = ["cat", "dog", "eel"]


def write(name, order=NAMES, separator=",", rename=None, more=(), kind=True, colour=("red", "blue"), n=60):
    """The toy task with one column more of text; columns in any order."""
    x, y = toy(n)
    columns = {name: [f"{value:.7g}" for value in x[:, i]] for i, name in enumerate(NAMES)}
    columns["colour"] = [colour[i % len(colour)] for i in range(n)]
    columns["kind"] = [KINDS[label] for label in y]
    columns |= {name: [str(i) for i in range(n)] for name in more}
    names = [*more, *order, "colour", *(["kind"] if kind else [])]
    lines = [separator.join(cells) for cells in zip(*(columns[name] for name in names), strict=True)]
    if separator == ";":
        lines = [line.replace(".", ",") for line in lines]
    header = separator.join((rename or {}).get(name, name) for name in names)
    Path(name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-16" if separator == ";" else "utf-8")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("pets.csv")


def train(capsys, *options, data="pets.csv", out="run"):
    told = run_cli(capsys, "train", "bp", "--data", data, "--label", "kind", "--categories", "colour", *QUICK,
                   "--net", "8-5-3", "--out", out, *options)  # fmt: skip
    assert told.status == 0, told.err
    return told


def test_predict_finds_columns_by_name(capsys):
    """By place, turned columns gave other answers without a word."""
    train(capsys, "--scale", "standard")
    expected = run_cli(capsys, "predict", "run", "pets.csv")
    assert expected.err == "" and expected.out.count("\n") == 61
    write("turned.csv", NAMES[::-1], kind=False)
    assert run_cli(capsys, "predict", "run", "turned.csv") == expected
    write("german.csv", NAMES[3:] + NAMES[:3], separator=";")
    assert run_cli(capsys, "predict", "run", "german.csv") == expected
    write("more.csv", more=["id", "page"])
    more = run_cli(capsys, "predict", "run", "more.csv")
    assert more.out == expected.out
    assert more.err == "altprop: more.csv: left out what training did not have: columns 'id', 'page'\n"
    write("renamed.csv", rename={"c": "sea"})
    assert_refused(run_cli(capsys, "predict", "run", "renamed.csv"), "renamed.csv", "no column 'c'", "training")
    write("pink.csv", colour=("red", "blue", "pink"))
    assert_refused(run_cli(capsys, "predict", "run", "pink.csv"), "row 3 (line 4)", "'colour'", "'pink'")
    np.savez("x.npz", x=np.zeros((2, 8), np.float32))
    assert "in their order" in run_cli(capsys, "predict", "run", "x.npz").err


def test_eval_and_compare_read_turned_columns_alike(capsys):
    """What the data set of a run is read anew for."""
    train(capsys)
    before = run_cli(capsys, "eval", "run", "--json").json
    options = ["compare", "--rules", "bp", "--data", "pets.csv", "--label", "kind", "--categories", "colour",
               "--seeds", 1, "--out", "both", "--net", "8-5-3", "--epochs", 1]  # fmt: skip
    first = run_cli(capsys, *options, "--json").json["rows"][0]["test_loss_mean"]
    write("pets.csv", NAMES[::-1], more=["id"])
    after = run_cli(capsys, "eval", "run", "--json")
    assert after.json == before and after.err.count("\n") == 1 and "'id'" in after.err
    again = run_cli(capsys, *options, "--json")
    assert again.json["rows"][0]["test_loss_mean"] == first and "'id'" in again.err
    write("pets.csv", rename={"c": "sea"})
    assert_refused(run_cli(capsys, "eval", "run"), "no column 'c'")


def test_resume_reads_turned_columns_alike():
    """To the bit."""
    settings = {"label": "kind", "categories": ["colour"], "epochs": 4, "scale": "unit", "val": 0.1}
    altprop.fit("bp", "8-5-3", "pets.csv", out="whole", **settings)

    def stop(row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        altprop.fit("bp", "8-5-3", "pets.csv", out="half", report=stop, **settings)
    write("pets.csv", NAMES[::-1])
    resume_run("half")
    ends = [safetensors.torch.load_file(f"{run}/rule.safetensors") for run in ("whole", "half")]
    assert same_bits(*ends) and rows("whole") == rows("half")


def test_data_given_from_python_are_turned_too():
    names = {"label": "kind", "categories": ["colour"]}
    altprop.fit("bp", "8-5-3", load("pets.csv", **names), out="run", epochs=1, scale="standard")
    before = evaluate_run("run", data=load("pets.csv", **names))
    write("turned.csv", NAMES[::-1])
    after = evaluate_run("run", data=load("turned.csv", **names))
    assert after["test_loss"] == pytest.approx(before["test_loss"], abs=1e-6)
    write("renamed.csv", rename={"c": "sea"})
    with pytest.raises(DataError, match="no feature 'c'"):
        evaluate_run("run", data=load("renamed.csv", **names))
    with pytest.raises(RunError, match="categories came beside data given from Python"):
        altprop.fit("bp", "6-3", toy_tensors(), categories=["a"])


def test_runs_without_names_are_read_as_before(capsys):
    """data.json of a run that kept none; one that is damaged is told."""
    train(capsys)
    expected = run_cli(capsys, "predict", "run", "pets.csv")
    path = Path("run/data.json")
    whole = json.loads(path.read_text())
    assert whole["features"] == [*NAMES, "colour=blue", "colour=red"]
    old = {key: value for key, value in whole.items() if key not in ("features", "table")}
    path.write_text(json.dumps(old))
    assert run_cli(capsys, "eval", "run").status == 0
    x = load("pets.csv", label="kind", categories=["colour"])
    np.savez("x.npz", x=torch.cat([x.x_train, x.x_test]).numpy())
    assert run_cli(capsys, "predict", "run", "x.npz").err == ""
    path.write_text(json.dumps(whole))
    assert run_cli(capsys, "predict", "run", "pets.csv") == expected
    for spoilt in (
        {**whole, "features": ["a"]},
        {**whole, "table": {**whole["table"], "columns": ["a"]}},
        {**whole, "table": {"columns": 3}},
        {**whole, "table": [1]},
    ):
        path.write_text(json.dumps(spoilt))
        assert_refused(run_cli(capsys, "predict", "run", "pets.csv"), "data.json", "damaged")


def test_names_without_a_table_count_too(capsys):
    """Of data that were named in Python."""
    train(capsys)
    path = Path("run/data.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "table": None}))
    lines = Path("pets.csv").read_text().splitlines()
    assert_refused(run_cli(capsys, "predict", "run", "pets.csv"), "no column 'colour=blue'")
    hot = [",".join([*line.split(",")[:6], *(("0", "1") if "red" in line else ("1", "0"))]) for line in lines[1:]]
    Path("hot.csv").write_text("\n".join(["a,b,c,d,e,f,colour=blue,colour=red", *hot]) + "\n")
    assert run_cli(capsys, "predict", "run", "hot.csv").err == ""


def test_missing_values_from_training_to_prediction(capsys):
    holed = Path("pets.csv").read_text().splitlines()
    holed[5] = "NA," + holed[5].partition(",")[2]
    Path("holed.csv").write_text("\n".join(holed) + "\n")
    refused = run_cli(capsys, "train", "bp", "--data", "holed.csv", "--label", "kind", "--categories", "colour")
    assert_refused(refused, "row 5 (line 6)", "column 'a'", "'NA'", "--missing drop")
    told = train(capsys, "--missing", "drop", "--json", data="holed.csv", out="dropped")
    assert told.err == "altprop: " + told.err.removeprefix("altprop: ") and told.err.count("\n") == 1
    assert "1 of 60 rows" in told.err and told.json["run"] == "dropped"
    assert_refused(run_cli(capsys, "predict", "dropped", "holed.csv"), "row 5 (line 6)", "--missing mean")
    train(capsys, "--missing", "mean", data="holed.csv", out="filled")
    mean = json.loads(Path("filled/data.json").read_text())["table"]["means"][0]
    expected = run_cli(capsys, "predict", "filled", "holed.csv")
    Path("by_hand.csv").write_text(Path("holed.csv").read_text().replace("\nNA,", f"\n{mean!r},"))
    assert run_cli(capsys, "predict", "filled", "by_hand.csv") == expected and expected.out.count("\n") == 61


def test_the_task_from_the_command_line(capsys):
    """One line says what was taken, beside clean JSON; the option says otherwise."""
    Path("prices.csv").write_text("a,label\n" + "".join(f"{i},{1000 + 50 * (i // 2)}\n" for i in range(60)))
    taken = run_cli(capsys, "data", "info", "prices.csv", "--json")
    assert taken.json["task"] == "classification" and taken.err.count("\n") == 1
    assert taken.err.startswith("altprop: prices.csv: ") and "--task regression" in taken.err
    again = run_cli(capsys, "data", "info", "prices.csv", "--json")
    assert again == taken, "what one process has told before, another command tells again"
    asked = run_cli(capsys, "data", "info", "prices.csv", "--json", "--task", "regression")
    assert asked.json["task"] == "regression" and asked.json["outputs"] == 1 and asked.err == ""
    seeds = ["--seeds", 2, "--epochs", 1, "--net", "1-30", "--out", "both"]
    both = run_cli(capsys, "compare", "--rules", "bp", "--data", "prices.csv", *seeds, "--json")
    assert both.json["rows"] and both.err == taken.err
    assert_refused(run_cli(capsys, "train", "bp", "--data", "prices.csv", "--task", "rank"), "task = 'rank'")
    assert_refused(run_cli(capsys, "train", "bp", "--data", "pets.csv", "--label", "kind", "--categories", "colour",
                           "--task", "regression"), "row 1 (line 2)", "'cat'", "regression")  # fmt: skip


def test_the_task_in_python():
    x, y = torch.rand(40, 3), torch.arange(40) % 8
    result = altprop.fit("bp", "3-1", (x, y), task="regression", epochs=1)
    assert result.rule.classes == 1 and result.metrics[0]["test_accuracy"] is None
    data = load("pets.csv", label="kind", categories=["colour"])
    with pytest.raises(RunError, match="task 'regression' came for data of classification"):
        altprop.fit("bp", "8-3", data, task="regression")


def test_old_recipes_keep_their_hash():
    """Finished rows are found by the keys that are not at their default."""
    keys = make_recipe(rule="drtp", data="mnist", task=None, categories=[], missing=None, encoding=None).experiment()
    assert keys == {"rule": "drtp", "data": "mnist"}
    assert "categories" not in make_recipe().toml()
