"""Sweeps.  The oracle of a trial is the run that its recipe makes by hand; of a study that was killed, one that was
not."""

import os
import signal
import sys

import numpy as np
import pytest
from run_helpers import FEATURES, assert_refused, content, run_cli, run_python, toy, toy_file

import altprop
from altprop.limits import Interrupted
from altprop.run import train
from altprop.run.values import read_recipe
from altprop.study.sweep import study_name

optuna = pytest.importorskip("optuna")
SPACE = "lr=log:1e-3:1,arguments.scale=log:.1:10"
SETTINGS = {"net": "6-5-3", "data": "toy.npz", "epochs": 2, "batch": 16, "val": 0.25, "space": SPACE}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)


def table(found):
    """Values and what they reached, the best first, whatever their numbers."""
    return [(trial["values"], trial["value"]) for trial in found.content["best_trials"]]


def test_the_best_trial_is_the_run_of_its_recipe_by_hand():
    """``fit`` with the best recipe and the same validation part reaches the same there; best.toml leaves that part in
    the training part, and writes everything down."""
    found = altprop.sweep("drtp", **SETTINGS, trials=4, out="s")
    recipe = read_recipe(found.path / "best.toml")
    assert recipe == found.recipe and recipe.val == 0 and recipe.epochs == 2 and recipe.measure
    assert (recipe.lr, recipe.arguments["scale"]) == (found.best["lr"], found.best["arguments.scale"])
    settings = recipe.model_dump(exclude={"rule", "net", "data", "val", "threads"})
    by_hand = altprop.fit("drtp", recipe.net, recipe.data, **settings, val=0.25)
    assert by_hand.metrics[-1]["val_accuracy"] == found.content["value"] == max(value for _, value in table(found))
    assert "drtp on" in repr(found) and "best.toml" in repr(found)


def test_no_trial_sees_the_test_part():
    """With another test part, the labels of which are wrong, every trial reaches what it reached."""
    x, y = toy()
    honest = {"train": (x, y), "test": toy(30, seed=1)}
    wrong = {"train": (x, y), "test": (np.zeros((30, FEATURES), np.float32), (toy(30)[1] + 1) % 3)}
    settings = {**SETTINGS, "trials": 3, "prune": False}
    settings["space"] = "lr=log:.001:1"
    first, second = (altprop.sweep("bp", **{**settings, "data": data}) for data in (honest, wrong))
    assert table(first) == table(second) and len(table(first)) == 3


def test_stopped_and_gone_on_with_it_is_the_study_that_ran_through(monkeypatch):
    """Ctrl-C in the third trial: the same call finds two trials, takes up the third and draws what the other did."""
    whole = altprop.sweep("drtp", **SETTINGS, trials=5)
    heard, step = [], train._epoch

    def progress(trial, done, total):
        heard.append(trial["number"])
        if len(heard) == 2:  # it comes while the third is trained
            patch.setattr(train, "_epoch", lambda *all: (os.kill(os.getpid(), signal.SIGINT), step(*all))[1])

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        altprop.sweep("drtp", **SETTINGS, trials=5, out="s", progress=progress)
    again = altprop.sweep("drtp", **SETTINGS, trials=5, out="s")
    assert table(again) == table(whole) and heard == [0, 1]
    assert len({str(values) for values, _ in table(whole)}) == 5, "no trial draws what another has drawn"
    assert again.content["counts"]["fail"] == 1, "the trial that was stopped"


DEAD = """
import os, signal, sys, altprop, altprop.cli.commands, altprop.study.sweep
from altprop.run import train
if "optuna" in sys.modules:
    sys.exit("optuna was read, a second of every other command")
count, step = 0, train._epoch
def epoch(*all):
    global count
    count += 1
    if count == 6:  # of the third trial of two epochs each
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*all)
train._epoch = epoch
altprop.sweep("drtp", out="s", trials=4, **{settings})
"""


def test_a_trial_whose_process_was_killed_is_taken_up_again(tmp_path):
    """SIGKILL in mid-trial: all trials end, the dead one's values among them, at once and not when its heartbeat is
    missed."""
    ended = run_python(DEAD.replace("{settings}", repr(SETTINGS)), tmp_path, env={**os.environ})
    assert ended.status == -signal.SIGKILL, ended.err
    found = altprop.sweep("drtp", **SETTINGS, trials=4, out="s")
    study = optuna.load_study(study_name=found.content["study"], storage=f"sqlite:///{tmp_path / 's' / 'study.db'}")
    states = [trial.state.name for trial in study.trials]
    assert sorted(states) == ["COMPLETE"] * 4 + ["FAIL"] and states[2] == "FAIL"
    (again,) = (trial for trial in study.trials if "of" in trial.user_attrs)
    assert again.params == study.trials[2].params and again.user_attrs["of"] == 2
    assert table(found) == table(altprop.sweep("drtp", **SETTINGS, trials=4))
    assert any("taken up again" in line for line in found.content["notes"])


def test_a_diverging_trial_is_the_worst_and_ends_nothing():
    """A rate of 1e30 turns NaN; it is told, and the others go on."""
    found = altprop.sweep("bp", **{**SETTINGS, "space": {"lr": [1e30, 0.1]}}, trials=4, prune=False)
    lost = [line for line in found.content["notes"] if "diverged" in line]
    assert lost and len(lost) + len(table(found)) == 4 and found.best == {"lr": 0.1}


def test_a_trial_below_the_median_is_pruned():
    """Of five rates that learn and one that does not, by hand: it ends after its second epoch, and has no value."""
    settings, heard = {**SETTINGS, "epochs": 6, "space": {"lr": [0.05, 1e-9]}}, []
    found = altprop.sweep("bp", **settings, trials=14, seed=1, progress=lambda trial, done, total: heard.append(trial))
    pruned = [trial for trial in heard if trial["state"] == "pruned"]
    assert pruned and all(trial["values"] == {"lr": 1e-9} and trial["epochs"] == 2 for trial in pruned)
    assert all(trial["value"] is None for trial in pruned) and all(trial["number"] > 4 for trial in pruned)
    assert found.content["counts"]["pruned"] == len(pruned) and found.best == {"lr": 0.05}


def test_processes_share_a_study(tmp_path):
    """Two processes end as many trials as one, no more; what is drawn before the estimator knows enough is the same."""
    alone = altprop.sweep("bp", **{**SETTINGS, "space": "lr=log:.001:1"}, trials=4, prune=False, threads=1)
    both = altprop.sweep("bp", **{**SETTINGS, "space": "lr=log:.001:1"}, trials=4, prune=False, jobs=2, out="s")
    assert sorted(map(str, table(both))) == sorted(map(str, table(alone)))


def test_a_regression_is_judged_by_r2():
    """The value is that of ``fit``'s validation part, computed from its predictions here."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5, 0.0]) + 3).astype(np.float32)[:, None]
    data = {"train": (x[:60], y[:60]), "test": (x[60:], y[60:])}
    settings = {"net": "4-8-1", "epochs": 5, "seed": 3}
    found = altprop.sweep("bp", data=data, space="lr=log:.01:.1", trials=2, val=0.25, **settings)
    run = altprop.fit("bp", data=data, lr=found.best["lr"], val=0.25, **settings, measure=False)
    whole = altprop.data.from_torch((x[:60], y[:60]), (x[60:], y[60:])).split_validation(0.25, 3)
    said = run.model.outputs(whole.x_val).double().numpy()
    true = whole.y_val.double().numpy()
    r2 = 1 - ((said - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()
    assert found.content["value"] == pytest.approx(r2, abs=1e-5)


def test_the_command_goes_on_where_it_stopped(capsys, tmp_path):
    """The same command finds its folder and has nothing left to do; more trials go on; the recipe it leaves trains."""
    command = ["sweep", "bp", "--data", "toy.npz", "--net", "6-5-3", "--epochs", 1, "--space", "lr=log:.01:1", "--json"]
    first = run_cli(capsys, *command, "--trials", 2).json
    again = run_cli(capsys, *command, "--trials", 2).json
    assert first == again and first["counts"] == {"complete": 2} and first["recipe"].startswith("runs/sweep-toy-bp-")
    more = run_cli(capsys, *command, "--trials", 3).json
    assert more["study"] == first["study"] and more["counts"] == {"complete": 3}
    assert run_cli(capsys, "train", "--config", first["recipe"], "--out", "r", "--json").json["rule"] == "bp"
    (tmp_path / "drtp.toml").write_text('rule = "drtp"\ndata = "toy.npz"\nnet = "6-5-3"\nepochs = 1\n')
    told = run_cli(capsys, "sweep", "drtp.toml", "--trials", 1, "--out", "d").out
    assert "1 complete" in told and "d/best.toml" in told


BAD = {
    "unknown rule": (["sweep", "drpt"], ["unknown rule 'drpt'", "mean 'drtp'"]),
    "a search": (["sweep", "neat"], ["is a search"]),
    "space": (["sweep", "bp", "--space", "lr=1:2"], ["lr=1:2", "log:low:high"]),
    "storage": (["sweep", "bp", "--storage", "nowhere"], ["storage nowhere", "sqlite:///"]),
    "jobs beside threads": (["sweep", "bp", "--jobs", "2", "--threads", "2"], ["jobs = 2", "--threads"]),
    "net": (["sweep", "bp", "--net", "7-3"], ["7", "6"]),
    "space without tune": (["compare", "--space", "lr=log:.1:1"], ["--tune 10"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sweeps_are_refused_and_leave_nothing(capsys, tmp_path, case):
    """In one line, before anything is trained or written."""
    command, words = BAD[case]
    before = content(tmp_path)
    assert_refused(run_cli(capsys, *command, "--data", "toy.npz", "--out", "s"), *words)
    assert content(tmp_path) == before or case == "storage"


def test_another_sweep_in_the_same_folder_is_refused(capsys):
    """Two studies must not mix."""
    command = ["sweep", "bp", "--data", "toy.npz", "--net", "6-5-3", "--epochs", 1, "--trials", 1, "--out", "s"]
    assert run_cli(capsys, *command).status == 0
    assert_refused(run_cli(capsys, *command, "--momentum", ".5"), "another recipe or space", "--out")


def test_without_optuna_a_line_says_how_to_get_it(capsys, monkeypatch):
    """The extra is none of a plain installation."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    command = ["--data", "toy.npz", "--net", "6-5-3", "--out", "s"]
    assert_refused(run_cli(capsys, "sweep", "bp", *command), "pip install 'altprop[sweep]'")
    assert_refused(run_cli(capsys, "compare", "--rules", "bp", "--tune", 2, *command), "pip install 'altprop[sweep]'")


def test_the_name_of_a_study_is_that_of_what_decides_it():
    """Where it runs does not; a rate, a seed or a range does."""
    from altprop.run.values import make_recipe
    from altprop.study.space import parse_space

    space = parse_space(SPACE)
    name = study_name(make_recipe(rule="drtp"), space)
    assert name == study_name(make_recipe(rule="drtp", threads=2, data_dir="/else"), space)
    others = [make_recipe(rule="drtp", seed=1), make_recipe(rule="drtp", batch=8), make_recipe(rule="dfa")]
    names = {name, *(study_name(one, space) for one in others)}
    assert len(names | {study_name(make_recipe(rule="drtp"), parse_space("lr=lin:0:1"))}) == 5
