"""Rules of kinds that no family of the package has, each a file of its own: the suites and the commands take them, and
nothing beside their files knows their names."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = {"ep": HERE / "prototypes/equilibrium.py", "localloss": HERE / "prototypes/local_loss.py"}


def command(*arguments, **options):
    call = [sys.executable, "-m", "altprop.cli", *map(str, arguments)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_the_suites_take_them():
    """Contract and claims, as of every rule of the registry."""
    rules = [part for file in FILES.values() for part in ("--rules", file)]
    suites, names = [HERE / "test_contract.py", HERE / "test_claims.py"], "[ep or [ep- or localloss or -ep-"
    call = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, rules), *suites, "-k", names]
    done = subprocess.run(call, capture_output=True, text=True, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-2000:]
    passed = int(done.stdout.rstrip().rpartition("\n")[2].split(" passed")[0].split()[-1])
    assert passed > 90


@pytest.mark.parametrize("name", FILES)
def test_a_run_goes_on_after_a_kill(tmp_path, name):
    """Killed in the middle, it ends with the weights of one that was not, to the bit."""
    options = [name, "--import", FILES[name], "--threads", 1, "--json"]
    whole, _ = command("train", *options, "--epochs", 8, "--out", tmp_path / "whole").communicate()
    assert 0 < json.loads(whole.splitlines()[-1])["test_accuracy"] < 1
    run = command("train", *options, "--epochs", 8, "--out", tmp_path / "run")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoint/state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    resumed = command("train", "--resume", tmp_path / "run", "--import", FILES[name], "--json")
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    for file in ("model.safetensors", "rule.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert f'rule = "{name}"' in (tmp_path / "run/recipe.toml").read_text()


def test_they_are_compared(tmp_path):
    """Beside the reference, with their own claims."""
    imports = [part for file in FILES.values() for part in ("--import", file)]
    options = ["--rules", "bp,ep,localloss", "--epochs", 1, "--seeds", 1, "--out", tmp_path / "c", "--json"]
    done = command("compare", *imports, *options)
    out, err = done.communicate()
    assert done.returncode == 0, err
    rows = {row["rule"]: row for row in json.loads(out.splitlines()[-1])["rows"]}
    assert {"bp", "ep", "localloss"} <= set(rows) and rows["ep"]["claims"]["inference"] == "own"
    assert rows["localloss"]["claims"]["learns"] == ["heads"] and rows["ep"]["n"] == 1
