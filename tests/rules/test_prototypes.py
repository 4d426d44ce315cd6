"""Rules of kinds that no family of the package has, each a file of its own: the suites and the commands take them, and
nothing beside their files knows their names."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_helpers import run_cli

HERE = Path(__file__).parent
FILES = {"nudged": HERE / "prototypes/equilibrium.py", "localloss": HERE / "prototypes/local_loss.py"}


def command(*arguments, **options):
    call = [sys.executable, "-m", "altprop.cli", *map(str, arguments)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_the_suites_take_them():
    """Contract and claims, as of every rule of the registry."""
    rules = [part for file in FILES.values() for part in ("--rules", file)]
    suites, names = [HERE / "test_contract.py", HERE / "test_claims.py"], "nudged or localloss"
    call = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, rules), *suites, "-k", names]
    done = subprocess.run(call, capture_output=True, text=True, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-2000:]
    passed = int(done.stdout.rstrip().rpartition("\n")[2].split(" passed")[0].split()[-1])
    assert passed > 90


@pytest.mark.parametrize("name", FILES)
def test_a_run_goes_on_after_a_kill(tmp_path, capsys, registry_kept, name):
    """Killed in the middle, it ends with the weights of one that was not, to the bit."""
    train = ["train", name, "--import", FILES[name], "--threads", 1, "--no-measure", "--epochs", 8]
    killed = command(*train, "--out", tmp_path / "run")
    whole = run_cli(capsys, *train, "--out", tmp_path / "whole", "--json")
    assert 0 < whole.json["test_accuracy"] < 1
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoint/state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    resumed = run_cli(capsys, "train", "--resume", tmp_path / "run", "--import", FILES[name])
    assert resumed.status == 0, resumed.err
    for file in ("model.safetensors", "rule.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert f'rule = "{name}"' in (tmp_path / "run/recipe.toml").read_text()


def test_they_are_compared(tmp_path, capsys, registry_kept):
    """Beside the reference, with their own claims."""
    imports = [part for file in FILES.values() for part in ("--import", file)]
    options = ["--rules", "bp,nudged,localloss", "--epochs", 1, "--seeds", 1, "--out", tmp_path / "c", "--json"]
    done = run_cli(capsys, "compare", *imports, *options)
    assert done.status == 0, done.err
    rows = {row["rule"]: row for row in done.json["rows"]}
    assert {"bp", "nudged", "localloss"} <= set(rows) and rows["nudged"]["claims"]["inference"] == "own"
    assert rows["localloss"]["claims"]["learns"] == ["heads"] and rows["nudged"]["n"] == 1
