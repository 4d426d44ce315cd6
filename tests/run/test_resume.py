"""Stop and go on: a run that was interrupted, or killed, ends in the same bits as one that was not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import safetensors.torch
import torch
from run_helpers import (
    assert_refused,
    content,
    dying,
    rows,
    run_cli,
    run_python,
    same_bits,
    toy_file,
    toy_recipe,
    without_epochs,
)
from torch import nn

import altprop
from altprop.limits import Interrupted
from altprop.run import train as training
from altprop.run.experiment import resume_run, run_recipe
from altprop.run.recipe import RunError

SETTINGS = {
    "sgd": {"rule": "pepita", "dropout": 0.3, "momentum": 0.9, "schedule": "cosine", "net": "6-8-5-3"},
    "adam": {"rule": "dfa", "optimizer": "adam", "weight_decay": 0.01},
    "adamw": {"rule": "bp", "optimizer": "adamw", "dropout": 0.2, "schedule": "step@1,2"},
    "rmsprop": {"rule": "drtp", "optimizer": "rmsprop", "schedule": "linear"},
    "stream": {"rule": "drtp", "stream": True, "dropout": 0.3, "schedule": "linear", "net": "6-8-5-3"},
    "stream adam": {"rule": "fa", "stream": True, "optimizer": "adam", "val": 0.2, "scale": "standard"},
    "bf16": {"rule": "pepita", "precision": "bf16", "dropout": 0.3},
    "shallow": {"rule": "shallow", "momentum": 0.9, "init": "torch"},
}
BATCHES = 4  # an epoch: 60 samples by 16 (with val 48, then 3)


def recipe(folder, **settings):
    return toy_recipe(**{"data": str(folder / "toy.npz"), "seed": 3, "epochs": 4, **settings})


@pytest.fixture
def data(tmp_path):
    toy_file(tmp_path)
    return tmp_path


def stop_at(epoch, batch, number=signal.SIGINT):
    """A progress callback that presses Ctrl-C in the middle of a run."""

    def progress(at_epoch, epochs, at_batch, batches, loss):
        if (at_epoch, at_batch) == (epoch, batch):
            os.kill(os.getpid(), number)

    return progress


def interrupted(folder, out, *places, **settings):
    """A run that is stopped at each place, and resumed to the next."""
    with pytest.raises(Interrupted):
        run_recipe(recipe(folder, **settings), out=out, progress=stop_at(*places[0]))
    for place in places[1:]:
        with pytest.raises(Interrupted):
            resume_run(out, progress=stop_at(*place))
    return out


def assert_same_run(left, right):
    """Weights, feedback, metrics and the whole final state, apart from the seconds."""
    for name in ("model.safetensors", "rule.safetensors", "recipe.toml", "data.json", "environment.json"):
        assert (left / name).read_bytes() == (right / name).read_bytes(), name
    assert rows(left) == rows(right)
    states = []
    for run in (left, right):
        state = json.loads((run / "checkpoint" / "state.json").read_text())
        states.append(safetensors.torch.load_file(run / "checkpoint" / state["tensors"]))
    assert same_bits(*states)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "places", [[(1, 1)], [(0, 0), (1, 2), (3, 1)]], ids=["once in mid-epoch", "at the first batch and twice more"]
)
def test_resumed_run_equals_one_without_a_stop(data, name, places):
    """Momentum, schedule, dropout masks, order, position: whatever is lost moves the final weights."""
    run_recipe(recipe(data, **SETTINGS[name]), out=data / "whole")
    resume_run(interrupted(data, data / "parts", *places, **SETTINGS[name]))
    assert_same_run(data / "parts", data / "whole")


@pytest.mark.parametrize("epoch", [0, 3])
def test_stop_at_the_last_batch_of_an_epoch(data, epoch):
    """The epoch is done but not measured: it must not be trained twice, nor be left out of the metrics."""
    run_recipe(recipe(data, dropout=0.3), out=data / "whole")
    resume_run(interrupted(data, data / "parts", (epoch, BATCHES - 1), dropout=0.3))
    assert_same_run(data / "parts", data / "whole")


@pytest.mark.filterwarnings("error::UserWarning")
def test_resuming_at_the_end_of_an_epoch_warns_of_nothing(data):
    """torch sees no step of the optimizer before the schedule's: its warning would reach a user who did all right."""
    resume_run(interrupted(data, data / "run", (0, BATCHES - 1)))
    assert len(rows(data / "run")) == 4


def test_a_polite_kill_stops_as_ctrl_c_does(data):
    """Schedulers of clusters send SIGTERM."""
    with pytest.raises(Interrupted):
        run_recipe(recipe(data), out=data / "run", progress=stop_at(1, 1, signal.SIGTERM))
    assert json.loads((data / "run" / "checkpoint" / "state.json").read_text())["step"] == BATCHES + 2


def test_handlers_of_signals_are_put_back(data):
    """A library that keeps Ctrl-C for itself would spoil the user's program."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    interrupted(data, data / "run", (1, 1))
    resume_run(data / "run")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_second_ctrl_c_stops_at_once(data):
    """A user who presses twice does not want to wait for the disk."""

    def progress(epoch, epochs, batch, batches, loss):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe(data), out=data / "run", progress=progress)
    assert not (data / "run").exists(), "there is nothing in it that could be resumed"


def test_resuming_a_finished_run_changes_nothing(data):
    """Not a byte, and the result is the same."""
    result = run_recipe(recipe(data), out=data / "run")
    before = content(data)
    again = resume_run(data / "run")
    assert content(data) == before
    assert again.summary() == result.summary() and again.metrics == result.metrics


def test_resume_by_the_command_line(data, monkeypatch, capsys):
    """Status 130 and the words that one can type; then the run ends as one that was never stopped."""
    monkeypatch.chdir(data)
    options = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "4", "--batch", "16", "--dropout", "0.2", "--json"]
    whole = run_cli(capsys, "train", "pepita", *options, "--out", "whole").json
    monkeypatch.setattr("altprop.cli.watching.UPDATE_EVERY", 1)
    epoch = training._epoch

    def stopping(learner, position, stop, progress):
        return epoch(learner, position, stop, stop_at(2, 1))

    with monkeypatch.context() as patch:
        patch.setattr(training, "_epoch", stopping)
        stopped = run_cli(capsys, "train", "pepita", *options, "--out", "parts")
    assert (stopped.status, stopped.out) == (130, "")
    assert stopped.err == "altprop: stopped; go on with: altprop train --resume parts\n"
    resumed = run_cli(capsys, "train", "--resume", "parts", "--json").json
    assert {**resumed, "seconds": 0, "run": ""} == {**whole, "seconds": 0, "run": ""}
    assert_same_run(data / "parts", data / "whole")
    assert (data / "parts" / "report.html").stat().st_size > 1000


SLOWLY = """
import sys, time
from altprop.run import train
from altprop.cli import main
measure = train.measured_row
train.measured_row = lambda *arguments: (time.sleep(0.05), measure(*arguments))[1]
train.CHECKPOINT_SECONDS = 0.0
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_ctrl_c_in_a_process_of_its_own(data, monkeypatch, capsys):
    """A real signal to a real process, at a moment that nobody chose."""
    options = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "60", "--batch", "16", "--dropout", "0.2"]
    command = [sys.executable, "-c", SLOWLY, "train", "pepita", *options, "--out", "parts"]
    process = subprocess.Popen(command, cwd=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (data / "parts" / "checkpoint" / "state.json").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert without_epochs(err) == "altprop: stopped; go on with: altprop train --resume parts\n"
    assert len(rows(data / "parts")) < 60 and not (data / "parts" / "model.safetensors").exists()
    monkeypatch.chdir(data)
    assert run_cli(capsys, "train", "--resume", "parts").status == 0
    assert run_cli(capsys, "train", "pepita", *options, "--out", "whole").status == 0
    assert_same_run(data / "parts", data / "whole")


KILLED = (
    dying(2, 1)
    + """
from altprop.cli import main
main(["train", "dfa", "--data", "toy.npz", "--net", "6-5-3", "--epochs", "4", "--batch", "16", "--seed", "3",
      "--optimizer", "adam", "--dropout", "0.3", "--out", "parts"])
"""
)


def test_killed_run_goes_on_from_its_last_checkpoint(data, monkeypatch):
    """Power loss: two epochs are on disk, the third is done again in the same order."""
    monkeypatch.chdir(data)
    assert run_python(KILLED, data).status == -signal.SIGKILL
    assert [row["epoch"] for row in rows(data / "parts")] == [1, 2]
    resume_run("parts")
    run_recipe(recipe(data, data="toy.npz", rule="dfa", optimizer="adam", dropout=0.3), out="whole")
    for name in ("model.safetensors", "rule.safetensors"):
        assert (data / "parts" / name).read_bytes() == (data / "whole" / name).read_bytes()
    assert rows(data / "parts") == rows(data / "whole")


def test_kill_between_metrics_and_checkpoint(data, monkeypatch):
    """metrics.jsonl is written first: a row more than the checkpoint knows must not appear twice."""
    run_recipe(recipe(data), out=data / "whole")
    interrupted(data, data / "parts", (2, 1))
    (data / "parts" / "metrics.jsonl").write_text((data / "whole" / "metrics.jsonl").read_text())
    (data / "parts" / "checkpoint" / ".state.json.77").write_text("half")
    resume_run(data / "parts")
    assert rows(data / "parts") == rows(data / "whole")


def test_resume_with_net_and_data_from_python(data):
    """The run cannot name them: it says so, and goes on to the bit when it is given them again."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    pair = (x, (x[:, 0] > 0).long())

    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))

    whole = altprop.fit("fa", net(), pair, epochs=3, batch=8, out=data / "whole")
    with pytest.raises(Interrupted):
        altprop.fit("fa", net(), pair, epochs=3, batch=8, out=data / "parts", progress=stop_at(1, 1))
    with pytest.raises(RunError, match=r"data=\.\.\."):
        resume_run(data / "parts", net=net())
    with pytest.raises(RunError, match="given from Python"):
        resume_run(data / "parts", data=pair)
    resumed = resume_run(data / "parts", net=net(), data=pair)
    assert same_bits(resumed.rule.state_dict(), whole.rule.state_dict())
    assert_same_run(data / "parts", data / "whole")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    toy_file(folder)
    return interrupted(folder, folder / "run", (1, 1), rule="dfa", dropout=0.3)


def tensors(run):
    (path,) = (run / "checkpoint").glob("*.safetensors")
    return path


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def change_state(run, **changes):
    path = run / "checkpoint" / "state.json"
    state = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in state.items() if value is not None}))


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGE = {
    "byte in the last tensor": lambda run: flip(tensors(run), -1),
    "byte in the header": lambda run: flip(tensors(run), 20),
    "tensors cut short": lambda run: cut(tensors(run)),
    "tensors empty": lambda run: tensors(run).write_bytes(b""),
    "tensors gone": lambda run: tensors(run).unlink(),
    "checkpoint gone": lambda run: shutil.rmtree(run / "checkpoint"),
    "state gone": lambda run: (run / "checkpoint" / "state.json").unlink(),
    "state empty": lambda run: (run / "checkpoint" / "state.json").write_text(""),
    "state no JSON": lambda run: cut(run / "checkpoint" / "state.json"),
    "state no object": lambda run: (run / "checkpoint" / "state.json").write_text("[1]"),
    "state not UTF-8": lambda run: (run / "checkpoint" / "state.json").write_bytes(b"\xff\xfe"),
    "other format": lambda run: change_state(run, format=99),
    "no format": lambda run: change_state(run, format=None),
    "no tensors named": lambda run: change_state(run, tensors=None),
    "no hash": lambda run: change_state(run, sha256=None),
    "no epoch": lambda run: change_state(run, epoch=None),
    "no optimizers": lambda run: change_state(run, optimizers=None),
    "optimizers too few": lambda run: change_state(run, optimizers=[]),
    "optimizers of another kind": lambda run: change_state(run, optimizers=3),
    "epoch as text": lambda run: change_state(run, epoch="one"),
    "rows of another kind": lambda run: change_state(run, rows=3),
    "recipe of a wider net": lambda run: replace(run / "recipe.toml", "6-5-3", "6-7-3"),
    "recipe of a deeper net": lambda run: replace(run / "recipe.toml", "6-5-3", "6-5-5-3"),
    "recipe of a net that does not fit": lambda run: replace(run / "recipe.toml", "6-5-3", "7-5-3"),
    "recipe of another rule": lambda run: replace(run / "recipe.toml", '"dfa"', '"bp"'),
    "recipe of another optimizer": lambda run: replace(run / "recipe.toml", '"sgd"', '"adam"'),
    "recipe with stream": lambda run: replace(run / "recipe.toml", "stream = false", "stream = true"),
    "recipe with an unknown key": lambda run: replace(run / "recipe.toml", "epochs", "epoch"),
    "recipe no TOML": lambda run: cut(run / "recipe.toml"),
    "recipe gone": lambda run: (run / "recipe.toml").unlink(),
    "data description gone": lambda run: (run / "data.json").unlink(),
    "data gone": lambda run: replace(run / "recipe.toml", "toy.npz", "none.npz"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_run_is_refused_and_left_as_it_is(stopped, tmp_path, monkeypatch, capsys, damage):
    """One line and status 2; going on from half a state, or spoiling what is left of it, would be worse."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stopped, tmp_path / "run")
    DAMAGE[damage](tmp_path / "run")
    before = content(tmp_path)
    outcome = run_cli(capsys, "train", "--resume", "run")
    assert_refused(outcome)
    assert content(tmp_path) == before


def test_the_undamaged_copy_does_resume(stopped, tmp_path, monkeypatch, capsys):
    """The control of the test above: it is the damage that is refused, not the copy."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stopped, tmp_path / "run")
    assert run_cli(capsys, "train", "--resume", "run", "--json").json["epochs"] == 4


@pytest.mark.parametrize(
    "option",
    [["--lr", "0.1"], ["--epochs", "9"], ["--set", "scale=2"], ["--out", "other"], ["--config", "recipe.toml"],
     ["--seed", "4"], ["--no-measure"], ["--stream"]],
    ids=lambda option: option[0],
)  # fmt: skip
def test_resume_takes_no_other_options(stopped, tmp_path, monkeypatch, capsys, option):
    """They would be ignored in silence, or make another run of it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stopped, tmp_path / "run")
    before = content(tmp_path)
    words = (option[0].replace("--no-", "--"), "beside --resume", "leave it out")
    assert_refused(run_cli(capsys, "train", "--resume", "run", *option), *words)
    assert_refused(run_cli(capsys, "train", "bp", "--resume", "run"), "beside --resume")
    assert content(tmp_path) == before
