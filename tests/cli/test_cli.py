"""The command line: every command and option, what goes to which stream, and the keys that scripts rely on."""

import csv
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from run_helpers import assert_refused, content, rows, run_cli, toy_file

from altprop import RULES, __version__
from altprop.data import DATASETS
from altprop.panels import PANELS
from altprop.rules import REFERENCES
from altprop.run.learner import Learner
from altprop.run.values import rule_arguments

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMMANDS = ["train", "compare", "eval", "predict", "list", "explain", "report", "data", "data list", "data info",
            "data fetch"]  # fmt: skip
SMALL = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "2", "--batch", "16"]
TRAIN_KEYS = {"rule", "data", "net", "epochs", "seed", "loss", "train_accuracy", "test_accuracy", "seconds", "run"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)


def train(capsys, *options, rule="bp"):
    return run_cli(capsys, "train", rule, *SMALL, *options)


def command(*arguments):
    """The installed command, in a process of its own."""
    path = Path(sys.executable).with_name("altprop")
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120)


def test_installed_command_trains():
    """From the shell to the report, with results alone on standard output and nothing on the other stream."""
    done = command("train", "drtp", *SMALL, "--out", "run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rule"] == "drtp" and Path("run/report.html").is_file()


def test_installed_command_refuses():
    """Without a traceback, also outside of pytest."""
    done = command("train", "pepitta")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("altprop: unknown rule 'pepitta'; did you mean 'pepita'?")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys, name):
    """--help ends with status 0 and says how to call it."""
    outcome = run_cli(capsys, *name.split(), "--help")
    assert outcome.status == 0 and outcome.err == ""
    assert "Usage" in outcome.out and name in outcome.out


def test_help_lists_every_command(capsys):
    """A command that is missing there does not exist for a newcomer."""
    out = run_cli(capsys, "--help").out
    assert all(f" {name} " in out for name in COMMANDS if " " not in name)


def test_train_json(capsys):
    """Exactly one object on standard output, the keys of the issue, fractions, and the run that it names."""
    outcome = train(capsys, "--seed", 4, "--json", rule="pepita")
    result = outcome.json
    assert outcome.err == ""
    assert result.keys() >= TRAIN_KEYS
    assert (result["rule"], Path(result["data"]).name, result["net"]) == ("pepita", "toy.npz", "6-5-3")
    assert (result["epochs"], result["seed"], result["lr"]) == (2, 4, RULES["pepita"].suits.lr)
    assert 0 <= result["test_accuracy"] <= 1 and 0 <= result["train_accuracy"] <= 1
    last = rows(result["run"])[-1]
    assert (result["loss"], result["test_accuracy"]) == (last["loss"], last["test_accuracy"])
    assert Path(result["run"]).parent == Path("runs") and "toy-pepita-seed4" in result["run"]
    assert (Path(result["run"]) / "report.html").is_file()


def test_train_without_json_is_for_people(capsys):
    """The same facts, as lines, with accuracies in per cent."""
    outcome = train(capsys, "--out", "run")
    assert outcome.status == 0 and all(line.startswith("epoch ") for line in outcome.err.splitlines())
    assert "test accuracy" in outcome.out and " %" in outcome.out and "run" in outcome.out


def test_a_line_an_epoch_where_there_is_no_terminal(capsys):
    """On standard error, with what metrics.jsonl has, then one a measure; beside --json there is silence."""
    outcome = train(capsys, "--measure", "--out", "run")
    lines = outcome.err.splitlines()
    for line, row in zip(lines, rows("run"), strict=False):
        told = f"epoch {row['epoch']}, loss {row['loss']:.3g}, test loss {row['test_loss']:.3g}"
        assert line == f"{told}, test accuracy {100 * row['test_accuracy']:.1f} %"
    measures = [line.removeprefix("measuring ") for line in lines[2:]]
    asked = [name for name, panel in PANELS.items() if not panel.cheap and name != "in_time"]  # whose gradient is a sum
    assert measures == [name.replace("_", " ") for name in asked]
    assert logging.getLogger("altprop").level == logging.NOTSET and not logging.getLogger("altprop").handlers
    assert train(capsys, "--measure", "--json", "--out", "quiet").err == ""


def test_every_option_reaches_the_recipe(capsys):
    """An option that is parsed and dropped would train the default instead, silently."""
    given = {
        "data": "toy.npz", "net": "6-4-3", "data_dir": "somewhere", "label": "kind", "scale": "unit", "val": 0.2,
        "act": "tanh", "dropout": 0.1, "init": "he_normal", "loss": "mse", "epochs": 1, "lr": 0.02, "momentum": 0.5,
        "batch": 7, "schedule": "cosine", "weight_decay": 0.001, "optimizer": "sgd", "device": "cpu",
        "threads": torch.get_num_threads(), "seed": 9, "freeze": 1, "whiten": "zca",
    }  # fmt: skip
    options = [text for key, value in given.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    options += [
        "--no-bias",
        "--nesterov",
        "--stream",
        "--no-measure",
        "--set",
        "sign=-1",
        "--set",
        "presynaptic=standard",
    ]
    outcome = run_cli(capsys, "train", "pepita", *options, "--out", "run")
    assert outcome.status == 0, outcome.err
    given |= {"data": str(Path("toy.npz").resolve())}  # so that the run can be read from elsewhere
    expected = {**given, "rule": "pepita", "bias": False, "nesterov": True, "stream": True, "measure": False,
                "probe": False,
                "arguments": {"sign": -1, "presynaptic": "standard"}}  # fmt: skip
    assert tomllib.loads(Path("run/recipe.toml").read_text()) == expected


def test_config_and_options_beside_it(capsys):
    """The file's recipe, with what is given beside it in front; RULE may be left out."""
    Path("r.toml").write_text('rule = "drtp"\ndata = "toy.npz"\nnet = "6-4-3"\nepochs = 9\nlr = 0.5\nbias = false\n')
    result = run_cli(capsys, "train", "--config", "r.toml", "--epochs", 1, "--out", "a", "--json").json
    assert (result["rule"], result["epochs"], result["lr"]) == ("drtp", 1, 0.5)
    assert run_cli(capsys, "train", "fa", "--config", "r.toml", "--epochs", 1, "--bias", "--json").json["rule"] == "fa"


def test_set_beside_config_keeps_the_other_arguments(capsys):
    """What is given beside the file comes first; what is not given stays as the file has it."""
    Path("r.toml").write_text(
        'rule = "pepita"\ndata = "toy.npz"\nnet = "6-4-3"\nepochs = 1\n[arguments]\nsign = -1\nscale = 0.5\n'
    )
    run_cli(capsys, "train", "--config", "r.toml", "--set", "scale=0.25", "--out", "run")
    assert tomllib.loads(Path("run/recipe.toml").read_text())["arguments"] == {"sign": -1, "scale": 0.25}


def test_recipe_of_a_run_repeats_it(capsys):
    """recipe.toml is complete: as --config it gives the same weights."""
    train(capsys, "--dropout", 0.2, "--seed", 3, "--out", "first", rule="dfa")
    run_cli(capsys, "train", "--config", "first/recipe.toml", "--out", "second")
    assert Path("first/model.safetensors").read_bytes() == Path("second/model.safetensors").read_bytes()
    assert rows("first") == rows("second")


@pytest.mark.parametrize("act", ["auto", None])
def test_auto_activation_is_the_rules_own(capsys, act):
    """tanh for drtp; the table must name it."""
    options = [] if act is None else ["--act", act]
    assert train(capsys, *options, "--json", rule="drtp").json["activation"] == "tanh"


@pytest.mark.parametrize(
    ("options", "test"),
    [([], True), (["--val", "0.2", "--seed", "3"], True), (["--scale", "standard", "--seed", "3"], False),
     (["--loss", "mse", "--dropout", "0.4"], False)],
)  # fmt: skip
def test_eval_equals_the_training_result(capsys, options, test):
    """On the same held-out samples, scaled alike, without dropout: to the last digit."""
    toy_file(Path(), test=test)
    trained = train(capsys, *options, "--out", "run", "--json").json
    evaluated = run_cli(capsys, "eval", "run", "--json").json
    for key in ("rule", "data", "net", "test_accuracy", "test_loss", "run"):
        assert evaluated[key] == trained[key], key
    assert evaluated["samples"] == (30 if test else 12)
    assert "test accuracy" in run_cli(capsys, "eval", "run").out


def test_eval_of_a_regression(capsys):
    """No accuracy, and the loss of the training's last row."""
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.savez("toy.npz", x=x, y=x[:, :3])
    trained = train(capsys, "--out", "run", "--json").json
    evaluated = run_cli(capsys, "eval", "run", "--json").json
    assert evaluated["test_accuracy"] is None and evaluated["test_loss"] == trained["test_loss"]


def test_eval_refuses_other_data(capsys):
    """The file was replaced by one of another shape since."""
    train(capsys, "--out", "run")
    np.savez("toy.npz", x=np.zeros((6, 4), np.float32), y=np.array([0, 1] * 3))
    assert_refused(run_cli(capsys, "eval", "run"), "[4]", "[6]")


def test_list_json_covers_every_rule(capsys):
    """name, family, claims, reference, as the classes have them."""
    listed = run_cli(capsys, "list", "--json").json["rules"]
    assert [rule["name"] for rule in listed] == list(RULES)
    for entry in listed:
        rule = RULES[entry["name"]]
        assert (entry["family"], entry["reference"]) == (rule.family, rule.reference)
        assert entry["reference"] in REFERENCES
        assert entry["claims"]["weight_transport"] == rule.claims.weight_transport
        assert entry["claims"]["trains"] == list(rule.claims.trains)
        assert (entry["lr"], entry["activation"]) == RULES[entry["name"]].suits[:2]


def test_list_shows_the_table_of_rates(capsys):
    """One line a rule, with its default rate and activation."""
    out = run_cli(capsys, "list").out
    for name, kind in RULES.items():
        _, line = [line for line in out.splitlines() if line.split()[:1] == [name]]  # in words, and in numbers
        assert f" {kind.suits.lr:g} " in line and f" {kind.suits.activation} " in line


@pytest.mark.parametrize("rule", RULES)
def test_explain_has_equation_and_reference(capsys, rule):
    """The idea, an equation with the code's letters, every argument, the claims, the paper as BibTeX."""
    out = run_cli(capsys, "explain", rule).out
    assert "W_L.grad +=" in out or "W_l.grad +=" in out
    assert "Reference" in out and "Deviations from the paper" in out
    assert f"{{{RULES[rule].reference}," in out and "title =" in out
    assert "weight_transport: " + RULES[rule].claims.weight_transport in out
    assert all(f"{name}=" in out for name in rule_arguments(rule))
    deviations = re.findall(r"^    (\d+)\. ", out, re.M)
    assert deviations == [str(n + 1) for n in range(len(deviations))]


ALL_OF_IT = {
    "pepita": ("x^m = x + s e F", "scale u", "F_1 F_2 ... F_L", "mirror_decay F_l", "h_l / |h_l|", "-s F"),
    "pepita_hebbian": ("x^m = x + s e F", "h_l / |h_l|", "h_l^mT h_{l-1}^m) / M"),
    "ff": ("peer .1 * 2 (m - mean_j m)", "U c", "m x + (1 - m) x'", "R_l.grad +=", "uniform, not bits"),
    "ep_lif": ("W_l.grad += (r_l^- ^T r_{l-1}^- -", "(q_l - s_l) / sqrt(t)"),
    "stdp": ("r = sum_t y_t / T", "W_L.grad += (e / N)^T r"), "hebb": ("W_L.grad += (e / N)^T h_{L-1}",),
}  # fmt: skip


@pytest.mark.parametrize("rule", ALL_OF_IT)
def test_explain_has_every_equation(capsys, rule):
    """What a helper of the family computes is part of the rule, and told where the rule is."""
    out = run_cli(capsys, "explain", rule).out
    assert [part for part in ALL_OF_IT[rule] if part not in out] == []


def test_data_list(capsys):
    """Every data set, with what a user must know to choose."""
    listed = run_cli(capsys, "data", "list", "--json").json["data"]
    assert [entry["name"] for entry in listed] == list(DATASETS)
    digits = listed[0]
    assert (digits["shape"], digits["classes"], digits["net"], digits["task"]) == (
        [1, 8, 8], 10, "64-32-10", "classification",
    )  # fmt: skip
    out = run_cli(capsys, "data", "list").out
    assert all(name in out for name in DATASETS)


def test_data_info(capsys):
    """From the files themselves: the user's own too."""
    info = run_cli(capsys, "data", "info", "digits", "--json").json
    assert (info["shape"], info["train"], info["test"], info["outputs"]) == ([1, 8, 8], 1438, 359, 10)
    own = run_cli(capsys, "data", "info", "toy.npz", "--json").json
    assert (own["shape"], own["train"], own["test"], own["classes"]) == ([6], 60, 30, ["0", "1", "2"])
    assert own["dtype"] == "float32" and own["task"] == "classification"
    assert "digits" in run_cli(capsys, "data", "info", "digits").out


def test_data_info_with_a_label_of_ones_own(capsys):
    """--label names the column."""
    Path("own.csv").write_text("a,kind\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(10)))
    assert run_cli(capsys, "data", "info", "own.csv", "--label", "kind", "--json").json["classes"] == ["x", "y"]


def test_report_is_written_anew(capsys):
    """After a change of the report's code, or into another place."""
    train(capsys, "--out", "run")
    Path("run/report.html").unlink()
    outcome = run_cli(capsys, "report", "run")
    assert (outcome.status, outcome.out) == (0, "run/report.html\n") and "<html" in Path("run/report.html").read_text()
    assert run_cli(capsys, "report", "run", "--out", "other.html").out == "other.html\n"
    assert Path("other.html").read_text() == Path("run/report.html").read_text()


def test_run_directory_of_the_command_has_the_report(capsys):
    """Exactly what the design lists, and nothing beside it."""
    train(capsys, "--out", "run")
    assert sorted(os.listdir("run")) == [
        "checkpoint", "data.json", "environment.json", "measures.json", "metrics.jsonl", "model.safetensors",
        "recipe.toml", "report.html", "rule.safetensors",
    ]  # fmt: skip
    assert json.loads(Path("run/environment.json").read_text())["altprop"] == __version__


def test_tensorboard_events(capsys):
    """Every number of the metrics by its step."""
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(capsys, "--tensorboard", "--out", "run")
    events = EventAccumulator("run/tensorboard").Reload()
    for key in ("loss", "test_accuracy", "lr"):
        assert [(event.step, event.value) for event in events.Scalars(key)] == [
            (row["step"], pytest.approx(row[key])) for row in rows("run")
        ]
    depths = dict(zip(rows("run")[-1]["weight_norm"], ("hidden 1", "output"), strict=True))
    for key in ("angle_to_bp", "weight_norm"):
        for layer, name in depths.items():
            assert [(event.step, event.value) for event in events.Scalars(f"{key}/{name}")] == [
                (row["step"], pytest.approx(row[key][layer], abs=1e-4)) for row in rows("run")
            ]


def test_tensorboard_has_receptive_fields_and_settings(capsys):
    """Pictures in [0, 1] by their unit, as many as were measured, and the recipe with what it reached."""
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    done = run_cli(capsys, "train", "bp", "--data", "digits", "--net", "64-6-10", "--epochs", 1, "--measure",
                   "--tensorboard", "--out", "pictures")  # fmt: skip
    assert done.status == 0
    events = EventAccumulator("pictures/tensorboard", size_guidance={"images": 0}).Reload()
    (image,) = events.Images("receptive_fields")
    measured = json.loads(Path("pictures/measures.json").read_text())["receptive_fields"]
    assert measured["shape"] == [6, 1, 8, 8] and image.height * image.width == 6 * 64
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["rule"].string_value == "bp" and told["net"].string_value == "64-6-10"
    assert told["lr"].number_value == pytest.approx(0.01)
    assert events.Scalars("reached/test_accuracy")[0].value == pytest.approx(rows("pictures")[-1]["test_accuracy"])


def test_tensorboard_that_is_missing(capsys, monkeypatch):
    """It is an extra: say which, before anything is trained."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    before = content(".")
    assert_refused(train(capsys, "--tensorboard"), "pip install", "altprop[tensorboard]")
    assert content(".") == before


def test_no_command_shows_the_help(capsys):
    """A newcomer who types one word is told what there is."""
    outcome = run_cli(capsys)
    assert "train" in outcome.out + outcome.err and "Traceback" not in outcome.err


def test_ctrl_c_in_a_comparison(capsys, monkeypatch):
    """Status 130, one line, and the runs that have ended are whole."""
    step, count = Learner.step, []

    def stopping(self, x, y):
        count.append(1)
        if len(count) == 10:  # two runs of 8 batches: in the second
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, x, y)

    monkeypatch.setattr(Learner, "step", stopping)
    outcome = run_cli(capsys, "compare", "--rules", "bp,fa", "--seeds", 1, *SMALL, "--out", "c")
    assert (outcome.status, outcome.out) == (130, "")
    assert outcome.err.startswith("altprop: stopped") and outcome.err.count("\n") == 1 and " c" in outcome.err
    assert run_cli(capsys, "eval", "c/bp-seed0", "--json").json["rule"] == "bp"


def test_output_can_be_read_by_a_csv_reader(capsys):
    """predict, from the run that train has written."""
    train(capsys, "--out", "run")
    np.savez("x.npz", x=np.zeros((2, 6), np.float32))
    lines = list(csv.reader(run_cli(capsys, "predict", "run", "x.npz").out.splitlines()))
    assert lines[0][:2] == ["label", "probability"] and len(lines) == 3
