"""How many threads a run takes by itself.  The oracle is the count of multiply-adds, by hand; nothing is timed."""

import json
import os

import pytest
import torch
from torch import nn

import altprop
from altprop import DFA
from altprop.run import machine
from altprop.run.build import prepare
from altprop.run.machine import WORTH, work, worth_threads
from altprop.run.values import make_recipe


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """The caller's four, on a machine of eight cores, that are hers again."""
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_work_is_counted_by_hand():
    """Of linear layers their weights and biases, of convolutions these at every position, each times the batch."""
    dense = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    assert work(DFA(dense, example=torch.rand(1, 6)), 16) == 16 * (6 * 5 + 5 + 5 * 3 + 3)
    conv = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
    assert work(DFA(conv, example=torch.rand(1, 2, 8, 8)), 2) == 2 * (36 * (4 * 2 * 9 + 4) + 4 * 36 * 3 + 3)


@pytest.mark.parametrize("times, threads", [(0.1, 1), (1.9, 1), (2.0, 2), (3.5, 3), (100, 4)])
def test_each_thread_has_work(monkeypatch, times, threads):
    """As many as there is work for, and no more than torch has."""
    monkeypatch.setattr(machine, "work", lambda rule, batch: int(times * WORTH))
    assert worth_threads(None, 1) == threads


def test_never_above_the_cores_at_hand(monkeypatch):
    """A container may have two of a machine's hundred cores."""
    monkeypatch.setattr(machine, "work", lambda rule, batch: 100 * WORTH)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7})
    assert worth_threads(None, 1) == 2


def test_run_keeps_the_number_that_it_took(tmp_path):
    """One for a small net, in environment.json; what was asked for comes first; the caller's are as they were."""
    settings = {"data": "digits", "net": "64-8-10", "epochs": 1, "measure": False}
    for given, taken in (({}, 1), ({"threads": 3}, 3)):
        out = tmp_path / str(taken)
        altprop.fit("dfa", out=out, **settings, **given)
        assert json.loads((out / "environment.json").read_text())["threads"] == taken
        assert torch.get_num_threads() == 4


def test_large_net_takes_more():
    """64-1024-1024-10 in batches of 64: 72 million multiply-adds in the weights."""
    prepare(make_recipe(rule="bp", data="digits", net="64-1024-1024-10", batch=64))
    assert torch.get_num_threads() == 72 * 10**6 // WORTH == 2
