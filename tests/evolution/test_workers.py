"""However a generation is evaluated, and whoever dies in it, the numbers are those of an untroubled run."""

import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import pytest
import torch
from run_helpers import rows, same_bits

import altprop
from altprop.evolution.evaluation import Evaluator, divided
from altprop.evolution.experiment import resume_search
from altprop.limits import Problem
from altprop.searches import NEAT
from altprop.tasks import XOR, Task

NOISY = {"generations": 6, "seed": 1, "parts": 4}


class Noisy(Task):
    """Answers to noise of the generation; where a file is wanted and missing, it is made and the process killed."""

    inputs, outputs = (2,), 1

    def __init__(self, file=None, generation=3):
        self.file, self.generation, self.asked = file, generation, 0

    def fitness(self, population, generator):
        self.asked += 1
        if self.file is not None and self.asked == self.generation and not Path(self.file).exists():
            Path(self.file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        population.reset()
        x = torch.randn(8, 2, generator=generator)
        return -(population(x)[:, :, 0] - (x[:, 0] * x[:, 1])).square().mean(1)


def timeless(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.metrics]


@pytest.fixture(scope="module", params=["ga", "neat"])
def search(request):
    return request.param


@pytest.fixture(scope="module")
def untroubled(search):
    return altprop.evolve(search, Noisy(), arguments={"size": 22}, **NOISY)


@pytest.mark.parametrize(("search", "jobs"), [("ga", 2), ("neat", 1), ("neat", 2)], indirect=["search"])
def test_processes_give_the_numbers_of_one(search, untroubled, jobs):
    run = altprop.evolve(search, Noisy(), arguments={"size": 22}, jobs=jobs, **NOISY)
    assert timeless(run) == timeless(untroubled)
    assert same_bits(run.net.state_dict(), untroubled.net.state_dict())


@pytest.mark.parametrize("search", ["neat"], indirect=True)
def test_worker_that_is_killed_is_replaced(search, untroubled, tmp_path):
    run = altprop.evolve(search, Noisy(str(tmp_path / "killed")), arguments={"size": 22}, jobs=2, **NOISY)
    assert (tmp_path / "killed").exists()
    assert timeless(run) == timeless(untroubled)
    assert same_bits(run.net.state_dict(), untroubled.net.state_dict())


class Deadly(Task):
    """Nobody outlives it."""

    inputs, outputs = (1,), 1

    def fitness(self, population, generator):
        os.kill(os.getpid(), signal.SIGKILL)


def test_task_that_kills_every_worker_ends_the_run(monkeypatch):
    monkeypatch.setattr(Evaluator, "tries", 2)
    with pytest.raises(
        Problem, match=r"part 0 of a generation could not be evaluated in 2 of 2 tries \(killed by signal 9\)"
    ):
        altprop.evolve("neat", Deadly(), jobs=1, generations=1)


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from test_workers import Noisy
import altprop
from altprop.evolution import experiment
save = experiment.SearchDirectory.save
def dying(run, tensors, state):
    if state["step"] == 4 and {before}:
        os.kill(os.getpid(), signal.SIGKILL)  # its row stands, its checkpoint does not
    save(run, tensors, state)
    if state["step"] == 4:
        os.kill(os.getpid(), signal.SIGKILL)
experiment.SearchDirectory.save = dying
if __name__ == "__main__":
    altprop.evolve({search!r}, Noisy(), arguments={{"size": 22}}, out="run", jobs={jobs}, **{noisy!r})
"""


@pytest.mark.parametrize(
    ("search", "before", "jobs"),
    [("ga", True, None), ("neat", True, None), ("neat", False, 2)], indirect=["search"],
)  # fmt: skip
def test_main_process_that_is_killed_goes_on_to_the_bit(search, untroubled, before, jobs, tmp_path):
    folder = str(Path(__file__).parent)
    code = textwrap.dedent(SCRIPT).format(folder=folder, before=before, jobs=jobs, search=search, noisy=NOISY)
    (tmp_path / "script.py").write_text(code)
    paths = os.pathsep.join([str(Path(altprop.__file__).parents[1]), folder, str(Path(folder).parent)])
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(rows(tmp_path / "run")) == 4
    run = resume_search(tmp_path / "run", task=Noisy())
    assert timeless(run) == timeless(untroubled) == rows(tmp_path / "run")
    assert same_bits(run.net.state_dict(), untroubled.net.state_dict())
    assert timeless(resume_search(tmp_path / "run", task=Noisy())) == timeless(run)  # which is only read


def test_champion_of_old_is_in_the_checkpoint(search, tmp_path):
    """Killed between the last checkpoint and the champion's file: no later generation could bring a better one."""
    run = altprop.evolve(search, Noisy(), arguments={"size": 22}, out=tmp_path / "run", **NOISY)
    (tmp_path / "run" / "model.safetensors").unlink()
    again = resume_search(tmp_path / "run", task=Noisy())
    assert again.fitness == run.fitness == run.metrics[-1]["best"]
    assert same_bits(again.net.state_dict(), run.net.state_dict()) and again.metrics == run.metrics


@pytest.mark.parametrize("size", [1, 7, 8, 9])
def test_parts_are_the_whole(size):
    x = torch.rand(5, 2)
    search = NEAT(2, 1, size=size)
    parts = divided(search.ask(), 4)
    assert sum(map(len, parts)) == size and len(parts) <= 4
    assert torch.allclose(torch.cat([part(x) for part in parts]), search.ask()(x))


def test_memory_is_flat_over_generations():
    """What 500 generations leave behind is a fraction of one generation."""
    search, task = NEAT(2, 1, size=20, seed=0, add_node=0.0, add_connection=0.0), XOR()

    def generations(count):
        for _ in range(count):
            search.tell(task.fitness(search.ask()))

    generations(50)
    tracemalloc.start()
    try:
        generations(50)
        before, _ = tracemalloc.get_traced_memory()
        generations(400)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 300_000  # of one table of genes a generation it would be a million


class Tall(Task):
    inputs, outputs = (1,), 1

    def fitness(self, population, generator):
        return torch.zeros(len(population), 1)


def test_task_of_another_shape_or_of_no_module_is_refused():
    with pytest.raises(Problem, match=r"a fitness of shape \(9, 1\) for 9 individuals: give one number each, \(9,\)"):
        altprop.evolve("neat", Tall(), arguments={"size": 9}, generations=1)
    task = Noisy()
    task.own = lambda: 0
    with pytest.raises(Problem, match="Noisy cannot be sent to other processes"):
        altprop.evolve("neat", task, jobs=1, generations=1)


def test_checkpoint_that_does_not_fit_is_told(tmp_path):
    altprop.evolve("cma_es", "sphere", generations=2, out=tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.write_text(recipe.read_text() + "\n[task_arguments]\nn = 4\n")
    with pytest.raises(Problem, match=r"begin from the same vector|does not fit its recipe"):
        resume_search(tmp_path / "run")


def test_other_data_are_told(tmp_path):
    x, y = torch.rand(20, 3), torch.arange(20) % 2
    altprop.evolve("ga", data=(x, y), net="3-2", arguments={"size": 4}, generations=1, out=tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(Problem, match="but the run saw"):
        resume_search(tmp_path / "run", data=(x[:12], y[:12]))


def test_run_that_fails_at_once_leaves_nothing(tmp_path):
    with pytest.raises(Problem):
        altprop.evolve("cma_es", XOR(), arguments={"size": 1}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_row_without_its_checkpoint_is_taken_out(tmp_path):
    """And a last line that was being written."""
    from altprop.evolution.directory import SearchDirectory

    altprop.evolve("cma_es", "sphere", generations=3, out=tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"generation": 4, "ev')
    run = SearchDirectory.open(tmp_path / "run")
    assert [row["generation"] for row in run.metrics(2)] == [1, 2]
    assert metrics.read_text().count("\n") == 2
    with pytest.raises(Problem, match="2 rows of 3 generations"):
        run.metrics(3)
