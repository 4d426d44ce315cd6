"""What bad input gets: one line that starts with 'altprop: ', status 2, no traceback, and nothing written."""

import errno
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from run_helpers import assert_refused, content, rows, run_cli, run_python, same_bits, toy, toy_file

from altprop.run import train as training

SMALL = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "2", "--batch", "16"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)


def refuse(capsys, *arguments, words=()):
    """The command is refused, and the current folder is as it was."""
    before = content(".")
    outcome = run_cli(capsys, *arguments)
    assert_refused(outcome, *words)
    assert content(".") == before
    return outcome


OPTIONS = {
    "unknown rule": (["pepitta"], ["unknown rule 'pepitta'", "'pepita'"]),
    "unknown rule far from all": (["zzz"], ["unknown rule 'zzz'", "there is bp, shallow"]),
    "no rule": ([], ["no rule", "--config", "--resume"]),
    "unknown data": (["bp", "--data", "digitss"], ["'digitss'", "'digits'"]),
    "unknown data far from all": (["bp", "--data", "zzz"], ["'zzz'", "mnist"]),
    "missing file": (["bp", "--data", "none.npz"], ["none.npz", "no such file"]),
    "missing folder": (["bp", "--data", "some/where"], ["some/where", "no such file"]),
    "spec typo": (["bp", "--net", "64-3x-10"], ["64-3x-10", "'3x'", "conv32k5"]),
    "spec empty": (["bp", "--net", "", "--epochs", "1"], ["expected"]),
    "spec of other inputs": (["bp", "--net", "65-10"], ["65", "64"]),
    "spec of other outputs": (["bp", "--net", "64-32-9"], ["'9'", "10 outputs"]),
    "spec with a kernel too large": (["bp", "--net", "conv4k9-10"], ["'conv4k9'", "1x8x8"]),
    "convolution on features": (["bp", "--data", "toy.npz", "--net", "conv4k2-3"], ["'conv4k2'", "image"]),
    "unknown argument": (["pepita", "--set", "sgin=1"], ["'sgin'", "did you mean 'sign'"]),
    "argument of a rule without any": (["bp", "--set", "scale=1"], ["'bp'", "'scale'"]),
    "set without value": (["fa", "--set", "scale"], ["key=value"]),
    "pepita sign": (["pepita", "--set", "sign=3"], ["sign=3", "1 or -1"]),
    "pepita sign text": (["pepita", "--set", 'sign="x"'], ["sign='x'", "whole number"]),
    "pepita presynaptic": (["pepita", "--set", "presynaptic=foo"], ["'foo'", "'modulated'", "'standard'"]),
    "pepita output_error": (["pepita", "--set", "output_error=1"], ["output_error=1", "a word", "standard"]),
    "drtp sign": (["drtp", "--set", "sign=0"], ["sign", "0", "-1"]),
    "drtp sign text": (["drtp", "--set", 'sign="x"'], ["sign", "'x'"]),
    "drtp scale text": (["drtp", "--set", "scale=x"], ["scale", "x"]),
    "fa init": (["fa", "--set", "init=foo"], ["'foo'", "he_uniform"]),
    "fa init a number": (["fa", "--set", "init=3"], ["3", "he_uniform"]),
    "fa scale text": (["fa", "--set", "scale=x"], ["scale", "x"]),
    "fa seed text": (["fa", "--set", "seed=x"], ["seed", "x"]),
    "fa seed a fraction": (["fa", "--set", "seed=1.5"], ["seed", "1.5"]),
    "fa seed too large": (["fa", "--set", f"seed={2**70}"], ["seed"]),
    "fa scale a list": (["fa", "--set", "scale=[1]"], ["scale"]),
    "lr 0": (["bp", "--lr", "0"], ["lr = 0", "greater than 0"]),
    "lr negative": (["bp", "--lr", "-0.1"], ["lr = -0.1"]),
    "lr nan": (["bp", "--lr", "nan"], ["lr = nan"]),
    "lr inf": (["bp", "--lr", "inf"], ["lr = inf"]),
    "lr text": (["bp", "--lr", "fast"], ["--lr", "number"]),
    "epochs 0": (["bp", "--epochs", "0"], ["epochs = 0", "1"]),
    "epochs negative": (["bp", "--epochs", "-3"], ["epochs = -3"]),
    "epochs a fraction": (["bp", "--epochs", "1.5"], ["--epochs", "integer"]),
    "batch 0": (["bp", "--batch", "0"], ["batch = 0"]),
    "threads 0": (["bp", "--threads", "0"], ["threads = 0"]),
    "seed negative": (["bp", "--seed", "-1"], ["seed = -1"]),
    "seed too large": (["bp", "--seed", str(2**64)], ["seed"]),
    "dropout 1": (["bp", "--dropout", "1"], ["dropout = 1"]),
    "momentum 1": (["bp", "--momentum", "1"], ["momentum = 1"]),
    "weight decay negative": (["bp", "--weight-decay", "-1"], ["weight_decay = -1"]),
    "val 1": (["bp", "--val", "1"], ["val = 1"]),
    "optimizer": (["bp", "--optimizer", "adm"], ["'adm'", "'adam'"]),
    "schedule": (["bp", "--schedule", "cosin"], ["'cosin'", "'cosine'"]),
    "schedule without epochs": (["bp", "--schedule", "step@"], ["step@60,90"]),
    "loss": (["bp", "--loss", "hinge"], ["'hinge'", "cross_entropy"]),
    "activation": (["bp", "--act", "relo"], ["'relo'", "relu"]),
    "initialiser": (["bp", "--init", "he"], ["'he'", "he_uniform"]),
    "scale": (["bp", "--scale", "unti"], ["'unti'", "unit"]),
    "device nonsense": (["bp", "--device", "toaster"], ["'toaster'", "--device cpu"]),
    "device without values": (["bp", "--device", "meta"], ["'meta'", "--device cpu"]),
    "device of another number": (["bp", "--device", "cuda:99"], ["'cuda:99'", "--device cpu"]),
    "unknown option": (["bp", "--epoch", "3"], ["--epoch", "--epochs"]),
    "option without a value": (["bp", "--epochs"], ["--epochs", "argument"]),
    "missing recipe": (["--config", "none.toml"], ["none.toml"]),
    "no file below a file": (["bp", "--out", "toy.npz/run"], ["toy.npz/run", "--out"]),
    "no folder in /proc": (["bp", "--out", "/proc/altprop-run"], ["/proc/altprop-run", "--out"]),
    "out is a file": (["bp", "--out", "toy.npz"], ["toy.npz is there already", "--out"]),
    "resume of nothing": (["--resume", "none"], ["none"]),
    "resume of a file": (["--resume", "toy.npz"], ["toy.npz"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_option_of_train(capsys, case):
    """Each says what came and what to give; a default in its place would be trained without a word."""
    arguments, words = OPTIONS[case]
    refuse(capsys, "train", *arguments, words=words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_device_that_is_not_there(capsys):
    """Not a stack of CUDA initialisation; and not the CPU in silence."""
    refuse(capsys, "train", "bp", "--device", "cuda", words=["'cuda'", "not there", "--device cpu"])


COMMANDS = {
    "unknown command": (["trian"], ["trian"]),
    "explain of an unknown rule": (["explain", "drtpp"], ["'drtpp'", "'drtp'"]),
    "explain of nothing": (["explain"], ["Missing argument", "rule"]),
    "info of unknown data": (["data", "info", "mnits"], ["'mnits'", "'mnist'"]),
    "fetch of unknown data": (["data", "fetch", "mnits"], ["'mnits'", "'mnist'"]),
    "fetch of built-in data": (["data", "fetch", "digits"], ["digits", "built in"]),
    "eval of nothing": (["eval", "none"], ["none", "altprop train"]),
    "eval of a folder that is no run": (["eval", "."], ["recipe.toml"]),
    "eval of a file": (["eval", "toy.npz"], ["toy.npz"]),
    "predict by nothing": (["predict", "none", "toy.npz"], ["none"]),
    "report of nothing": (["report", "none"], ["none"]),
    "report of a folder that is no run": (["report", "."], ["recipe.toml"]),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_bad_argument_of_other_commands(capsys, case):
    """The same manners everywhere."""
    arguments, words = COMMANDS[case]
    refuse(capsys, *arguments, words=words)


def arrays(**changes):
    x, y = toy()
    return {"x": x, "y": y, **changes}


def spoilt(value, row=7, column=2):
    x, _ = toy()
    x[row, column] = value
    return x


def csv_text(cell="1.5", label="0"):
    lines = [f"{i}.5,{i},{i % 2}" for i in range(10)]
    lines[3] = f"3.5,{cell},{label}"
    return "a,b,label\n" + "\n".join(lines) + "\n"


FILES = {
    "nan.npz": (arrays(x=spoilt(np.nan)), ["nan", "row 7", "column 2"]),
    "inf.npz": (arrays(x=spoilt(np.inf)), ["inf", "row 7", "column 2"]),
    "beyond.npz": (arrays(x=spoilt(0).astype(np.float64) + 1e300), ["inf", "row 0"]),
    "labels.npz": (arrays(y=toy()[1] + 1), ["labels out of range", "1 to 3", "0 to 2"]),
    "gap.npz": (arrays(y=toy()[1] * 2), ["labels out of range", "without a gap"]),
    "negative.npz": (arrays(y=toy()[1] - 1), ["labels out of range", "-1"]),
    "test_label.npz": (
        {"x_train": toy()[0], "y_train": toy()[1], "x_test": toy()[0][:2], "y_test": np.array([0, 3])},
        ["labels out of range", "3 in row 1"],
    ),
    "one_class.npz": (arrays(y=toy()[1] * 0), ["1 class", "at least 2"]),
    "lengths.npz": (arrays(y=toy()[1][:-1]), ["60", "59"]),
    "no_samples.npz": (arrays(x=toy()[0][:0], y=toy()[1][:0]), ["empty"]),
    "names.npz": ({"data": toy()[0], "target": toy()[1]}, ["['data', 'target']", "x_train"]),
    "words.npz": (arrays(x=np.array([["a", "b"]] * 60)), ["expected numbers"]),
    "flat.npz": (arrays(x=toy()[0][:, 0]), ["(60,)", "reshape"]),
    "empty.npz": (b"", ["empty"]),
    "text.npz": (b"a,b,label\n1,2,0\n", [".npz archive"]),
    "empty.csv": (b"", ["empty"]),
    "header.csv": (b"a,b,label\n", ["no rows"]),
    "text.csv": (csv_text("three").encode(), ["row 4", "line 5", "'b'", "'three'"]),
    "nan.csv": (csv_text("nan").encode(), ["row 4", "'b'", "'nan'"]),
    "inf.csv": (csv_text("-inf").encode(), ["row 4", "'b'", "'-inf'"]),
    "gap.csv": (csv_text("").encode(), ["row 4", "'b'", "empty"]),
    "label.csv": (csv_text(label="").encode(), ["row 4", "'label'"]),
    "ragged.csv": (csv_text("1,2").encode(), ["row 4", "4 cells", "3"]),
    "no_label.csv": (csv_text().replace("label", "lable").encode(), ["'label'", "'lable'"]),
    "binary.csv": (bytes(range(256)), ["binary.csv"]),
    "image.csv": (b"\x89PNG\r\n\x1a\n" + bytes(100), ["image.csv"]),
    "table.txt": (b"1 2 3\n", ["'.txt'", ".csv"]),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_data_file(capsys, name):
    """By row and column where there is one; trained on, NaN would spoil every weight at the first step."""
    given, words = FILES[name]
    if isinstance(given, bytes):
        Path(name).write_bytes(given)
    else:
        np.savez(name, **given)
    refuse(capsys, "train", "bp", "--data", name, words=[name.split(".")[0], *words])
    refuse(capsys, "data", "info", name, words=words)


def test_truncated_archive(capsys):
    """A download that broke off."""
    whole = Path("toy.npz").read_bytes()
    for size in (len(whole) // 2, len(whole) - 10, 40):
        Path("cut.npz").write_bytes(whole[:size])
        refuse(capsys, "train", "bp", "--data", "cut.npz", words=["cut.npz"])


def test_flipped_byte_in_an_archive(capsys):
    """zip has a checksum for each member: it must be asked."""
    whole = bytearray(Path("toy.npz").read_bytes())
    whole[len(whole) // 4] ^= 0xFF
    Path("flipped.npz").write_bytes(whole)
    refuse(capsys, "train", "bp", "--data", "flipped.npz", words=["flipped.npz"])


def test_folder_of_things_that_are_no_images(capsys):
    """By the file's name."""
    for kind in ("cat", "dog"):
        Path("set", kind).mkdir(parents=True)
        Path("set", kind, "1.png").write_text("no image")
    refuse(capsys, "train", "bp", "--data", "set", words=["1.png", "PNG or JPEG"])


def test_published_set_that_is_damaged(capsys):
    """A file in its place with something else in it."""
    folder = Path("sets/MNIST/raw")
    folder.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                 "t10k-labels-idx1-ubyte"):  # fmt: skip
        (folder / name).write_bytes(b"not idx at all")
    refuse(capsys, "data", "info", "mnist", "--data-dir", "sets", words=["ubyte", "expected"])


RECIPES = {
    "unknown key": ("epoch = 3\n", ["'epoch'", "'epochs'"]),
    "no TOML": ("rule is pepita\n", ["not TOML"]),
    "unknown rule": ('rule = "pepitta"\n', ["'pepitta'", "'pepita'"]),
    "unknown argument": ('rule = "pepita"\n[arguments]\nsgin = 1\n', ["'sgin'", "'sign'"]),
    "wrong type": ('rule = "bp"\nepochs = "many"\n', ["epochs = 'many'"]),
    "out of range": ('rule = "bp"\nlr = 0\n', ["lr = 0"]),
}


@pytest.mark.parametrize("case", RECIPES)
def test_bad_recipe(capsys, case):
    """By file and key."""
    text, words = RECIPES[case]
    Path("recipe.toml").write_text(text)
    refuse(capsys, "train", "--config", "recipe.toml", words=["recipe.toml", *words])
    if case != "unknown rule":  # --rules comes before it
        refuse(capsys, "compare", "--config", "recipe.toml", "--rules", "bp", words=words[:1])


def test_config_that_is_a_run_of_python_data(capsys):
    """Its net and data cannot be named."""
    Path("recipe.toml").write_text('rule = "bp"\ndata = "toy.npz"\nnet = "custom"\n')
    refuse(capsys, "train", "--config", "recipe.toml", words=["given from Python"])


DIVERGING = ["train", "bp", *SMALL[:4], "--loss", "mse", "--lr", "1e6", "--epochs", "50"]


def test_training_that_turns_nan_stops_by_layer_and_step(capsys):
    """At once, with what to change, and no run directory of a net that is broken."""
    message = refuse(capsys, *DIVERGING, "--out", "run", words=["--lr", "--scale"]).err
    assert re.search(r"epoch \d+, step \d+, in layer '[02]' \(Linear", message)


def test_nan_is_found_in_its_layer(capsys, monkeypatch):
    """The first layer whose numbers are gone, at the step at which it went; in drtp the layer below is unharmed."""
    step, count = training.Learner.step, []

    def spoiling(self, x, y):
        count.append(1)
        if len(count) == 3:
            with torch.no_grad():
                self.net[2].weight[0, 0] = torch.nan
        return step(self, x, y)

    monkeypatch.setattr(training.Learner, "step", spoiling)
    refuse(capsys, "train", "drtp", *SMALL, "--out", "run", words=["epoch 1, step 3", "layer '2'", "loss is nan"])


def test_weight_that_is_lost_without_a_loss_is_found(capsys, monkeypatch):
    """Infinity in a weight whose inputs are all zero hides from the loss: it is found at the end of the epoch."""
    step = training.Learner.step

    def spoiling(self, x, y):
        loss = step(self, x, y)
        with torch.no_grad():
            self.net[0].bias[0] = -torch.inf  # behind a ReLU
        return loss

    monkeypatch.setattr(training.Learner, "step", spoiling)
    refuse(capsys, "train", "bp", *SMALL, "--out", "run", words=["epoch 1", "layer '0'", "weight is not finite"])


def test_failed_training_leaves_no_folder_of_runs(capsys):
    """Neither the run directory nor the ``runs`` that was made for it."""
    refuse(capsys, *DIVERGING, words=["layer"])


def test_failed_training_keeps_the_users_empty_folder(capsys):
    """It was there before: the current folder stays as it was."""
    Path("mine").mkdir()
    refuse(capsys, *DIVERGING, "--out", "mine", words=["layer"])


def test_softmax_ending_has_no_spec_but_sigmoid_activation_is_no_ending(capsys):
    """--act sigmoid is for hidden layers; the logits stay logits."""
    assert run_cli(capsys, "train", "bp", *SMALL, "--act", "sigmoid", "--json").json["activation"] == "sigmoid"


def test_cross_entropy_on_targets_of_a_regression(capsys):
    """Targets that are no distribution have no cross entropy: the loss would fall below every bound."""
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.savez("regression.npz", x=x, y=x[:, :3] * 5)
    refuse(capsys, "train", "bp", "--data", "regression.npz", "--loss", "cross_entropy", "--epochs", 1, words=["mse"])


def test_out_that_exists(capsys):
    """A run is never overwritten; a resumed one keeps its own options."""
    run_cli(capsys, "train", "bp", *SMALL, "--out", "run")
    refuse(capsys, "train", "bp", *SMALL, "--out", "run", words=["run is there already", "--out", "--resume"])
    refuse(capsys, "train", "--resume", "run", "--epochs", "9", words=["--epochs", "beside --resume"])


def test_no_permission_to_make_the_run_directory(capsys, monkeypatch):
    """Root may write anywhere, so the refusal is played."""

    def forbidden(path, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", forbidden)
    refuse(capsys, "train", "bp", *SMALL, "--out", "run", words=["cannot write run", "Permission denied", "--out"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_may_not_be_written(capsys):
    """A real one."""
    Path("locked").mkdir(mode=0o555)
    refuse(capsys, "train", "bp", *SMALL, "--out", "locked/run", words=["cannot write", "Permission denied"])


def full_disk(monkeypatch, at, number=errno.ENOSPC):
    """The disk is full from the ``at``-th file on that is brought to it; returns the count."""
    fsync, count = os.fsync, []

    def failing(descriptor):
        count.append(descriptor)
        if len(count) >= at:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    return count


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("at", range(1, 7))
def test_disk_that_fills_up_before_anything_can_be_used(capsys, monkeypatch, at, number):
    """recipe, environment, data, metrics, and the two files of the first checkpoint: nothing is left of any."""
    count = full_disk(monkeypatch, at, number)
    refuse(capsys, "train", "bp", *SMALL, "--out", "run", words=["cannot write run", "disk is full", "--out"])
    assert len(count) == at, "stopped at the first failure"


@pytest.mark.parametrize("at", [7, 8])
def test_disk_that_fills_up_at_the_end_leaves_a_run_to_resume(capsys, monkeypatch, at):
    """The work is in the checkpoint: no half file beside it, and --resume finishes once there is space."""
    with monkeypatch.context() as patch:
        full_disk(patch, at)
        assert_refused(run_cli(capsys, "train", "bp", *SMALL, "--out", "run"), "cannot write run", "disk is full")
    assert not [path for path in Path("run").rglob(".*")], "no scratch files"
    assert not Path("run/rule.safetensors").exists()
    assert run_cli(capsys, "train", "--resume", "run", "--json").json["epochs"] == 2
    run_cli(capsys, "train", "bp", *SMALL, "--out", "whole")
    assert Path("run/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


@pytest.mark.parametrize("at", [7, 8, 9])
def test_disk_that_fills_up_at_a_later_checkpoint(capsys, monkeypatch, at):
    """The one before it is still whole, and the run goes on from there to the same bits."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        full_disk(patch, at)
        outcome = run_cli(capsys, "train", "dfa", *SMALL, "--dropout", 0.3, "--epochs", 4, "--out", "run")
        assert_refused(outcome, "cannot write run", "disk is full")
    assert not [path for path in Path("run").rglob(".*")], "no scratch files"
    assert json.loads(Path("run/checkpoint/state.json").read_text())["epoch"] == 1
    assert run_cli(capsys, "train", "--resume", "run").status == 0
    run_cli(capsys, "train", "dfa", *SMALL, "--dropout", 0.3, "--epochs", 4, "--out", "whole")
    assert Path("run/rule.safetensors").read_bytes() == Path("whole/rule.safetensors").read_bytes()
    assert rows("run") == rows("whole")


def test_report_that_cannot_be_written(capsys, monkeypatch):
    """The run is whole, the report is not: one line that says so and what to do."""
    write = Path.write_bytes

    def failing(self, data):
        if "report" in self.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", failing)
        outcome = run_cli(capsys, "train", "bp", *SMALL, "--out", "run")
        assert_refused(outcome, "report.html", "disk is full", "free some space")
    assert not [path for path in Path("run").rglob("*report*")]
    assert run_cli(capsys, "report", "run").status == 0


LIMITED = """
import resource, signal, sys
from altprop.cli import main
import altprop.cli.commands
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
main(["train", "bp", "--data", "toy.npz", "--net", "6-5-3", "--epochs", "2", "--out", "run"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are a matter of Unix")
@pytest.mark.parametrize("limit", [0, 1000], ids=["at the start", "at the checkpoint"])
def test_kernel_that_refuses_to_write(tmp_path, limit):
    """A real EFBIG of the kernel: the recipe, or the checkpoint of some 8 kB, cannot be written."""
    before = content(tmp_path)
    outcome = run_python(LIMITED.format(limit), tmp_path)
    assert_refused(outcome, "cannot write run", "disk is full")
    assert content(tmp_path) == before


DAMAGE = {
    "model of rule cut": ("rule.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-8])),
    "model of rule empty": ("rule.safetensors", lambda path: path.write_bytes(b"")),
    "model of rule is text": ("rule.safetensors", lambda path: path.write_text("hello")),
    "recipe no TOML": ("recipe.toml", lambda path: path.write_text("[[[")),
    "recipe of another net": (
        "recipe.toml", lambda path: path.write_text(path.read_text().replace("6-5-3", "6-4-3"))),
    "recipe of another rule": ("recipe.toml", lambda path: path.write_text(path.read_text().replace('"dfa"', '"bp"'))),
    "recipe gone": ("recipe.toml", lambda path: path.unlink()),
    "data gone": ("data.json", lambda path: path.unlink()),
    "data no JSON": ("data.json", lambda path: path.write_text("{")),
    "data no object": ("data.json", lambda path: path.write_text("[]")),
    "data without shape": ("data.json", lambda path: path.write_text("{}")),
    "data of another kind": ("data.json", lambda path: path.write_text('{"shape": 6, "outputs": "three"}')),
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from altprop.run.experiment import fit

    folder = tmp_path_factory.mktemp("finished")
    fit("dfa", "6-5-3", str(toy_file(folder)), epochs=1, out=folder / "run")
    return folder / "run"


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("command", ["eval", "predict"])
def test_damaged_run(capsys, finished, command, damage):
    """One line by the file that is damaged; not a KeyError, and no prediction of another net."""
    shutil.copytree(finished, "run")
    name, spoil = DAMAGE[damage]
    spoil(Path("run", name))
    np.savez("x.npz", x=toy()[0])
    refuse(capsys, command, "run", *(["x.npz"] if command == "predict" else []), words=["run"])


def test_foreign_weights_of_the_same_names(capsys, finished):
    """The file of another run has the right names but other shapes."""
    shutil.copytree(finished, "run")
    state = safetensors.torch.load_file("run/rule.safetensors")
    safetensors.torch.save_file({key: torch.zeros(2, 2) for key in state}, "run/rule.safetensors")
    refuse(capsys, "eval", "run", words=["run", "does not fit"])


def test_the_undamaged_copy_is_fine(capsys, finished):
    """The control of the tests above."""
    shutil.copytree(finished, "run")
    assert run_cli(capsys, "eval", "run", "--json").json["samples"] == 30
    state = safetensors.torch.load_file("run/rule.safetensors")
    assert same_bits(state, safetensors.torch.load_file(finished / "rule.safetensors"))
