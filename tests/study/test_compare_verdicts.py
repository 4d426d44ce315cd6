"""What a comparison says where a number alone would mislead: failed runs, coinciding runs, one class for all."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from run_helpers import assert_refused, run_cli, toy_file, toy_tensors

import altprop
from altprop.run.experiment import evaluate_run
from altprop.run.metrics import judge, standard
from altprop.statistics import paired_difference
from altprop.study import cost, outcomes


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(cost, "ROUNDS", 1)
    monkeypatch.setattr(cost, "STEP_SECONDS", 1e-4)
    toy_file(tmp_path)


def raw_table(name="raw.csv"):
    """Two classes, 3 to 1, of amounts in the thousands that no scaling has touched: nobody learns from them."""
    rng = np.random.default_rng(0)
    x, label = rng.normal(5000, 1000, (80, 4)), np.array(["no", "no", "no", "yes"] * 20)
    lines = [",".join([*(f"{value:.3f}" for value in row), kind]) for row, kind in zip(x, label, strict=True)]
    Path(name).write_text("\n".join(["a,b,c,d,label", *lines]) + "\n")
    return name


def compare(capsys, *options):
    return run_cli(capsys, "compare", "--epochs", 2, "--out", "c", *options)


WILD = ["--data", "toy.npz", "--net", "6-5-3", "--rules", "bp,shallow,dfa", "--loss", "mse", "--batch", 16,
        "--set", "dfa.scale=1e12"]  # fmt: skip


def test_a_rule_that_diverges_is_a_row(capsys):
    """It says where and why; the others are as without it, and have no difference to lose."""
    outcome = compare(capsys, *WILD, "--seeds", 2, "--json")
    bp, shallow, dfa, _ = outcome.json["rows"]
    assert [run["seed"] for run in dfa["failed"]] == [0, 1] and dfa["n"] == 0
    pattern = r"diverged at epoch \d+, step \d+, in layer '\d' \(.*\): (the loss is \S+|a weight is .*)"
    assert all(re.fullmatch(pattern, run["reason"]) for run in dfa["failed"])
    assert dfa["test_accuracy_mean"] is None and dfa["difference_to_bp"] is None and dfa["step_ratio_to_bp"] > 0
    assert bp["n"] == shallow["n"] == 2 and not bp["failed"] and shallow["difference_to_bp"] is not None
    alone = compare(capsys, *WILD[:5], "bp,shallow", *WILD[6:10], "--seeds", 2, "--json", "--out", "d").json["rows"]
    assert [row["test_accuracy_mean"] for row in alone[:2]] == [bp["test_accuracy_mean"], shallow["test_accuracy_mean"]]
    page, again = Path("c/report.html").read_text(), run_cli(capsys, "report", "c")
    assert again.status == 0 and "dfa, seed 1:" in page and "diverged at epoch" in page


def test_the_table_says_where(capsys):
    """In the row in short, below it in full; the exit status is 0 as long as one rule has ended."""
    outcome = compare(capsys, *WILD, "--seeds", 1)
    assert outcome.status == 0
    assert re.search(r"dfa +relu .*diverged at epoch \d+, step \d+, in layer '\d' ", outcome.out)
    assert re.search(r"^dfa, seed 0: diverged at .*: (the loss|a weight) is", outcome.out, re.MULTILINE)


def fail_at(monkeypatch, *runs, error=RuntimeError):
    """Runs named by rule and seed that break down by themselves."""
    run = outcomes.run_recipe

    def broken(recipe, *arguments, **options):
        if (recipe.rule, recipe.seed) in runs:
            raise error("of its own")
        return run(recipe, *arguments, **options)

    monkeypatch.setattr(outcomes, "run_recipe", broken)


TOY = ["--data", "toy.npz", "--net", "6-5-3", "--rules", "bp,fa"]


def test_a_rule_of_which_one_seed_fails_has_no_difference(capsys, monkeypatch):
    """The seeds that are left would flatter it."""
    fail_at(monkeypatch, ("fa", 1))
    outcome = compare(capsys, *TOY, "--seeds", 3, "--json")
    bp, fa, *_ = outcome.json["rows"]
    assert (fa["n"], bp["n"]) == (2, 3) and fa["test_accuracy_mean"] is not None and fa["difference_to_bp"] is None
    assert fa["failed"] == [{"seed": 1, "reason": "failed: RuntimeError: of its own"}]
    assert "(2, 1 failed)" in compare(capsys, *TOY, "--seeds", 3, "--out", "d").out


def test_runs_of_different_seeds_are_no_pairs(capsys, monkeypatch):
    """bp has lost one seed and fa another: two numbers each, but none of them belong together."""
    fail_at(monkeypatch, ("bp", 0), ("fa", 1))
    rows = compare(capsys, *TOY, "--seeds", 3, "--json").json["rows"]
    assert [(row["n"], row["difference_to_bp"]) for row in rows] == [(2, None), (2, None), (3, None), (3, None)]


def test_where_every_run_fails_the_first_error_is_the_answer(capsys, monkeypatch):
    """One line, status 2, no table."""
    options = ["--data", "toy.npz", "--net", "6-5-3", "--rules", "bp,dfa", "--loss", "mse", "--lr", "1e9"]
    assert_refused(
        compare(capsys, *options, "--seeds", 1), "training stopped at epoch", "in layer", "it diverged", "lower --lr"
    )
    assert not Path("c").exists()


def test_a_full_disk_ends_a_comparison(capsys, monkeypatch):
    """Though bp has ended: the next rule would fill it as well."""
    run = outcomes.run_recipe

    def full(recipe, *arguments, **options):
        if recipe.rule == "fa":
            raise outcomes.RunError("cannot write c/x: the disk is full") from OSError(28, "No space left on device")
        return run(recipe, *arguments, **options)

    monkeypatch.setattr(outcomes, "run_recipe", full)
    assert_refused(compare(capsys, *TOY, "--seeds", 1), "the disk is full")


def test_of_all_rules_those_that_refuse_are_rows_and_those_that_are_named_are_errors(capsys, monkeypatch):
    """A convolution of stride 2 behind an image suits some; the default takes who can."""
    monkeypatch.setattr(
        "altprop.study.plan.RULES", {name: altprop.RULES[name] for name in ("bp", "gha", "fa", "shallow")}
    )
    x = np.random.default_rng(0).random((30, 2, 6, 6), dtype=np.float32)
    np.savez("images.npz", x=x, y=np.arange(30) % 3)
    monkeypatch.setattr(altprop.RULES["gha"], "refuses", (torch.nn.MaxPool2d,))
    options = ["--data", "images.npz", "--net", "conv4k3-pool2-3", "--seeds", 1]
    rows = {row["rule"]: row for row in compare(capsys, *options, "--json").json["rows"]}
    (refused,) = rows["gha"]["failed"]
    assert refused["seed"] is None and refused["reason"].startswith("refused: GHA cannot work with MaxPool2d")
    assert rows["bp"]["n"] == rows["fa"]["n"] == 1
    assert "gha: refused: GHA cannot" in compare(capsys, *options, "--out", "d").out
    assert_refused(compare(capsys, *options, "--rules", "bp,gha", "--out", "e"), "GHA cannot work with MaxPool2d")


def test_runs_that_coincide_are_no_certainty(capsys):
    """An interval of width 0 over a raw table: bp says one class, shallow may say the other, in every seed."""
    options = ["--data", raw_table(), "--net", "4-8-2", "--rules", "bp,shallow", "--lr", "1e-9"]
    result = compare(capsys, *options, "--seeds", "0,1", "--json").json
    bp, shallow, _ = result["rows"]
    assert shallow["coincide"] and shallow["difference_low"] == shallow["difference_high"] and not bp["coincide"]
    text = compare(capsys, *options, "--seeds", "0,1", "--out", "d").out
    assert " 0.00 (runs coincide)" in text or " 0.00 (in every seed)" in text
    assert "[+0.00" not in text and "[+0.00" not in Path("d/report.html").read_text()


@pytest.mark.parametrize(
    ("own", "bp", "alike"),
    [([0.37] * 3, [0.63] * 3, True), ([0.9, 0.8], [0.8, 0.7], True), ([0.9, 0.8], [0.8, 0.71], False)],
)
def test_the_width_is_zero_where_all_differences_are_equal(own, bp, alike):
    """Rounding apart: 0.9 - 0.8 is not 0.8 - 0.7 in floats."""
    centre, low, high = paired_difference(own, bp)
    assert (low == high == centre) is alike


def says(kind, outputs=2):
    """A rule whose net gives every sample the same answer."""
    net = torch.nn.Sequential(torch.nn.Linear(3, outputs))
    torch.nn.init.zeros_(net[0].weight)
    net[0].bias.data.copy_(torch.eye(outputs)[kind])
    return altprop.Backprop(net, example=torch.zeros(1, 3))


@pytest.mark.parametrize(("kind", "share"), [(0, 0.75), (1, 0.25)])
def test_one_answer_for_all(kind, share):
    """The majority or a minority: the accuracy is its share, balanced it is a half."""
    y = torch.tensor([0, 0, 0, 1] * 5)
    verdict = judge(says(kind), torch.randn(20, 3), y)
    assert (verdict.accuracy, verdict.balanced_accuracy) == (share, 0.5)
    assert standard(verdict.accuracy, y) == (0.75, True)


def test_balanced_accuracy_is_scikit_learns_and_only_of_uneven_classes():
    """The mean recall over the classes that are there."""
    from sklearn.metrics import balanced_accuracy_score

    x, y = torch.randn(40, 3), torch.tensor([0] * 20 + [1] * 12 + [3] * 8)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4))
    rule = altprop.Backprop(net, example=x[:1])
    verdict = judge(rule, x, y)
    assert verdict.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, net(x).argmax(1)))
    assert standard(verdict.accuracy, y).majority == 0.5
    assert judge(says(0), x[:30], torch.tensor([0] * 18 + [1] * 12)).balanced_accuracy is None, "18 to 12 is even"
    assert judge(altprop.Backprop(net, example=x[:1], loss="mse"), x, torch.randn(40, 4))[1:] == (None, None)
    assert standard(None, torch.randn(40, 4)) == (None, False)


def test_train_and_eval_say_what_an_accuracy_is_worth(capsys):
    """Of a table with three times as many of one class, at a rate at which nothing is learned."""
    options = ["--data", raw_table(), "--net", "4-8-2", "--epochs", 1, "--lr", "1e-12", "--init", "zeros"]
    result = run_cli(capsys, "train", "bp", *options, "--out", "run", "--json").json
    assert result["test_accuracy"] == result["majority"] == 0.75 and result["one_class"]
    assert result["test_balanced_accuracy"] == 0.5
    evaluated = run_cli(capsys, "eval", "run", "--json").json
    same = ("test_accuracy", "test_balanced_accuracy", "majority", "one_class")
    assert {key: evaluated[key] for key in same} == {key: result[key] for key in same}
    text = run_cli(capsys, "eval", "run").out
    assert "test balanced accuracy  50.00 %" in text and "answers alike; majority 75.00 %" in text
    assert json.loads(Path("run/metrics.jsonl").read_text())["test_balanced_accuracy"] == 0.5


def test_a_row_of_one_class_is_marked(capsys):
    """With a star, the majority and the balanced accuracy, on the terminal and on the page."""
    options = ["--data", raw_table(), "--net", "4-8-2", "--rules", "bp,fa", "--lr", "1e-12", "--init", "zeros"]
    result = compare(capsys, *options, "--seeds", 2, "--json").json
    assert result["majority"] == 0.75
    assert [(row["one_class"], row["test_balanced_accuracy_mean"]) for row in result["rows"][:2]] == [(True, 0.5)] * 2
    text = compare(capsys, *options, "--seeds", 2, "--out", "d").out
    assert "75.00* ± 0.00 (2), balanced 50.00" in text and "(majority 75.00 %)" in text and "(runs coincide)" in text
    assert "the largest class has 75.00" in Path("d/report.html").read_text()


def test_balanced_classes_need_no_further_word():
    """Digits, MNIST and the like keep their rows."""
    result = altprop.fit("bp", "6-5-3", {"train": toy_tensors(), "test": toy_tensors(30, seed=1)}, epochs=1, out="run")
    assert "test_balanced_accuracy" not in result.metrics[-1] and result.summary()["majority"] == pytest.approx(1 / 3)
    again = evaluate_run("run", data={"train": toy_tensors(), "test": toy_tensors(30, seed=1)})
    assert again["test_balanced_accuracy"] is None and again["test_accuracy"] == result.test_accuracy


def test_what_cannot_be_timed_or_weighed_ends_no_comparison(capsys, monkeypatch):
    """The measures come last, when all runs have ended: two rows, fa without a time and none with a weight."""

    def broken(*_):
        raise RuntimeError("no such operation")

    def prepared(recipe, data):
        learner = prepare(recipe, data)
        learner.step = broken if recipe.rule == "fa" else learner.step
        return learner

    prepare = cost.prepare
    monkeypatch.setattr(cost, "peak_activation_bytes", broken)
    monkeypatch.setattr(cost, "multiply_adds", broken)
    monkeypatch.setattr(cost, "prepare", prepared)
    outcome = compare(capsys, *TOY, "--seeds", 1, "--json")
    keys = ("n", "step_ratio_to_bp", "peak_activation_bytes", "multiply_adds")
    assert [[row[key] for key in keys] for row in outcome.json["rows"][:2]] == [[1, 1.0, None, None], [1, *[None] * 3]]
    assert all(row["parameter_bytes"] and row["optimizer_bytes"] for row in outcome.json["rows"][:2])
    assert outcome.err.splitlines() == [
        "altprop: step_ratio_to_bp of fa cannot be measured: RuntimeError: no such operation",
        *(
            f"altprop: {name} of {rule} cannot be measured: RuntimeError: no such operation"
            for rule in ("bp", "fa", "shallow")
            for name in ("multiply_adds", "peak_activation_bytes")
        ),
    ]
