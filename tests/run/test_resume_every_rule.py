"""Every rule, stopped at every checkpoint of every phase, ends in the same bits as one that was never stopped."""

import json
import shutil
import signal

import pytest
import safetensors.torch
from run_helpers import dying, rows, run_python, same_bits, toy_file, toy_recipe, toy_tensors

from altprop.data import from_torch
from altprop.rules import RULES
from altprop.run import train as training
from altprop.run.build import prepare
from altprop.run.directory.store import RunDirectory
from altprop.run.experiment import resume_run, run_recipe

GIVEN = {"train": toy_tensors(), "test": toy_tensors(30, seed=1)}
# What an argument brings that the defaults lack: parameters that learn, draws, updates within a batch, states.
ARGUMENTS = {
    "burstprop": {"feedback": "learned"}, "burstccn": {"feedback": "learned"}, "pc": {"incremental": True},
    "local": {"backprop_free": True}, "mono": {"inference": "sum"}, "ldrl": {"draws": 2, "alternate": 1},
    "forward_gradient": {"perturb": "weight"}, "forward_gradient_local": {"combine": "projection", "tangents": 2},
    "ep": {"weights": "vector_field", "estimate": "random_sign"}, "ep_lif": {"readout": False},
    "dtp": {"alternate": 1}, "scff": {"readout": False},
    "es": {"rank": 0, "shaping": "standard"}, "mezo": {"directions": 1}, "fzoo": {"directions": 3},
}  # fmt: skip
WAYS = ("plain", "streamed", "arguments")


def data():
    return from_torch(GIVEN["train"], GIVEN["test"])


def recipe(rule, way):
    """By Adam at a rate that falls; streamed with each phase in a turn of its own, those too that are left out else."""
    settings = {"rule": rule, "net": "6-5-4-3", "epochs": 2, "batch": 20, "optimizer": "adam", "schedule": "linear"}
    if way == "arguments":
        return toy_recipe(**settings, arguments=ARGUMENTS[rule])
    if way == "plain":
        return toy_recipe(**settings)
    phases = prepare(toy_recipe(**settings), data()).rule.phases()
    tables = [{"name": phase.name, "epochs": 1, "beside": False} for phase in phases if phase.name != "readout"]
    head = {"epochs": 1, "schedule": "cosine"} if len(tables) < len(phases) else {}
    return toy_recipe(**settings, stream=True, phase=tables if len(phases) > 1 else [], readout=head)


CASES = [(rule, way) for rule in RULES for way in WAYS if way != "arguments" or rule in ARGUMENTS]


def left(run):
    """All that a run has left, apart from the seconds."""
    state = json.loads((run / "checkpoint/state.json").read_text())
    tensors = safetensors.torch.load_file(run / "checkpoint" / state["tensors"])
    for told in (state, *state["rows"]):
        del told["seconds"]
    return rows(run), state, tensors, (run / "rule.safetensors").read_bytes()


def assert_same(run, whole):
    """Metrics, position and every optimizer's settings, their moments and what is drawn by, the weights."""
    (metrics, state, tensors, weights), (own, *rest) = left(run), left(whole)
    assert metrics == own
    assert state == rest[0] and same_bits(tensors, rest[1]) and weights == rest[2]


@pytest.mark.parametrize(("rule", "way"), CASES)
def test_what_a_kill_leaves_goes_on_to_the_bit(rule, way, tmp_path, monkeypatch):
    """A kill leaves the last checkpoint, whose epoch is not measured yet; of each a copy is gone on with."""
    if RULES[rule].requires:
        pytest.importorskip("snntorch")
    run = recipe(rule, way)
    save, copies = RunDirectory.save, []

    def saving(self, tensors, state):
        save(self, tensors, state)
        copies.append(tmp_path / str(len(copies)))
        shutil.copytree(self.path, copies[-1])

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as copying:
        copying.setattr(RunDirectory, "save", saving)
        epochs = len(run_recipe(run, data(), out=tmp_path / "whole").metrics)
    assert len(copies) == epochs >= 2
    for place, copy in enumerate(copies):
        assert len(rows(copy)) == place
        resume_run(copy, data=GIVEN)
        assert_same(copy, tmp_path / "whole")


KILLS = {  # of one kind each: decoders in turns, a readout after layers without labels, draws in every batch
    "dtp": {"arguments": {"alternate": 2}},
    "scff": {"epochs": 2, "readout": {"epochs": 2, "batch": 16}},
    "forward_gradient": {"epochs": 4, "dropout": 0.2},
}
KILLER = (
    dying(3, 1)
    + """
from altprop.run.experiment import run_recipe
from altprop.run.values import make_recipe
run_recipe(make_recipe(data="toy.npz", epochs=1))  # what is imported late is there before the process is parted
for name, settings in {kills}.items():
    if (pid := os.fork()) == 0:
        run_recipe(make_recipe(**settings), out=name)
        os._exit(0)
    print(name, os.waitpid(pid, 0)[1])
"""
)


def test_killed_in_the_last_phase(tmp_path, monkeypatch):
    """A process that dies at once, amid the last epoch: what it had in memory is gone."""
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)
    plain = {"data": "toy.npz", "net": "6-5-4-3", "batch": 16, "optimizer": "adam", "schedule": "linear"}
    recipes = {rule: {"rule": rule, **plain, **settings} for rule, settings in KILLS.items()}
    killed = run_python(KILLER.replace("{kills}", repr(recipes)), tmp_path)
    assert killed.out.splitlines() == [f"{rule} {int(signal.SIGKILL)}" for rule in KILLS], killed.err
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    for rule, settings in recipes.items():
        assert [row["epoch"] for row in rows(rule)] == [1, 2, 3]
        resume_run(rule)
        run_recipe(toy_recipe(**settings), out=f"{rule}-whole")
        assert_same(tmp_path / rule, tmp_path / f"{rule}-whole")
        assert len(rows(rule)) == 4
