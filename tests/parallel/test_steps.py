"""One step by two threads in the place of two processes.  The oracle is one process on the whole batch."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from run_helpers import toy_recipe, toy_tensors

from altprop.core import Weighted
from altprop.data import from_torch
from altprop.nets import build
from altprop.parallel.shared import Shared, own_stream
from altprop.rules import RULES, Backprop
from altprop.run.build import prepare

X, Y = toy_tensors(17)
DATA = from_torch((X, Y), toy_tensors(30, seed=1))
W = torch.linspace(0, 2, len(Y)).double()


class Threads:
    """Sums over threads, each of which sees itself as one of two processes."""

    size, missed = 2, ""

    def __init__(self, rank, others, meet):
        self.rank, self.others, self.meet, self.begun = rank, others, meet, []
        others[rank] = self

    def begin(self, tensor):
        self.begun.append(tensor)

    def wait(self):
        self.meet.wait()
        sums = [sum(parts) for parts in zip(*(other.begun for other in self.others), strict=True)]
        self.meet.wait()
        for tensor, whole in zip(self.begun, sums, strict=True):
            tensor.copy_(whole)
        self.begun = []
        return True


class Gone(Threads):
    """Nobody else is there any more."""

    missed = "process 1 of 2 is gone"

    def wait(self):
        for tensor in self.begun:
            tensor.fill_(torch.nan)
        self.begun = []
        return False


class Silent(Backprop):
    """Tells of no layer."""

    def credit(self, x, y, ready=None):
        return super().credit(x, y)


def learner(rule, **settings):
    recipe = toy_recipe(**{"rule": rule, "net": "6-5-4-3", "batch": 17, **settings})
    spec = prepare(recipe, DATA).recipe
    made = prepare(recipe, DATA, build(spec.net, (6,), 3, act=spec.act, init=spec.init, seed=0).double())
    made.enter(0)
    return made


def by_two(rule, settings, x, y, asked=()):
    """(learner, losses of two steps, whether it stops) of each of two threads."""
    others, meet = [None, None], threading.Barrier(2, timeout=20)

    def run(rank, made):
        ask = threading.Event()
        if rank in asked:
            ask.set()
        team = Shared(Threads(rank, others, meet), ask)
        return made, [team.step(made, x, y) for _ in range(2)], team.stop.is_set()

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, rank, learner(rule, **settings)) for rank in (0, 1)]
        return [each.result() for each in runs]


CASES = {
    "dfa": ("dfa", {}, Y), "weighted": ("bp", {"optimizer": "adam"}, Weighted(Y, W)), "beside": ("kp", {}, Y),
    "streamed": ("pepita_local", {"stream": True}, Y), "masks": ("som", {"arguments": {"masks": True}}, Y),
    "theta": ("hard_wta", {"arguments": {"thresholds": True}}, Y), "silent": ("silent", {}, Y),
    "a rest of three": ("dfa", {}, Y[:3]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_two_shares_are_the_batch(case, monkeypatch):
    """8 and 9 samples: a layer that is left out, a share that counts as half, a mask that one process moved alone."""
    monkeypatch.setitem(RULES, "silent", Silent)
    rule, settings, y = CASES[case]
    x, alone = X[: len(y)].double(), learner(rule, **settings)
    losses = [alone.step(x, y) for _ in range(2)]
    for made, own, stops in by_two(rule, settings, x, y):
        assert own == pytest.approx(losses, abs=1e-9) and not stops
        for key, tensor in alone.rule.state_dict().items():
            torch.testing.assert_close(made.rule.state_dict()[key], tensor, atol=1e-9, rtol=0)


def test_one_that_is_asked_stops_both():
    """After the same step, so that none waits for the other."""
    assert [stops for _, _, stops in by_two("dfa", {}, X.double(), Y, asked=[1])] == [True, True]


def test_running_statistics_are_averaged():
    """By hand: the mean of what a BatchNorm has seen in 8 samples and in 9, each by its number of samples."""
    x = X.double()
    var = (8 * x[:8].var(0) + 9 * x[8:].var(0)) / 17
    for made, _, _ in by_two("bp", {"net": "6-norm-5-3"}, x, Y):
        norm = made.net[0]
        torch.testing.assert_close(norm.running_mean, x.mean(0) * (1 - 0.9**2))  # in two steps
        torch.testing.assert_close(norm.running_var, var * (1 - 0.9**2) + 0.9**2)


def test_who_is_left_keeps_its_own_share():
    """A sum that failed means nothing: one step on its own share, and the run stops with a checkpoint."""
    team, made, alone = Shared(Gone(0, [None], None), threading.Event()), learner("dfa"), learner("dfa")
    assert team.step(made, X.double(), Y) == pytest.approx(alone.step(X[:8].double(), Y[:8]), abs=1e-12)
    assert team.stop.is_set()
    for key, tensor in alone.rule.state_dict().items():
        torch.testing.assert_close(made.rule.state_dict()[key], tensor, atol=1e-12, rtol=0)


def test_what_all_draw_in_common_moves_by_one_number():
    """A checkpoint of the first process holds the state of all, and each draws differently inside a step."""
    states, drawn = [], []
    for rank in (0, 1):
        torch.manual_seed(5)
        with own_stream(rank):
            drawn.append(torch.rand(3))
        states.append(torch.get_rng_state())
    torch.manual_seed(5)
    torch.randint(2**62, ())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], torch.get_rng_state())
    assert not torch.equal(*drawn)
