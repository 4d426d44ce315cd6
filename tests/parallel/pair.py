"""What two processes do together for ``test_shared.py``; started with RANK and WORLD_SIZE, in an empty folder."""

import os
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
from run_helpers import toy_recipe, toy_tensors

from altprop.cli import main, watching
from altprop.core import Staged
from altprop.data import from_torch
from altprop.nets import build
from altprop.parallel import peers
from altprop.parallel.meeting import meeting
from altprop.parallel.pipeline import Pipeline
from altprop.parallel.shared import Shared, own_stream
from altprop.rules import RULES
from altprop.run.build import prepare
from altprop.run.experiment import run_recipe
from altprop.run.team import Alone

UNEVEN = {"net": "6-5-4-3", "epochs": 1, "batch": 17, "measure": False}  # 8 and 9 of 17, 4 and 5 of the last 9
MORE = {
    "bp, streamed": {"rule": "bp", "stream": True, "optimizer": "adam"},
    "kp, adam": {"rule": "kp", "optimizer": "adam", "weight_decay": 0.1},
    "gevb, streamed": {"rule": "gevb", "stream": True},
    "hard_wta, thresholds": {"rule": "hard_wta", "arguments": {"thresholds": True}},
    "som, masks": {"rule": "som", "arguments": {"masks": True}},
    "mono, weighted": {"rule": "mono", "class_weight": [1.0, 2.0, 5.0]},
    "bp, a rest of two": {"rule": "bp", "batch": 29, "schedule": "ramp"},
    "oja, layer by layer": {"rule": "oja", "phase": [{"name": "layer 2", "beside": False, "epochs": 1}]},
    "oja, a readout after": {"rule": "oja", "readout": {"epochs": 2, "batch": 11}},
    "oja, a readout by Hebb": {"rule": "oja", "readout": {"by": "hebbian", "epochs": 1}},
    "hebb, a readout solved": {"rule": "hebb", "readout": {"by": "ridge"}},
}


DEEP = {**UNEVEN, "net": "6-8-5-4-3", "epochs": 2}
OF_STAGES = {
    "drtp, adam, streamed": {"rule": "drtp", "optimizer": "adam", "stream": True},
    "drtp, weighted": {"rule": "drtp", "class_weight": [1.0, 2.0, 5.0]},
    "mono, sum": {"rule": "mono", "arguments": {"inference": "sum"}, "optimizer": "adam"},
    "softhebb, norms": {"rule": "softhebb", "net": "6-norm-8-norm-5-norm-3"},
    "hebb, no readout": {"rule": "hebb", "arguments": {"readout": False}},
    "ff": {"rule": "ff"},
}
DATA = from_torch(toy_tensors(), toy_tensors(30, seed=1))
OWN = {rule: kind.claims for rule, kind in RULES.items() if kind.__module__.startswith("altprop.")}
SAME = {rule: {"rule": rule} for rule, claims in OWN.items() if claims.averages and not claims.draws}
CASES = {name: toy_recipe(**{**UNEVEN, **settings}) for name, settings in {**SAME, **MORE}.items()}
STAGED = {rule: {"rule": rule} for rule, claims in OWN.items() if issubclass(RULES[rule], Staged) and not claims.draws}
PIPED = {name: toy_recipe(**{**DEEP, **settings}) for name, settings in {**STAGED, **OF_STAGES}.items()}


class OneStream(Alone):
    """This process, which draws in a step as the first of several does."""

    def step(self, learner, x, y):
        with own_stream(0):
            return super().step(learner, x, y)


def trained(recipe, **options):
    """All tensors of a rule after a run on a net in float64, and its row of metrics."""
    learner = prepare(recipe, DATA)
    net = build(learner.recipe.net, (6,), 3, act=learner.recipe.act, init=learner.recipe.init, seed=0).double()
    result = run_recipe(recipe, DATA, net, **options)
    return dict(result.rule.state_dict()), result.metrics[-1]


OPTIONS = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "4", "--batch", "17", "--no-measure", "--dropout", "0.2"]
PORTS = iter(os.environ["PORTS"].split(",")) if "PORTS" in os.environ else iter(())


def command(name, *words):
    """One run of the command line; what it said and its status lie in a file of this process."""
    os.environ["MASTER_PORT"] = next(PORTS)
    with open(f"{name}.out", "w") as out, open(f"{name}.err", "w") as err:
        sys.stdout, sys.stderr = out, err
        try:
            main(["train", *words])
        except SystemExit as ended:
            Path(f"{name}.status").write_text(str(ended.code))
        finally:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def at_step(count, do, who=1, kind=Shared):
    """That process does that before the step of this number."""
    step, steps = kind.step, iter(range(10**6))

    def counting(self, learner, x, y):
        if next(steps) == count and self.peers.rank == who:
            do()
        return step(self, learner, x, y)

    kind.step = counting
    return lambda: setattr(kind, "step", step)


def commands(rank):
    say = f"{rank}/"
    command(say + "refused", "softhebb", *OPTIONS[:-2], "--out", "refused")
    command(say + "narrow", "bp", *OPTIONS, "--batch", "3", "--out", "refused")
    command(say + "taken", "bp", *OPTIONS, "--out", "taken")
    command(say + "search", "ga", "--task", "xor", "--out", "refused")
    command(say + "whole", "kp", *OPTIONS, "--out", "whole")
    undo = at_step(6, lambda: os.kill(os.getpid(), signal.SIGINT))
    command(say + "stopped", "kp", *OPTIONS, "--out", "parts")
    undo()
    command(say + "resumed", "--resume", "parts")
    piped = [*OPTIONS[:-2], "--net", "6-8-5-3", "--optimizer", "adam", "--pipeline", "2"]
    command(say + "locked", "bp", *piped, "--out", "refused")
    command(say + "flat", "drtp", *piped, "--net", "6-3", "--out", "refused")
    command(say + "others", "drtp", *piped, "--pipeline", "3", "--out", "refused")
    undo = at_step(6, lambda: os.kill(os.getpid(), signal.SIGINT), who=0, kind=Pipeline)
    command(say + "piped", "drtp", *piped, "--out", "piped")
    undo()
    os.environ["ALTPROP_PATIENCE"], peers.GRACE = "1", 0.3
    undo = at_step(6, lambda: time.sleep(3))
    command(say + "hung", "kp", *OPTIONS, "--out", "hung")
    undo()
    at_step(6, lambda: os._exit(9))
    command(say + "killed", "kp", *OPTIONS, "--out", "killed")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ["MASTER_PORT"] = next(PORTS)
    with meeting(Path("unwritten")) as team:
        torch.save({name: trained(CASES[name], team=team) for name in CASES}, f"{os.environ['RANK']}/cases.pt")
    os.environ["MASTER_PORT"] = next(PORTS)
    with meeting(Path("unwritten"), pipeline=2) as team:
        found = {name: trained(PIPED[name], team=team) for name in PIPED}
        again = [trained(PIPED["drtp"], team=team)[0] for _ in range(20)]
        torch.save((found, again), f"{os.environ['RANK']}/piped.pt")
    watching.write_report = lambda path: None  # which costs seconds, and is tested elsewhere
    commands(os.environ["RANK"])
