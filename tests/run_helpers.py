"""What the tests of runs and of the command line share: a tiny task, the command in process, and what a refusal is."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import altprop
from altprop import RULES
from altprop.cli import main
from altprop.run.values import make_recipe

FEATURES, CLASSES = 6, 3


def toy(n=60, seed=0):
    """(x (n, 6), y (n,)): three well separated clouds."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    centres = np.eye(CLASSES, FEATURES) * 3
    return (centres[y] + rng.normal(0, 0.5, (n, FEATURES))).astype(np.float32), y


def toy_tensors(n=60, seed=0):
    x, y = toy(n, seed)
    return torch.from_numpy(x), torch.from_numpy(y)


def dying(epoch, batch):
    """A script's beginning: it checkpoints after every batch, and SIGKILL ends it at this one."""
    return f"""
import os, signal
from altprop.run import train
train.CHECKPOINT_SECONDS = 0.0
_epoch = train._epoch
def progress(at, epochs, batch, batches, loss):
    if (at, batch) == ({epoch}, {batch}):
        os.kill(os.getpid(), signal.SIGKILL)
train._epoch = lambda learner, position, stop, _: _epoch(learner, position, stop, progress)
"""


def toy_file(folder, name="toy.npz", test=True):
    """The toy task as .npz, with or without a test part."""
    x, y = toy()
    x_test, y_test = toy(30, seed=1)
    arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test} if test else {"x": x, "y": y}
    np.savez(folder / name, **arrays)
    return folder / name


def suited_settings(rule, settings):
    """What nets of vector units do not have is left out: dropout, another activation or initialiser."""
    left_out = ("dropout", "act", "init") if RULES[rule].suits.init == "on_off" else ()
    return {key: value for key, value in settings.items() if key not in left_out}


def toy_recipe(**settings):
    settings = suited_settings(settings.get("rule", "bp"), settings)
    return make_recipe(**{"data": "custom", "net": "6-5-3", "epochs": 3, "batch": 16, **settings})


class Outcome(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object that standard output must consist of."""
        assert self.status == 0, self.err
        (line,) = self.out.splitlines()
        return json.loads(line)


def run_cli(capsys, *arguments):
    """The command line in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return Outcome(stop.value.code, *capsys.readouterr())


def run_python(code, cwd, **options):
    """A script in a process of its own, on one thread."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120, **options)
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_refused(outcome, *words):
    """One line on standard error that holds the words, status 2, and nothing else but the epochs before it."""
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    outcome = outcome._replace(err=without_epochs(outcome.err))
    assert outcome.err.startswith("altprop: ") and outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome
    assert len(outcome.err) > 30, "a message says what came, what was expected and what to do"
    for word in words:
        assert str(word) in outcome.err, f"{word!r} is not in: {outcome.err}"


def without_epochs(err):
    """What stands on standard error beside the line of every epoch."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith(("epoch ", "measuring ")))


def content(folder):
    """Every file and folder below, with a hash of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(Path(folder).rglob("*"))
    }


def rows(run):
    """metrics.jsonl without the one column that no two runs share."""
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def same_bits(left, right):
    """Two state dicts agree to the bit."""
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def write_csv(path, x, y, label="label", names=None):
    names = names or [f"f{index}" for index in range(x.shape[1])]
    lines = [",".join([*names, label])]
    lines += [",".join([*(f"{value:.9g}" for value in row), str(cell)]) for row, cell in zip(x, y, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def amounts(offset, spread, n=240, seed=0, features=4):
    """x (n, features), y (n,) linear in x with a tenth of noise, of that offset and spread."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    y = x @ rng.normal(size=features)
    y = y / y.std() + 0.3 * rng.normal(size=n)
    return x, offset + spread * (y - y.mean()) / y.std()


def raw_toy():
    """Clouds far from zero, in columns of different size."""
    x, y = toy()
    return (x * [1, 10, 100, 1000, 0.1, 1]).astype(np.float32) + 50, y


def csv_run(tmp_path, **settings):
    x, y = raw_toy()
    write_csv(tmp_path / "t.csv", x, [f"kind {label}" for label in y], "kind")
    result = altprop.fit("bp", data="t.csv", label="kind", epochs=20, out="run", **settings, measure=False, probe=False)
    return result.model, x, np.array([f"kind {label}" for label in y])
