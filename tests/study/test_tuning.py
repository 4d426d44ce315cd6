"""Tuned comparisons: as many trials for every rule, none of which sees a test part, to the same numbers however they
are run.  The oracle of a trial is the run that its values make by hand."""

import json
import shutil

import numpy as np
import pytest
from run_helpers import assert_refused, rows, run_cli, toy, toy_file, toy_recipe

import altprop
from altprop.pool.workers import Workers
from altprop.run.build import prepare
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe, read_recipe
from altprop.study import cost
from altprop.study.outcomes import Sets, silence
from altprop.study.plan import make_plan
from altprop.study.space import parse_space
from altprop.study.trials import without_test
from altprop.study.tuned import tuned
from altprop.study.tuning import Task, best_of, make_tuning, tune, tuning_seed
from altprop.study.unseen import tuning_data

pytest.importorskip("optuna")
COMMAND = ("compare", "--data", "toy.npz", "--net", "6-5-3", "--epochs", 2, "--batch", 16, "--no-measure", "--json")
TUNED = ("--rules", "bp,drtp", "--seeds", "2", "--tune", "3", "--space", "arguments.scale=log:.1:10", "--out", "c")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "ROUNDS", 2)
    monkeypatch.setattr(cost, "STEP_SECONDS", 1e-4)
    toy_file(tmp_path)


def numbers(result):
    """What of a table does not depend on the clock."""
    timed = {"seconds_per_epoch", "step_ratio_to_bp"}
    return [{key: value for key, value in row.items() if key not in timed} for row in result["rows"]]


def test_every_rule_has_the_same_budget_and_the_best_values_run(capsys, tmp_path):
    """Trials by hand: ``fit`` with a trial's values, the tuning's seed and its validation part reaches what is told;
    the runs have the values of the best one, and no validation part."""
    result = run_cli(capsys, *COMMAND, *TUNED, "--val", ".25").json
    tuning, told = result["tuning"], result["tuning"]["rules"]
    assert (tuning["trials"], tuning["epochs"], tuning["samples"], tuning["val_samples"]) == (3, 2, 45, 15)
    assert tuning["seed"] not in result["seeds"] and set(told) == {"bp", "drtp", "shallow"}
    assert {rule: [*one["space"]] for rule, one in told.items()} == {
        "bp": ["lr"], "drtp": ["lr", "arguments.scale"], "shallow": ["lr"],
    }  # fmt: skip
    assert [len(one["trials"]) for one in told.values()] == [3, 3, 3]
    assert told["bp"]["trials"][0]["values"] == {"lr": 0.01} == told["bp"]["start"]
    for trial in told["drtp"]["trials"]:
        values, settings = trial["values"], {"epochs": 2, "batch": 16, "val": 0.25, "seed": tuning["seed"]}
        run = altprop.fit("drtp", "6-5-3", "toy.npz", lr=values["lr"], arguments={"scale": values["arguments.scale"]},
                          measure=False, **settings)  # fmt: skip
        assert run.metrics[-1]["val_accuracy"] == trial["value"]
    for row in result["rows"][:2]:
        one = told[row["rule"]]
        best = max(one["trials"], key=lambda trial: trial["value"])
        assert row["tuned_val"] == best["value"] and row["tuned"] == one["trials"][one["best"]]["values"]
        recipe = read_recipe(tmp_path / "c" / f"{row['rule']}-seed1" / "recipe.toml")
        assert recipe.lr == row["tuned"]["lr"] == row["lr"] and recipe.val == 0
        assert recipe.arguments.get("scale") == row["tuned"].get("arguments.scale")
        reached = [rows(f"c/{row['rule']}-seed{seed}")[-1]["test_accuracy"] for seed in (0, 1)]
        assert row["test_accuracy_mean"] == np.mean(reached)
    assert json.loads((tmp_path / "c" / "comparison.json").read_text()) == result
    page = (tmp_path / "c" / "report.html").read_text()
    assert "Tuning</h2>" in page and "3 trials for every rule" in page and "rates0-" in page and "rates1-" in page


def test_one_process_or_two_and_stopped_in_between_find_the_same(tmp_path):
    """Without the last trial of one rule and all of another, the tuning ends at the same trials and the same plan."""
    plan = make_plan(["bp", "drtp"], 2, toy_recipe(data="toy.npz", epochs=2, threads=1), {})
    sets, tuning = Sets(plan, None, None), make_tuning(3, "arguments.scale=log:.1:10", plan.rules)
    learners = {rule: prepare(plan.recipe(rule, 0), sets.of(0)) for rule in plan.rules}

    def found(out, jobs):
        return tuned(plan, tuning, learners, sets, 0.25, out, Workers(jobs), silence)

    whole = found(tmp_path / "c", 1)
    assert found(None, 1) == whole == found(tmp_path / "d", 2)
    path = tmp_path / "c" / "tuning" / "drtp.json"
    begun = json.loads(path.read_text())
    path.write_text(json.dumps({**begun, "trials": begun["trials"][:2]}))
    (path.parent / "shallow.json").unlink()
    assert found(tmp_path / "c", 1) == whole


def test_a_comparison_that_was_stopped_goes_on(capsys, tmp_path):
    """In its tuning, before any run: the same command ends at the same table."""
    command = [*COMMAND, "--rules", "bp", "--seeds", "1", "--tune", "2", "--out", "c"]
    whole = run_cli(capsys, *command).json
    for child in (tmp_path / "c").iterdir():
        if child.name != "tuning":
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    (tmp_path / "c" / "tuning" / "shallow.json").unlink()
    again = run_cli(capsys, *command).json
    assert numbers(again) == numbers(whole) and again["tuning"] == whole["tuning"]


def test_trials_of_another_recipe_and_damaged_ones_are_refused(tmp_path):
    """They would mix; a file that somebody changed is told by its key."""
    data = without_test(tuning_data(make_recipe(data="toy.npz", val=0.25), (0,), None, None))
    task = Task("bp", toy_recipe(data="toy.npz", epochs=1), parse_space("lr=log:.01:1"), None, 2, tmp_path / "bp.json")
    whole = tune(task, data)
    assert tune(task, data) == whole == tune(task._replace(path=None), data) and len(whole["trials"]) == 2
    with pytest.raises(RunError, match="trials of another recipe or space"):
        tune(task._replace(recipe=task.recipe.with_(batch=8)), data)
    for bad, word in ({"trials": [{"values": {}, "value": 0.5}]}, "space"), ({"space": 3}, "space is 3"):
        task.path.write_text(json.dumps({**whole, **bad}))
        with pytest.raises(RunError, match=f"bp.json: unreadable .*{word}.*tuned anew"):
            tune(task, data)


def test_a_rate_at_the_edge_is_flagged_and_a_rule_that_diverges_goes_on():
    """The edge by hand, of rates without the rule's own.  Of those that all diverge none is the best."""

    def compared(space):
        return altprop.compare(["bp"], "6-5-3", "toy.npz", seeds=1, tune=8, epochs=2, measure=False, space=space)

    told = compared("lr=log:1e-6:.003").content["tuning"]["rules"]["bp"]
    tried, best = [trial["values"]["lr"] for trial in told["trials"]], told["trials"][told["best"]]["values"]["lr"]
    tenth = (0.003 / 1e-6) ** 0.1
    last = (best > 0.003 / tenth and best == max(tried)) or (best < 1e-6 * tenth and best == min(tried))
    assert told["start"] is None and told["edge"] == ["lr"] * last
    lost = compared("lr=log:1e29:1e30")
    assert [one["best"] for one in lost.content["tuning"]["rules"].values()] == [None] * 2
    assert lost["bp"]["lr"] == 0.01 and lost["bp"]["tuned"] is None and lost["bp"]["n"] == 1
    assert "diverged" in lost.content["tuning"]["rules"]["bp"]["trials"][0]["told"]


@pytest.mark.filterwarnings("ignore::altprop.data.DataWarning")
def test_samples_that_any_seed_tests_are_not_tuned_on(tmp_path):
    """A file without a test part: each seed draws its own.  By hand, with samples that are numbered."""
    x, y = np.arange(120, dtype=np.float32)[:, None].repeat(2, 1), np.arange(120) % 3
    recipe = make_recipe(data="custom", seed=7, val=0.25, scale="none")
    data = tuning_data(recipe, (0, 1), (x, y), None)
    seen = {*data.x_train[:, 0].int().tolist(), *data.x_val[:, 0].int().tolist()}
    tested = set()
    for seed in (0, 1):
        whole = altprop.data.from_torch((x, y), seed=seed)
        tested |= set(whole.x_test[:, 0].int().tolist())
    assert len(tested) > 24 and not seen & tested and len(data.x_val) < len(data.x_train)
    drawn = set(altprop.data.from_torch((x, y), seed=7).x_train[:, 0].int().tolist())
    assert seen == drawn - tested


def test_the_test_part_is_not_seen_in_tuning():
    """With wrong labels there the trials are the same; the table is not."""
    x, y = toy()
    right, (x_test, y_test) = (x, y), toy(30, seed=1)
    results = [
        altprop.compare(["bp"], "6-5-3", {"train": right, "test": (x_test, (y_test + shift) % 3)}, seeds=1, tune=3,
                        epochs=2, measure=False)
        for shift in (0, 1)
    ]  # fmt: skip
    one, other = (result.content["tuning"]["rules"]["bp"]["trials"] for result in results)
    assert one == other and results[0]["bp"]["test_accuracy_mean"] != results[1]["bp"]["test_accuracy_mean"]
    text = results[0].table()
    assert "tuned val %" in text and "tuned: 3 trials for every rule" in text
    assert "tuned.lr" in results[0].table("csv").splitlines()[0]
    assert "tuned val" in results[0].table("markdown") and "tuned val" in results[0].table("latex")


def test_the_best_of_equal_trials_is_the_first():
    """None of what did not end."""
    values = [None, 0.5, 0.7, 0.7]
    assert best_of([{"value": value} for value in values]) == 2
    assert best_of([{"value": None}]) is None
    assert tuning_seed([0, 1_000_000, 1_000_001]) == 1_000_002


BAD = {
    "shared": (["--tune", "2", "--space", "batch=int:8:16"], ["batch", "for all rules"]),
    "argument of none": (["--tune", "2", "--space", "arguments.scal=lin:.1:1"], ["arguments.scal", "mean 'scale'"]),
    "no trials": (["--tune", "0"], ["--tune"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tunings_are_refused(capsys, case):
    """Before anything is trained."""
    options, words = BAD[case]
    assert_refused(run_cli(capsys, *COMMAND, "--rules", "bp,drtp", *options, "--out", "c"), *words)
