"""A local Ray cluster of two workers gives the numbers of one process, whoever dies: searches, comparisons, papers."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from run_helpers import assert_refused, run_cli, same_bits, toy_file

import altprop
from altprop.limits import Interrupted, Problem
from altprop.registry import import_rules
from altprop.study import cost
from altprop.study.reproduce import Places, reproduce
from altprop.tasks import Task

ray = pytest.importorskip("ray", reason="altprop[ray] is not installed")
NOISY = {"generations": 3, "seed": 1, "parts": 4, "arguments": {"size": 22}}
TIMED = ("seconds_per_epoch", "step_ratio_to_bp", "report")
RULE = '''
import os
import signal
from pathlib import Path

from altprop import DRTP

class Deadly(DRTP):
    """Kills its process in the second epoch, as often as a folder holds files."""

    def credit(self, x, y, ready=None):
        self.asked = getattr(self, "asked", 0) + 1
        for file in sorted(Path("deaths").glob("*")) if self.asked == 5 else ():
            file.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().credit(x, y, ready)
'''


class Noisy(Task):
    """Answers to noise of the generation; where a file is wanted and missing, it is made and the process killed."""

    inputs, outputs = (2,), 1

    def __init__(self, file=None):
        self.file = file

    def fitness(self, population, generator):
        if self.file is not None and not Path(self.file).exists():
            Path(self.file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        population.reset()
        x = torch.randn(8, 2, generator=generator)
        return -(population(x)[:, :, 0] - (x[:, 0] * x[:, 1])).square().mean(1)


class Hard(Task):
    inputs, outputs = (1,), 1

    def fitness(self, population, generator):
        raise altprop.Refused("nobody can be asked this: ask something else")


@pytest.fixture(scope="module")
def cluster():
    """Its workers find this file where the tests do."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, [Path(altprop.__file__).parents[1], *Path(__file__).parents[:2]]))}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": paths})
    yield "local"
    ray.shutdown()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "ROUNDS", 1)
    monkeypatch.setattr(cost, "STEP_SECONDS", 1e-4)


def timeless(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.metrics]


def test_cluster_gives_the_numbers_of_one_process_whoever_dies(cluster, tmp_path):
    alone = altprop.evolve("neat", Noisy(), **NOISY)
    for file in (None, str(tmp_path / "killed")):
        run = altprop.evolve("neat", Noisy(file), ray=cluster, **NOISY)
        assert timeless(run) == timeless(alone) and same_bits(run.net.state_dict(), alone.net.state_dict())
    assert (tmp_path / "killed").exists()


def test_refusal_comes_through_as_it_was(cluster):
    with pytest.raises(Problem, match="nobody can be asked this: ask something else"):
        altprop.evolve("neat", Hard(), ray=cluster, **NOISY)


def test_comparison_has_the_rows_of_one_process_whoever_dies(cluster, registry_kept, tmp_path):
    """A rule of a file, whose worker is killed in the middle of one run; its other seed, and the control."""
    (tmp_path / "rule.py").write_text(RULE)
    import_rules(tmp_path / "rule.py")

    def compare(out, **workers):
        settings = {"seeds": 2, "epochs": 2, "batch": 16, "dropout": 0.3, "out": out}
        return altprop.compare(["deadly"], "6-5-3", str(toy_file(tmp_path)), **settings, **workers)

    one = compare("one", jobs=1)
    Path("deaths").mkdir()
    Path("deaths/0").touch()
    two = compare("two", ray=cluster)
    assert list(Path("deaths").iterdir()) == [], "nobody died"
    for here, there in zip(one.rows, two.rows, strict=True):
        assert {**here, **dict.fromkeys(TIMED)} == {**there, **dict.fromkeys(TIMED)}
    for run in [f"{rule}-seed{seed}" for rule in ("deadly", "shallow") for seed in (0, 1)]:
        assert same_bits(*(safetensors.torch.load_file(f"{out}/{run}/model.safetensors") for out in ("one", "two")))


def test_ctrl_c_on_a_cluster_leaves_checkpoints_to_go_on_from(cluster, tmp_path):
    """By ``reproduce``, to the bits of runs by hand."""
    line = f'data = "{toy_file(tmp_path)}", net = "6-5-3", rule = "pepita", dropout = 0.3, batch = 16, epochs = 100'
    (tmp_path / "recipes" / "p").mkdir(parents=True)
    (tmp_path / "recipes" / "p" / "t.toml").write_text(f"[row]\na = {{ {line} }}")
    where, over = Places(Path("results"), Path("runs"), recipes=Path("recipes")), threading.Event()

    def press():
        while not over.wait(0.01):
            if list(where.runs.glob("p/t/a/*/metrics.jsonl")):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watch = threading.Thread(target=press, daemon=True)
    watch.start()
    try:
        with pytest.raises(Interrupted, match="the same command"):
            reproduce(["p"], seeds=1, ray=cluster, places=where, tell=lambda line: None)
    finally:
        over.set()
        watch.join()
    (state,) = where.runs.glob("p/t/a/*/checkpoint/state.json")
    time.sleep(0.2)
    before = state.read_text()
    assert not list(where.results.rglob("seed*.json"))
    reproduce(["p"], seeds=1, ray=cluster, places=where, tell=lambda line: None)
    assert state.read_text() != before
    mine = altprop.fit("pepita", "6-5-3", str(toy_file(tmp_path)), epochs=100, batch=16, dropout=0.3, threads=1, seed=0)
    assert same_bits(safetensors.torch.load_file(state.parents[1] / "model.safetensors"), dict(mine.net.state_dict()))


def test_rule_takes_no_cluster(capsys):
    assert_refused(run_cli(capsys, "train", "drtp", "--ray", "local"), "--ray came without a search")
