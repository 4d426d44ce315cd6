"""Every command and code block of README and docs runs; every generated table is fresh.  The oracle is the reader."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

from altprop import RULES, SEARCHES
from altprop.cli import main
from altprop.data import load

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
QUICK = {"train": ["--epochs", "1"], "compare": ["--epochs", "1", "--seeds", "2"], "sweep": ["--epochs", "1"]}
SEARCHED = ["--generations", "1", "--set", "size=2"]  # of the same option the last one counts


def blocks(page, language):
    return [text for kind, text in BLOCK.findall((ROOT / page).read_text()) if kind == language]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("samples.npz", x=rng.random((4, 1, 8, 8), dtype=np.float32))
    rows = "".join(f"{','.join(map(str, rng.random(4)))},{'abc'[i % 3]}\n" for i in range(30))
    Path("table.csv").write_text("w,x,y,z,species\n" + rows)
    for name in ("cat", "dog"):
        Path("images", name).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(f"images/{name}/{index}.png")
    for page in PAGES:
        for text in blocks(page, "toml"):
            Path("recipe.toml").write_text(text)
    rules = dict(RULES)
    yield tmp_path
    RULES.clear()
    RULES.update(rules)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run_in_order(page, desk, capsys, monkeypatch):
    """A snippet that no longer runs is the first thing that a newcomer meets."""
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    if page == "docs/creatures.md":
        pytest.importorskip("mujoco")
    namespace = {}
    for text in blocks(page, "python"):
        exec(compile(text, page, "exec"), namespace)


def test_first_snippet_learns(desk, capsys):
    """What a newcomer sees first is a net that has learned: it prints its accuracy, above .9."""
    torch.manual_seed(0)
    exec(compile(blocks("README.md", "python")[0], "README.md", "exec"), {})
    assert 0.9 < float(capsys.readouterr().out.removeprefix("test accuracy ")) <= 1


def test_trackers_hear_of_every_epoch(desk, monkeypatch):
    """Stand-ins in place of the packages: each is given the rows of both epochs, as numbers, at their steps."""
    wandb, mlflow = MagicMock(), MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for text in blocks("docs/trackers.md", "python"):
        exec(compile(text, "trackers.md", "exec"), {})
    rows = [call.args[0] for call in wandb.init.return_value.log.call_args_list]
    assert [row["epoch"] for row in rows] == [1, 2] and all(row["test_accuracy"] > 0.1 for row in rows)
    logged = mlflow.log_metrics.call_args_list
    assert [call.args[0]["epoch"] for call in logged] == [1, 2]
    assert [call.kwargs["step"] for call in logged] == [row["step"] for row in rows]
    assert all(isinstance(value, int | float) for call in logged for value in call.args[0].values())


@pytest.mark.parametrize("page", PAGES)
def test_commands_run(page, desk, capsys):
    """A command with an option that is gone; each runs for one epoch here."""
    for line in "".join(blocks(page, "console")).splitlines():
        command, *words = shlex.split(line, comments=True)
        if command == "make":
            subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True)
            continue
        if command == "torchrun":  # several processes are those of tests/parallel
            command, words = "altprop", words[words.index("altprop") + 1 :]
        assert command == "altprop", f"{page}: no test knows how to run {line!r}"
        if "mnist" in words and not _has_mnist():
            pytest.skip("ALTPROP_DATA names no folder with MNIST")
        if "creature" in words:
            pytest.importorskip("mujoco")
        searched = words[0] == "train" and words[1] in SEARCHES
        epochs = [] if "--resume" in words else SEARCHED if searched else QUICK.get(words[0], [])
        with pytest.raises(SystemExit) as ended:
            main([*words, *epochs])
        assert ended.value.code == 0, f"{page}: {line}: {capsys.readouterr().err}"


def test_recipe_in_the_guide_trains(desk, capsys):
    """A recipe key that was renamed."""
    with pytest.raises(SystemExit) as ended:
        main(["train", "--config", "recipe.toml", "--epochs", "1", "--out", "run"])
    assert ended.value.code == 0


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_run_and_stay_short(path, desk, capsys):
    """An example that is broken, or that has grown into a program."""
    assert len(path.read_text().splitlines()) <= 40
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_find_what_they_import(path):
    """Nothing else runs them, so that a name that has moved would be missed by who measures."""
    runpy.run_path(str(path), run_name="imported")


def test_generated_docs_are_fresh():
    """A number in the docs that no longer comes from its run."""
    check = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


def test_links_lead_somewhere():
    """A link to a page that was moved."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def _has_mnist():
    import os

    return "ALTPROP_DATA" in os.environ and load("mnist", progress=False) is not None
