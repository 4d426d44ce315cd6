"""altprop reproduce: what is missing is run, once, to the same bits as by hand, and can be stopped at any moment.

Runs start in processes of their own, so that nothing of them can be patched; their tables are made up here."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
from reproduce_helpers import places, pretend, row
from run_helpers import assert_refused, content, run_cli, same_bits, toy_file

import altprop
from altprop.cli import commands
from altprop.limits import Interrupted
from altprop.pool.workers import Workers
from altprop.study.reproduce import missing, plan, reproduce

TABLE = """
title = "Two rows on digits, one that reads the first, and one for another machine"
[base.digits]
data = "digits"
net = "64-8-10"
epochs = 2
lr = 0.05
minutes = 6
[row]
a = { base = "digits", rule = "bp", published = 97.0 }
b = { base = "digits", rule = "pepita", dropout = 0.2, arguments = { sign = -1 } }
c = { runs_of = "p/t/a", quantity = "accuracy", published = 90.0 }
d = { base = "digits", rule = "fa", needs = "gpu" }
"""
EPOCHS = 150  # of 4 steps, in which a run is stopped
SECONDS = 30  # until a process must have done what is waited for


def silent(line):
    pass


def weights(where, id, seed):
    """Of a finished run."""
    (model,) = (where.runs / id).glob(f"seed{seed}-*/model.safetensors")
    return safetensors.torch.load_file(model)


def result(where, id, seed):
    return json.loads((where.results / id / f"seed{seed}.json").read_text())


def by_hand(where, id, seed):
    recipe = row(where, id).recipe.with_(seed=seed, threads=1)
    return altprop.fit(**{key: value for key, value in recipe.model_dump().items() if value is not None})


def assert_same_as_by_hand(where, id, seed):
    """Weights to the bit, curves as far as they are written down."""
    run, mine = result(where, id, seed), by_hand(where, id, seed)
    assert same_bits(weights(where, id, seed), dict(mine.net.state_dict()))
    for key in ("test_accuracy", "train_accuracy", "test_loss", "loss"):
        assert run[key] == [round(line[key], 4) for line in mine.metrics], key


def test_missing_is_what_lacks_and_once(tmp_path):
    """A run made twice because two rows read it, one made though it is there, one started on the wrong device."""
    where = places(tmp_path, {"p/t": TABLE})
    assert [(job.row.id, job.seed, job.minutes) for job in missing(["p"], 2, where)] == [
        ("p/t/a", 0, 6), ("p/t/a", 1, 6), ("p/t/b", 0, 6), ("p/t/b", 1, 6),
    ]  # fmt: skip
    pretend(where, "p/t/a", [[0.9]], seconds=120.0)
    assert [(job.row.id, job.seed, job.minutes) for job in missing(["p/t/c"], 3, where)] == [
        ("p/t/a", 1, 2), ("p/t/a", 2, 2),
    ]  # fmt: skip
    assert missing(["p/t/d"], 2, where) == [] and len(missing(["p/t/d"], 2, where._replace(device="cuda"))) == 2


def test_plan_is_the_work_by_the_processes_but_at_least_the_longest(tmp_path):
    """An estimate that promises five minutes for one run of an hour."""
    where = places(tmp_path, {"p/t": TABLE.replace("minutes = 6", "minutes = 90")})
    queue = missing(["p"], 2, where)
    assert plan(queue, Workers(1)) == "4 runs to make, about 6.0 h with one process"
    assert plan(queue, Workers(2)) == "4 runs to make, about 3.0 h with 2 processes"
    assert plan(queue, Workers(8)) == "4 runs to make, about 90 min with 8 processes"
    assert plan(queue, Workers(2, "local")).endswith("with 2 processes, over Ray at 'local'")
    assert plan([], Workers(2)).startswith("nothing to run")


def test_two_rows_over_two_processes_equal_runs_by_hand(tmp_path):
    """Another seed, thread count or recipe in the process than the table says; a finished run made again."""
    where, said = places(tmp_path, {"p/t": TABLE}), []
    found = reproduce(["p"], seeds=2, jobs=2, places=where, tell=said.append)
    assert [(each["id"], each["n"]) for each in found] == [("p/t/a", 2), ("p/t/b", 2), ("p/t/c", 2), ("p/t/d", 0)]
    assert said[0] == "4 runs to make, about 12 min with 2 processes" and len(said) == 5
    for id in ("p/t/a", "p/t/b"):
        for seed in (0, 1):
            assert_same_as_by_hand(where, id, seed)
    run = result(where, "p/t/b", 1)
    assert run["recipe"] == row(where, "p/t/b").recipe.experiment() and run["row"] == "p/t/b" and run["seed"] == 1
    assert run["environment"]["threads"] == 1 and run["environment"]["altprop"] == altprop.__version__
    assert run["act"] == "relu" and run["classes"] == 10 and len(run["angle_to_bp"]["1"]) == 2
    before = content(tmp_path)
    assert reproduce(["p"], seeds=2, jobs=2, places=where, tell=said.append) == found
    assert said[5].startswith("nothing to run") and len(said) == 6 and content(tmp_path) == before


def test_dry_run_says_how_long_and_runs_nothing(tmp_path, capsys):
    """A look at the price that starts to pay it."""
    arguments = ["reproduce", "pepita/table1/fc-mnist-bp", "--seeds", 2, "--dry-run", "--results", tmp_path / "results"]
    shown = run_cli(capsys, *arguments)
    assert shown.status == 0 and shown.out.startswith("2 runs to make, about 8 min with one process")
    answer = run_cli(capsys, *arguments, "--json").json
    assert answer["runs"] == [{"id": "pepita/table1/fc-mnist-bp", "seed": seed, "minutes": 4} for seed in (0, 1)]
    assert list(tmp_path.iterdir()) == []


def answers(pid, number=signal.SIGTERM):
    """Whether a process that was started, and is past its exec, catches a signal: SIGTERM does one that trains."""
    try:
        about = Path(f"/proc/{pid}")
        began = b"spawn_main" in (about / "cmdline").read_bytes()  # first: until its exec it catches what we catch
        caught = re.search(r"SigCgt:\s*(\w+)", (about / "status").read_text())
    except OSError:
        return False
    return bool(began and caught and int(caught[1], 16) >> (number - 1) & 1)


def wait_for(condition):
    """The first true value, polled."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("waited too long")


@pytest.fixture
def long(tmp_path):
    """Places with a table of one row, that takes as long as it needs to be stopped."""
    if not Path("/proc/self/status").exists():
        pytest.skip("whether a run is under way is read from /proc")
    data, often = toy_file(tmp_path), f"batch = 16, epochs = {EPOCHS}"
    line = f'data = "{data}", net = "6-5-3", rule = "pepita", dropout = 0.3, {often}'
    return places(tmp_path, {"p/t": f"[row]\na = {{ {line} }}"})


def checkpoints(where):
    return [json.loads(path.read_text())["step"] for path in where.runs.glob("p/t/a/*/checkpoint/state.json")]


@pytest.mark.parametrize(("number", "seeds"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)], ids=["Ctrl-C", "polite kill"])
def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(long, number, seeds):
    """Hours lost by a Ctrl-C, a process left behind, or a resumed run that is another run."""
    over = threading.Event()

    def press():
        while not over.wait(0.01):
            if any(answers(child.pid) for child in multiprocessing.active_children()):
                os.kill(os.getpid(), number)
                return

    watch = threading.Thread(target=press, daemon=True)
    watch.start()
    try:
        with pytest.raises(Interrupted, match="the same command"):
            reproduce(["p"], seeds=seeds, jobs=2, places=long, tell=silent)
    finally:
        over.set()
        watch.join()
    assert multiprocessing.active_children() == [] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    steps = checkpoints(long)
    assert steps and all(0 < step < EPOCHS * 4 for step in steps)
    assert len(missing(["p"], seeds, long)) == seeds
    if number == signal.SIGTERM:
        return  # what it leaves is what Ctrl-C leaves
    (found,) = reproduce(["p"], seeds=seeds, jobs=1, places=long, tell=silent)
    assert found["n"] == seeds
    for seed in range(seeds):
        assert_same_as_by_hand(long, "p/t/a", seed)


SCRIPT = """
import sys
from pathlib import Path
from altprop.study.reproduce import Places, reproduce
from altprop.limits import Interrupted
folder = Path(sys.argv[1])
try:
    reproduce([], seeds=1, places=Places(folder / "results", folder / "runs", recipes=folder / "recipes"))
except Interrupted as error:
    sys.exit(str(error))
"""


def start(folder):
    """The reproduction in a process of its own, and a function that says which processes it has started."""
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    return script, lambda: Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text().split()


def test_a_run_does_not_outlive_a_killed_parent(long, tmp_path):
    """A closed terminal leaves runs behind that write where the next call writes as well."""
    script, children = start(tmp_path)
    pid = int(wait_for(lambda: next(filter(answers, children()), None)))
    script.kill()
    script.communicate()
    wait_for(lambda: not answers(pid))
    assert wait_for(lambda: checkpoints(long))[0] < EPOCHS * 4
    assert not list(long.results.glob("p/t/a/*.json"))


def test_ctrl_c_is_left_to_the_parent_and_says_one_line(long, tmp_path):
    """The terminal sends Ctrl-C to every process: one that still imports would die with a traceback."""
    script, children = start(tmp_path)
    pid = wait_for(lambda: next((pid for pid in children() if answers(pid, signal.SIGINT)), None))
    os.kill(int(pid), signal.SIGINT)
    wait_for(lambda: answers(pid) or script.poll() is not None)
    os.killpg(script.pid, signal.SIGINT)
    error = script.communicate(timeout=SECONDS)[1]
    assert script.returncode == 1 and error == "stopped; go on with the same command\n"
    assert checkpoints(long)


def test_a_failed_run_is_told_and_the_others_finish(tmp_path, monkeypatch, capfd):
    """One bad rate in a night's queue that costs all the others, or that nobody hears of."""
    wild = TABLE.replace('rule = "bp"', 'rule = "bp", loss = "mse", lr = 1e30')
    where = places(tmp_path, {"p/t": wild.split("c = ")[0]})
    monkeypatch.setattr(commands, "Places", partial(type(where), runs=where.runs, recipes=where.recipes))
    ended = run_cli(capfd, "reproduce", "p", "--seeds", 1, "--jobs", 2, "--results", where.results)
    assert ended.status == 2 and ended.out == "" and "Traceback" not in ended.err
    assert re.search(r"^altprop: p/t/a seed 0: training stopped at epoch 1, .* lower --lr", ended.err, re.MULTILINE)
    assert re.search(r"^altprop: 1 of 2 runs failed: p/t/a seed 0; ", ended.err, re.MULTILINE)
    assert result(where, "p/t/b", 0)["recipe_hash"] == row(where, "p/t/b").hash
    assert [(job.row.id, job.seed) for job in missing(["p"], 1, where)] == [("p/t/a", 0)]


def test_what_was_killed_before_its_first_checkpoint_starts_anew(tmp_path):
    """Half a run directory that blocks its run for ever."""
    where = places(tmp_path, {"p/t": TABLE.split("b = ")[0]})
    left = where.runs / "p/t/a" / f"seed0-{row(where, 'p/t/a').hash}"
    left.mkdir(parents=True)
    (left / "recipe.toml").write_text("half")
    reproduce(["p"], seeds=1, places=where, tell=silent)
    assert_same_as_by_hand(where, "p/t/a", 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pepitta"], ("no recipe for 'pepitta'", "did you mean 'pepita'")),
        (["pepita/tabel1"], ("pepita/tabel1", "did you mean 'pepita/table1'")),
        (["pepita/table1/fc-mnist-pb"], ("did you mean 'pepita/table1/fc-mnist-bp'",)),
        (["pepita", "--seeds", 0], ("--seeds",)),
        (["pepita", "--jobs", 0], ("--jobs",)),
        (["pepita", "--seeds", "many"], ("--seeds", "integer")),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_a_line(tmp_path, capsys, arguments, words):
    """A typo that runs for hours, or a traceback."""
    assert_refused(run_cli(capsys, "reproduce", *arguments, "--results", tmp_path / "results"), *words)
    assert list(tmp_path.iterdir()) == []


DAMAGED = {
    "half": b'{"recipe_hash": "1", ',
    "a list": b"[]",
    "no text": b"\xff\xfe\x00",
    "without a curve": b'{"recipe_hash": "1", "seed": 0, "seconds": 1, "classes": 10}',
    "of no epoch": b'{"recipe_hash": "1", "seed": 0, "seconds": 1, "classes": 10, "test_accuracy": []}',
    "of words": b'{"recipe_hash": "1", "seed": 0, "seconds": 1, "classes": 10, "test_accuracy": ["good"]}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("option", ["--status", "--dry-run"])
def test_a_damaged_result_is_refused_in_a_line(tmp_path, capsys, content, option):
    """A file cut off by a full disk that ends every later call in a traceback, or counts as a run."""
    path = tmp_path / "pepita" / "table1" / "fc-mnist-bp" / "seed0.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert_refused(run_cli(capsys, "reproduce", "pepita", option, "--results", tmp_path), path, "remove it")


def test_results_that_could_not_be_kept_are_not_made(tmp_path, capsys, monkeypatch):
    """Hours of work that end at a folder where nothing can be written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    for place in ("file", "file/results"):
        ended = run_cli(capsys, "reproduce", "pepita/table1/fc-mnist-bp", "--results", place)
        assert_refused(ended, "cannot write in", place, "--results")
    (tmp_path / "runs").write_text("in the way")
    assert_refused(run_cli(capsys, "reproduce", "pepita/table1/fc-mnist-bp", "--results", "new"), "runs")
    assert not any((tmp_path / "new").iterdir())
