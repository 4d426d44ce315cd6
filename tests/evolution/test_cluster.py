"""A local Ray cluster of two workers gives the numbers of one process."""

import os
import signal
from pathlib import Path

import pytest
import torch
from run_helpers import assert_refused, run_cli, same_bits

import altprop
from altprop.limits import Problem
from altprop.tasks import Task

ray = pytest.importorskip("ray", reason="altprop[ray] is not installed")
NOISY = {"generations": 3, "seed": 1, "parts": 4, "arguments": {"size": 22}}


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


def test_rule_takes_no_cluster(capsys):
    assert_refused(run_cli(capsys, "train", "drtp", "--ray", "local"), "--ray came without a search")
