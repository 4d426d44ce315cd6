"""Several processes share every batch.  The oracle is one process on the whole batch, in float64."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pair
import pytest
import torch
from run_helpers import Outcome, assert_refused, rows, same_bits, toy_file, toy_recipe, without_epochs

from altprop.parallel.meeting import meeting
from altprop.parallel.pipeline import parted
from altprop.parallel.place import find_place
from altprop.parallel.shared import _Shares
from altprop.run.experiment import resume_run, run_recipe
from altprop.run.recipe import RunError


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory):
    """The folder in which two processes have done all of pair.py, with what each said of every command."""
    folder = tmp_path_factory.mktemp("pair")
    toy_file(folder)
    for name in ("0", "1", "taken"):
        (folder / name).mkdir()
    (folder / "taken" / "file").touch()
    sockets = [socket.socket() for _ in range(15)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = ",".join(str(each.getsockname()[1]) for each in sockets)
    for each in sockets:
        each.close()
    here, above = Path(__file__).parent, Path(__file__).parents[2]
    given = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PORTS": ports}
    given["PYTHONPATH"] = os.pathsep.join(map(str, (above, here.parent, here)))
    start = [sys.executable, str(here / "pair.py")]
    both = [subprocess.Popen(start, cwd=folder, env={**given, "RANK": rank}) for rank in "01"]
    try:
        assert [process.wait(timeout=300) for process in both] == [0, 9]  # the second is killed at last
    finally:
        for process in both:
            process.kill()
    return folder


def said(folder, rank, name):
    texts = [(folder / str(rank) / f"{name}.{kind}").read_text() for kind in ("status", "out", "err")]
    return Outcome(int(texts[0]), *texts[1:])


@pytest.mark.parametrize("name", pair.CASES)
def test_two_processes_compute_what_one_does(name, pair_of):
    """Shares of 8 and 9 samples: a gradient that is not averaged, or counts as half, or a loss of one share alone."""
    (first, row), (second, _) = (torch.load(pair_of / rank / "cases.pt")[name] for rank in "01")
    alone, alone_row = pair.trained(pair.CASES[name])
    assert same_bits(first, second)
    for key, tensor in alone.items():
        torch.testing.assert_close(first[key], tensor, atol=1e-6, rtol=0, msg=lambda text, at=key: f"{at}: {text}")
    assert row.keys() == alone_row.keys()
    assert all(row[key] == pytest.approx(alone_row[key], abs=1e-6) for key in row if key != "seconds")


def test_the_runs_learn(pair_of):
    """Rules that stand still would agree whatever is averaged."""
    for name, (tensors, _) in torch.load(pair_of / "0" / "cases.pt").items():
        before = pair.prepare(pair.CASES[name], pair.DATA).rule.state_dict()
        assert any(not torch.allclose(before[key].double(), tensors[key].double()) for key in before), name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refused", ["'softhebb'", "2 processes", "the mean of its samples'"]),
        ("narrow", ["a batch of 3", "--batch 4"]),
        ("taken", ["taken is there already"]),
        ("search", ["--jobs"]),
        ("locked", ["'bp'", "drtp", "--pipeline"]),
        ("flat", ["2 processes", "1 layers"]),
        ("others", ["--pipeline 3", "2 processes", "--nproc-per-node 3"]),
    ],
)
def test_what_cannot_be_shared_is_told_once(name, words, pair_of):
    """Every process ends with status 2, also where the first alone knows why; and nothing is left behind."""
    assert_refused(said(pair_of, 0, name), *words)
    assert said(pair_of, 1, name) == (2, "", "")
    assert not (pair_of / "refused").exists()


def test_one_checkpoint_of_a_stop_goes_on_to_the_bit(pair_of):
    """Process 1 is asked to stop in the middle of an epoch: both do, and what dropout drew comes again."""
    stopped = said(pair_of, 0, "stopped")
    assert (stopped.status, said(pair_of, 1, "stopped")) == (130, (130, "", ""))
    assert without_epochs(stopped.err) == "altprop: stopped; go on with: altprop train --resume parts\n"
    assert said(pair_of, 0, "resumed").status == said(pair_of, 1, "resumed").status == 0
    assert rows(pair_of / "parts") == rows(pair_of / "whole") and len(rows(pair_of / "whole")) == 4
    parts, whole = ((pair_of / run / "rule.safetensors").read_bytes() for run in ("parts", "whole"))
    assert parts == whole


@pytest.mark.parametrize("name", pair.PIPED)
def test_a_pipeline_is_one_process_to_the_bit(name, pair_of):
    """Two layers in each of two processes: a batch out of order, a moment or a statistic that is left behind."""
    (first, row), (second, second_row) = (torch.load(pair_of / rank / "piped.pt")[0][name] for rank in "01")
    alone, alone_row = pair.trained(pair.PIPED[name], team=pair.OneStream())
    assert same_bits(first, alone) and same_bits(second, alone)
    assert all(row[key] == second_row[key] == alone_row[key] for key in row if key != "seconds")


def test_a_pipeline_does_the_same_every_time(pair_of):
    """Twenty runs, whoever waits for whom."""
    found, again = torch.load(pair_of / "0" / "piped.pt")
    assert len(again) == 20 and all(same_bits(found["drtp"][0], each) for each in again)


def test_a_stopped_pipeline_goes_on_in_one_process(pair_of, monkeypatch):
    """The moments of all layers are in the checkpoint of the first process, in the middle of an epoch."""
    monkeypatch.chdir(pair_of)
    assert [said(pair_of, rank, "piped").status for rank in (0, 1)] == [130, 130]
    words = {"data": "toy.npz", "net": "6-8-5-3", "epochs": 4, "batch": 17, "measure": False, "optimizer": "adam"}
    whole, parts = run_recipe(toy_recipe(rule="drtp", **words), out="unpiped"), resume_run("piped")
    assert same_bits(whole.rule.state_dict(), parts.rule.state_dict())
    assert rows("piped") == rows("unpiped")


def test_layers_are_parted_by_their_work():
    """By hand: no process is without a layer, and none has more than it must."""
    assert parted([1.0] * 16, 2) == [range(8), range(8, 16)]
    assert parted([8.0, 1, 1, 1, 1, 1, 1, 1], 2) == [range(1), range(1, 8)]
    assert parted([9.0, 1, 1, 1], 3) == [range(1), range(1, 2), range(2, 4)]
    assert parted([1.0, 1, 1, 9], 3) == [range(2), range(2, 3), range(3, 4)]
    assert parted([1.0, 1.0, 1.0], 3) == [range(1), range(1, 2), range(2, 3)]


@pytest.mark.parametrize(("name", "word"), [("hung", "did not answer for 1 s"), ("killed", "is gone")])
def test_who_is_missed_is_named_and_the_run_goes_on_without(name, word, pair_of, monkeypatch):
    """The second of two in its seventh step: the first says so, and one process alone goes on from there."""
    monkeypatch.chdir(pair_of)
    ended = said(pair_of, 0, name)
    told = f"altprop: process 1 of 2 {word}: go on with: altprop train --resume {name}\n"
    assert (ended.status, without_epochs(ended.err)) == (2, told)
    assert [row["epoch"] for row in rows(name)] == [1]
    assert len(resume_run(name).metrics) == 4


def test_shares_are_the_batch():
    """Of any number of samples, processes and views: each sample once, or all by all, with weights that sum to one."""
    for samples in range(1, 30):
        for size in range(1, 6):
            x, whole = torch.arange(2 * samples), samples < 2 * size
            shares = [_Shares(rank, size, 2 * samples, 2) for rank in range(size)]
            rows = [share.cut(x) for share in shares]
            assert sorted(torch.cat(rows).tolist()) == sorted([*range(2 * samples)] * (size if whole else 1))
            assert all(bool((own[len(own) // 2 :] - own[: len(own) // 2] == samples).all()) for own in rows)
            assert sum(share.own for share in shares) == pytest.approx(1)


def test_a_pipeline_needs_processes(tmp_path):
    """One process that took it for a plain run would be told nothing."""
    with pytest.raises(RunError, match=r"--pipeline 2 came to 1 processes: start as many"), meeting(tmp_path, 2):
        pass


@pytest.mark.parametrize("given", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}])
def test_places_that_are_none_are_refused(given, monkeypatch):
    """A process that took such a place would wait for ever."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="start the processes by torchrun"):
        find_place()


def test_one_process_of_torchrun_is_alone(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert find_place() is None
