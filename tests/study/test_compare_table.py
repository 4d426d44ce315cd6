"""What stands beside the accuracies of a comparison, and how it is written: by scikit-learn, SciPy and csv readers."""

import ast
import csv
import io
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from run_helpers import rows, run_cli, same_bits, toy, toy_file, toy_tensors
from scipy import stats
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

import altprop
from altprop import RULES
from altprop.data import load
from altprop.pool.pool import Ended, Job
from altprop.pool.workers import ALONE, Workers
from altprop.reports.tables import columns, latex, markdown
from altprop.reports.terminal import _fitting, comparison_text
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe, read_recipe
from altprop.statistics import interval, mean_and_std, paired_difference
from altprop.study import cost, outcomes
from altprop.study.plan import make_plan, of_role

STUDY = Path(altprop.__file__).parent / "study"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "ROUNDS", 1)
    monkeypatch.setattr(cost, "STEP_SECONDS", 1e-4)


def compare(rules, **settings):
    return altprop.compare(rules, "6-5-3", str(toy_file(Path())), **{"epochs": 1, "seeds": 2, **settings})


def uneven():
    """Two classes, 3 to 1 in training, 1 to 3 in the test part."""
    x, _ = toy()
    return {"train": (x[:40], np.arange(40) % 4 // 3), "test": (x[40:], (np.arange(20) % 4 > 0).astype(int))}


# statistics


@pytest.mark.parametrize("values", [[0.91, 0.93, 0.90], [1.0, 2.0], [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]])
def test_the_interval_is_scipys(values):
    """Of one sample and of pairs; t with n degrees of freedom would be narrower."""
    one = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((np.mean(values), one.low, one.high))
    other = [value * 0.9 + 0.1 * place for place, value in enumerate(values)]
    pairs = stats.ttest_rel(values, other).confidence_interval(0.95)
    assert paired_difference(values, other)[1:] == pytest.approx((pairs.low, pairs.high))


def test_what_is_missing_gives_no_mean():
    assert mean_and_std([]) == mean_and_std([1.0, None]) == (None, None)
    assert mean_and_std([2.0]) == (2.0, None) and mean_and_std([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert interval([]) == (None, None, None) and interval([2.0]) == (2.0, None, None)


# who stands beside


def test_the_control_is_always_there_and_once():
    """Behind the rules where it was not named, in its place where it was."""
    assert make_plan(["bp", "fa"], 1, make_recipe(), {}).rules == ["bp", "fa", "shallow"]
    assert make_plan(["shallow", "fa"], 1, make_recipe(), {}).rules == ["shallow", "fa"]
    assert of_role("control") == "shallow" and of_role("reference") == "bp"
    assert sum(rule.role != "" for rule in RULES.values()) == 2
    result = compare(["fa"], seeds=1)
    assert [(row["rule"], row["role"]) for row in result.rows] == [
        ("fa", ""), ("shallow", "control"), ("majority", "baseline"),
    ]  # fmt: skip


def test_the_margin_is_over_the_rules_own_net_frozen():
    """By hand: the control with the activation and the first weights of the rule, which are not its own."""
    settings = {"bp": {"act": "tanh", "init": "torch"}, "shallow": {"lr": 0.2}}
    result = altprop.compare(["bp", "dfa", "ep"], "64-12-10", epochs=1, out=Path("c"), settings=settings)
    drawn = {"act": "tanh", "init": "torch", "lr": 0.2}
    frozen = [altprop.fit("shallow", net="64-12-10", epochs=1, seed=seed, **drawn).test_accuracy for seed in (0, 1, 2)]
    for rule in ("bp", "ep"):
        own = [rows(f"c/{rule}-seed{seed}")[-1]["test_accuracy"] for seed in (0, 1, 2)]
        assert result[rule]["margin_over_frozen"] == pytest.approx(np.mean(own) - np.mean(frozen))
        low, high = result[rule]["margin_low"], result[rule]["margin_high"]
        assert (low, high) == pytest.approx(stats.ttest_rel(own, frozen).confidence_interval(0.95))
    of_dfa = result["dfa"]["test_accuracy_mean"] - result["shallow"]["test_accuracy_mean"]
    assert result["dfa"]["margin_over_frozen"] == pytest.approx(of_dfa)
    assert [path.name for path in sorted(Path("c/frozen").iterdir())] == ["bp-seed0", "bp-seed1", "bp-seed2"]
    assert result["shallow"]["margin_over_frozen"] is None and "over frozen [95 %]" in str(result)


def test_without_hidden_layers_nothing_is_frozen():
    result = altprop.compare(["bp", "fa"], "6-3", str(toy_file(Path())), epochs=1, seeds=1)
    assert result["fa"]["margin_over_frozen"] is None and "over frozen" not in str(result)


def test_a_control_that_refuses_ends_nothing(monkeypatch):
    """Nobody asked for it."""
    monkeypatch.setattr(RULES["shallow"], "refuses", (altprop.nets.Triangle,))
    result = compare(["bp"], seeds=1, act="triangle")
    assert result["bp"]["n"] == 1 and result["shallow"]["failed"][0]["reason"].startswith("refused: Shallow cannot")
    with pytest.raises(altprop.Refused, match="Shallow cannot"):
        compare(["bp", "shallow"], seeds=1, act="triangle")


def test_the_majority_is_scikit_learns():
    """The class that training has most of, not the test part."""
    data = uneven()
    result = altprop.compare(["bp"], "6-2", data, seeds=1, epochs=1)
    dummy = DummyClassifier(strategy="most_frequent").fit(*data["train"])
    assert result["majority"]["test_accuracy_mean"] == dummy.score(*data["test"]) == 0.25
    difference = 0.25 - result["bp"]["test_accuracy_mean"]
    assert result["majority"]["difference_to_bp"] == pytest.approx(difference)


def test_no_rules_name_stands_in_study():
    """What is known of a rule stands with it: no string but a docstring says one, alone or as a word."""
    bodies = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in STUDY.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docs = {node.body[0].value for node in nodes if isinstance(node, bodies) and ast.get_docstring(node)}
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and node not in docs]
        words = {word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text)}
        assert not words & RULES.keys(), path.name


# settings and parts


def test_a_setting_reaches_its_rule_alone(capsys):
    """A key of the recipe and an argument; and from Python the same."""
    toy_file(Path())
    given = ["--set", "dfa.lr=0.2", "--set", "drtp.scale=2", "--set", "shallow.momentum=0"]
    shared = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", 1, "--seeds", 1]
    assert run_cli(capsys, "compare", *shared, "--rules", "dfa,drtp", *given, "--out", "c").status == 0
    recipes = {rule: read_recipe(Path(f"c/{rule}-seed0/recipe.toml")) for rule in ("dfa", "drtp", "shallow")}
    assert [recipes[rule].lr for rule in recipes] == [0.2, RULES["drtp"].suits.lr, RULES["shallow"].suits.lr]
    assert recipes["drtp"].arguments == {"scale": 2} and recipes["dfa"].arguments == {}
    assert [recipe.momentum for recipe in recipes.values()] == [0.9, 0.9, 0.0]
    result = compare(["dfa", "drtp"], seeds=1, settings={"dfa": {"lr": 0.2}, "drtp": {"scale": 2.0}})
    for rule in ("dfa", "drtp"):
        assert result[rule]["test_loss_mean"] == rows(f"c/{rule}-seed0")[-1]["test_loss"]


def test_a_part_held_out_has_its_columns():
    """Of the last epoch; without --val there is no column."""
    result = compare(["bp"], val=0.25, out="c")
    last = [rows(f"c/bp-seed{seed}")[-1]["val_accuracy"] for seed in (0, 1)]
    row = result["bp"]
    assert (row["val_accuracy_mean"], row["val_accuracy_std"]) == pytest.approx((np.mean(last), np.std(last, ddof=1)))
    assert "val %" in [name for name, _ in columns(result.content)]
    assert "val %" not in [name for name, _ in columns(compare(["bp"], seeds=1).content)]


# regression


def prices():
    """(x, y): two targets in units of their own, in the order of a file without a test part."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    return x, (x[:, :2] * [20.0, 300.0] + [5.0, 1000.0] + rng.normal(size=(120, 2))).astype(np.float32)


def reached(folder, data):
    """R2, MAE and RMSE of a run by scikit-learn, each the mean over targets."""
    y_hat = altprop.load(folder).model.predict(data[0]).numpy()
    return r2_score(data[1], y_hat), mean_absolute_error(data[1], y_hat), root_mean_squared_error(data[1], y_hat)


def test_a_regression_is_compared_by_scikit_learns_scores():
    """In the targets' units, against the reference by R2, the best first, above the mean of the targets."""
    x, y = prices()
    np.savez("prices.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    result = altprop.compare(["drtp", "bp"], "4-8-2", "prices.npz", seeds=2, epochs=5, out="c", target_scale="standard")
    scores = {rule: [reached(f"c/{rule}-seed{seed}", (x[80:], y[80:])) for seed in (0, 1)] for rule in ("bp", "drtp")}
    for rule, own in scores.items():
        means = [result[rule][f"test_{name}_mean"] for name in ("r2", "mae", "rmse")]
        assert means == pytest.approx(np.mean(own, 0), rel=1e-4)
        assert result[rule]["test_accuracy_mean"] is None and result[rule]["difference_to_bp"] is None
    pairs = stats.ttest_rel(*([r2 for r2, _, _ in scores[rule]] for rule in ("drtp", "bp"))).confidence_interval(0.95)
    assert result["drtp"]["r2_difference_low"] == pytest.approx(pairs.low, rel=1e-3)
    dummy = DummyRegressor().fit(x[:80], y[:80]).predict(x[80:])
    trivial = [result["mean"][f"test_{name}_mean"] for name in ("r2", "mae", "rmse")]
    by_hand = [score(y[80:], dummy) for score in (r2_score, mean_absolute_error, root_mean_squared_error)]
    assert trivial == pytest.approx(by_hand, rel=1e-4)
    r2 = [row["test_r2_mean"] for row in result.rows[:-1]]
    assert r2 == sorted(r2, reverse=True) and result.rows[-1]["rule"] == "mean"
    names = [name for name, _ in columns(result.content)]
    assert {"R2 (n)", "R2 to bp [95 %]", "MAE", "RMSE"} <= set(names) and "accuracy % (n)" not in names


def test_a_regression_has_r2_of_its_held_out_part():
    x, y = prices()
    np.savez("prices.npz", x=x, y=y)
    result = altprop.compare(["bp"], "4-8-2", "prices.npz", seeds=1, epochs=3, val=0.3, out="c")
    data = load("prices.npz", val=0.3, seed=0)
    assert result["bp"]["val_r2_mean"] == pytest.approx(
        reached("c/bp-seed0", (data.x_val.numpy(), data.y_val))[0], rel=1e-4
    )


# processes


def test_two_processes_give_the_bits_of_one():
    """Weights and rows, whatever time they took; the data are Python's own, which are handed over."""
    timed = ("seconds_per_epoch", "step_ratio_to_bp", "report")
    data = {"train": toy_tensors(), "test": toy_tensors(30, seed=1)}
    settings = {"seeds": 2, "epochs": 2, "dropout": 0.3}
    one, two = (altprop.compare(["pepita"], "6-5-3", data, jobs=n, out=f"{n}", **settings) for n in (1, 2))
    for here, there in zip(one.rows, two.rows, strict=True):
        assert {**here, **dict.fromkeys(timed)} == {**there, **dict.fromkeys(timed)}
    assert two["pepita"]["n"] == two["shallow"]["n"] == 2
    for run in (f"{rule}-seed{seed}" for rule in ("pepita", "shallow") for seed in (0, 1)):
        weights = [safetensors.torch.load_file(f"{n}/{run}/model.safetensors") for n in (1, 2)]
        assert same_bits(*weights), run


def test_other_processes_get_names_or_data():
    """What came from Python goes with its seed, split by it; a file that each can read does not go at all."""
    x, y = toy_tensors()
    plan = make_plan(["bp"], 2, make_recipe(net="6-5-3", data="custom"), {})
    sets = outcomes.Sets(plan, (x, y), None)
    sent = pickle.loads(pickle.dumps(sets.sent()))
    for seed in (0, 1):
        assert torch.equal(sent.of(seed).x_test, sets.of(seed).x_test)
    assert not torch.equal(sent.of(0).x_test, sent.of(1).x_test)
    plan = make_plan(["bp"], 2, make_recipe(net="6-5-3", data=str(toy_file(Path()))), {})
    sets = outcomes.Sets(plan, None, None)
    assert sets.of(0).name and sets.sent().known == {}


def test_a_bar_hears_what_is_under_way():
    """How many runs have ended, of how many, from the first to the last of each kind."""
    told = []
    compare(["bp", "fa"], seeds=1, progress=lambda *line: told.append(line))
    assert told == [
        ("bp, seed 0", 0, 2), ("fa, seed 0", 1, 2), ("fa, seed 0", 2, 2), ("shallow, seed 0", 0, 1),
        ("shallow, seed 0", 1, 1),
    ]  # fmt: skip


def test_jobs_have_one_thread_each():
    """However many, and over a cluster, so that the numbers do not depend on it; without, the recipe's."""
    given = {ALONE: None, Workers(1): 1, Workers(3): 1, Workers(None, "local"): 1}
    assert {workers: workers.threads(None) for workers in given} == given and ALONE.threads(4) == 4
    with pytest.raises(RunError, match="jobs = 2 came beside threads = 4"):
        compare(["bp"], jobs=2, threads=4)
    with pytest.raises(RunError, match="ray = 'local' came beside threads = 4"):
        compare(["bp"], ray="local", threads=4)


def test_a_cluster_takes_no_device():
    """Its jobs have no GPU: they would fail one by one, an hour later."""
    with pytest.raises(RunError, match=r"device 'cuda' came beside ray, .* leave --device out"):
        compare(["bp"], jobs=2, ray="local", device="cuda")


def test_a_process_that_dies_is_a_run_that_failed():
    """By rule and seed, with what killed it."""
    job = Job("fa, seed 3", outcomes.run_there, ())
    failed = outcomes._told(Ended(job, None, -9, 1.0), 3)
    assert (failed.seed, failed.reason) == (3, "failed: killed by signal 9") and "fa, seed 3" in failed.message
    assert "status 7" in outcomes._told(Ended(job, None, 7, 1.0), 3).reason


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew():
    """By the bits of one that was not."""
    compare(["bp"], seeds=1, out="c")
    run = Path("c/bp-seed0")
    weights = safetensors.torch.load_file(run / "model.safetensors")
    shutil.rmtree(run / "checkpoint")
    for path in [path for path in run.iterdir() if path.name != "recipe.toml"]:
        path.unlink()
    assert compare(["bp"], seeds=1, out="c")["bp"]["n"] == 1
    assert same_bits(safetensors.torch.load_file(run / "model.safetensors"), weights)


# how it is written


def cells(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


@pytest.fixture(scope="module")
def content():
    """A row of every kind: a failed rule, a star, names and reasons with signs that mean something to LaTeX."""
    rule = {"rule": "a_b", "role": "", "activation": "relu", "lr": [0.1, 0.02], "test_accuracy_mean": 0.5,
            "test_accuracy_std": 0.01, "test_loss_mean": 1.0, "one_class": True, "n": 2, "failed": [],
            "difference_to_bp": -0.1, "difference_low": -0.2, "difference_high": 0.0, "coincide": False,
            "seconds_per_epoch": 0.1, "step_ratio_to_bp": 2.0, "peak_activation_bytes": 12345, "multiply_adds": 5056.0,
            "claims": {"weight_transport": "none", "locking": "none", "signal": "target", "labels": True,
                       "inside": "backprop", "is_backprop_when": "beta -> 0"}}  # fmt: skip
    died = {**rule, "rule": "c & d", "n": 0, "failed": [{"seed": 0, "reason": "failed: 50 % & more | of {it}"}]}
    beside = {"rule": "majority", "role": "baseline", "n": 2, "test_accuracy_mean": 0.25}
    return {"data": "x", "net": "6-3", "epochs": 1, "seeds": [0, 1], "scale": "none", "reference": "bp",
            "majority": 0.4, "rows": [rule, died, beside]}  # fmt: skip


def test_csv_is_read_by_the_csv_module(content):
    """Every number in full, whatever the table rounds."""
    result = compare(["bp"], seeds=1)
    read = list(csv.DictReader(io.StringIO(result.table("csv"))))
    assert [row["rule"] for row in read] == ["bp", "shallow", "majority"]
    assert float(read[0]["test_loss_mean"]) == result["bp"]["test_loss_mean"]
    assert read[0]["claims.weight_transport"] == "full" and read[0]["claims.trains"] == "inlet synapse activation"
    assert all(None not in row for row in read), "a line is longer than the header"


def test_latex_is_balanced(content):
    """As many & a line as columns, no sign left that LaTeX would take for its own."""
    first, *lines, last = latex(content).splitlines()
    kinds = re.fullmatch(r"\\begin\{tabular\}\{(l+)\}", first)[1]
    table = [line for line in lines if line != r"\hline"]
    assert last == r"\end{tabular}" and len(table) == 4 and lines.count(r"\hline") == 3
    for line in table:
        assert line.endswith(r" \\") and len(re.findall(r"(?<!\\)&", line)) == len(kinds) - 1
        plain = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$\\pm\$", "", line.removesuffix(r" \\"))
        assert not re.search(r"[%$#_\\^~±]", plain), line
        assert plain.count("{") == plain.count("}")
    assert r"a\_b" in table[1] and r"50.00* $\pm$ 1.00 (2)" in table[1]


def test_markdown_and_terminal_show_the_same_cells(content):
    """One definition of the columns; optional ones stand where a row has them."""
    header, _, *lines = cells(markdown(content))
    assert header == [name for name, _ in columns(content)] and {"mult-adds", "inside"} <= set(header)
    assert lines[0][header.index("mult-adds")] == "5.06 k" and lines[2][0] == "majority (baseline)"
    text = comparison_text(content, width=400)
    assert all(cell in text for cell in lines[0]) and "a_b is backpropagation when beta -> 0" in text
    assert {line.count(" | ") for line in markdown(content).splitlines()} == {len(header) - 1}


def test_nothing_is_folded_that_fits(content):
    """At 80 columns: more tables, each with the rules, and every cell in one piece."""
    text = comparison_text(content, width=80)
    assert max(map(len, text.split("* the share")[0].splitlines())) <= 80
    for _, cell in columns(content):
        assert cell(content["rows"][0]) in text
    assert text.count("a_b") >= 3
    assert _fitting({"a": 10, "b": 30, "c": 30, "d": 200}, 80) == [["a", "b", "c"], ["a", "d"]]


def test_a_comparison_shows_itself(capsys):
    """In Python as on the command line; a format that is not there is named."""
    result = compare(["bp"], seeds=1, out="c")
    assert "accuracy" in repr(result) and "shallow (control)" in repr(result)
    written = json.loads(Path("c/comparison.json").read_text())
    assert written == json.loads(json.dumps(result.content)) and result.path == Path("c")
    with pytest.raises(RunError, match="format 'latx' came; did you mean 'latex'"):
        result.table("latx")
    options = ["compare", "--data", "toy.npz", "--net", "6-5-3", "--epochs", 1, "--seeds", 1, "--rules", "bp"]
    shown = run_cli(capsys, *options, "--out", "d", "--format", "markdown")
    assert shown.status == 0 and cells(shown.out)[0][0] == "rule"


def test_a_comparison_of_a_former_version_is_shown():
    """The one that the README is made from: no role, no reference, none of the later columns."""
    path = Path(altprop.__file__).parents[1] / "results" / "demo" / "comparison.json"
    old = json.loads(path.read_text())
    for row in old["rows"]:
        for key in ("role", "family", "multiply_adds"):
            row.pop(key, None)
    old.pop("reference", None)
    names = [name for name, _ in columns(old)]
    assert "to bp [95 %]" in names and "step/bp" in names and "mult-adds" not in names
    assert "softhebb" in comparison_text(old, width=400)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rules": "bp,fa"}, r"rules 'bp,fa' came as a text: give a list, such as \['bp'\]"),
        ({"rules": []}, "names no rule"),
        ({"rules": ["bp"], "net": altprop.nets.Triangle()}, "net of type Triangle came: give a spec"),
        ({"rules": ["bp"], "seeds": []}, r"seeds \[\] came: give how many"),
        ({"rules": ["bp"], "seeds": [1, 1]}, r"seeds \[1, 1\] came"),
        ({"rules": ["bp"], "settings": {"fa": {"lr": 1.0}}}, "fa.lr came, but is not compared"),
        ({"rules": ["bp"], "jobs": 0}, "jobs = 0 came"),
        ({"rules": ["bp"], "epoch": 1}, "unknown recipe key 'epoch'"),
    ],
)
def test_bad_arguments_are_one_line(arguments, words):
    with pytest.raises(RunError, match=words) as caught:
        altprop.compare(**arguments)
    assert len(str(caught.value)) <= 290 and "\n" not in str(caught.value)
