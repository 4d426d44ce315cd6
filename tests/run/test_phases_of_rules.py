"""Phases that a rule brings along, of which the trainer has never heard, against plain loops; stops; old spellings."""

import json
import os
import signal

import pytest
import torch
from run_helpers import rows, same_bits, toy_recipe, toy_tensors
from torch import nn

import altprop
from altprop.core import Claims, Phase, Rule, ascend, descend, learn
from altprop.core.phase import modules_of
from altprop.data import batches, from_torch
from altprop.limits import Interrupted
from altprop.rules import RULES
from altprop.run.build import prepare
from altprop.run.directory.records import read_run
from altprop.run.experiment import resume_run, run_recipe
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe, read_recipe

NET = "6-norm-8-norm-5-3"
GIVEN = {"train": toy_tensors(), "test": toy_tensors(30, seed=1)}


def toy_data():
    return from_torch(GIVEN["train"], GIVEN["test"])


class Thrice(Rule):
    """A decoder of the inputs first, then the last layer, and then the one below: each by steps of its own."""

    family, reference = "control", "frenkel2021"
    claims = Claims(weight_transport="full", locking="backward", signal="layerwise", learns=("decoder",))

    def __init__(self, net, **arguments):
        super().__init__(net, **arguments)
        self.decoder = nn.Linear(6, 6)
        for parameter in self.decoder.parameters():
            nn.init.zeros_(parameter)

    def phases(self):
        *_, below, last = self.layers
        return [
            Phase("decoder", (self.decoder,), self.decode, labels=False),
            Phase("top", modules_of(last), self.credit),
            Phase("below", modules_of(below), self.credit),
        ]

    def decode(self, x, y=None, ready=None):
        assert y is None
        with torch.enable_grad():
            loss = (self.decoder(x) - x).square().sum(1).mean() / 2
            loss.backward()
        return loss.detach()

    @torch.no_grad()
    def credit(self, x, y, ready=None):
        traces = ascend(self.layers, x, reach=1)
        loss, e = self.output_error(traces[-1].h, self.targets(y, len(x)))
        for trace, delta in descend(traces, e / len(x), [layer.synapse.weight for layer in self.layers[1:]]):
            learn(trace, delta, ready)
        return loss

    def param_groups(self, lr):
        return [*super().param_groups(lr), {"params": list(self.decoder.parameters()), "lr": lr}]


TABLES = [
    {"name": "decoder", "epochs": 3, "optimizer": "adam", "lr": 0.0625, "batch": 20},
    {"name": "below", "epochs": 1, "schedule": "linear", "momentum": 0.5},
]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(RULES, "thrice", Thrice)


def thrice(**settings):
    return toy_recipe(**{"rule": "thrice", "net": NET, "epochs": 2, "lr": 0.125, "phase": TABLES, **settings})


def by_hand(recipe, data):
    """Three loops in torch alone, in which nothing but what is written here moves."""
    learner = prepare(recipe, data)
    net, decoder, order = learner.net, learner.rule.decoder, torch.Generator().manual_seed(recipe.seed)
    adam = torch.optim.Adam(decoder.parameters(), lr=0.0625)
    for _ in range(3):
        for x, _ in batches(data.x_train, data.y_train, 20, generator=order):
            adam.zero_grad()
            ((decoder(x) - x).square().sum(1).mean() / 2).backward()
            adam.step()
    for epochs, modules, momentum in ((2, net[6:], 0.9), (1, net[4:6], 0.5)):
        net.eval()
        modules.train()
        sgd = torch.optim.SGD(modules.parameters(), lr=0.125, momentum=momentum)
        for _ in range(epochs):
            for x, y in batches(data.x_train, data.y_train, recipe.batch, generator=order):
                sgd.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                sgd.step()
    return {**{f"net.{key}": value for key, value in net.state_dict().items()}, "decoder": decoder.weight.detach()}


def test_three_phases_are_those_written_out():
    """Settings of another phase, a norm that moves out of turn, an order drawn anew."""
    recipe, data = thrice(), toy_data()
    result, want = run_recipe(recipe, data), by_hand(recipe, data)
    got = {**result.rule.state_dict(), "decoder": result.rule.decoder.weight}
    for key, value in want.items():
        torch.testing.assert_close(got[key].to(value), value, rtol=1e-4, atol=1e-5, msg=key)
    assert not want["decoder"].allclose(torch.zeros(()))
    assert [row["epoch"] for row in result.metrics] == [1, 2, 3, 4, 5, 6]
    assert [row["lr"] for row in result.metrics] == [0.0625] * 3 + [0.125] * 3
    assert [row["test_accuracy"] is None for row in result.metrics] == [True] * 3 + [False] * 3
    assert all(parameter.requires_grad for parameter in result.rule.parameters())


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (2, 2), (3, 0), (4, 3), (5, 1)], ids=str)
def test_stopped_in_any_phase_and_resumed_is_the_same(tmp_path, place):
    """Adam's moments, momentum, the order, and which phase it was."""
    recipe, data = thrice(dropout=0.25), toy_data()
    run_recipe(recipe, data, out=tmp_path / "whole")

    def stop(epoch, epochs, index, count, loss):
        if (epoch, index) == place and epochs == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run_recipe(recipe, data, out=tmp_path / "parts", progress=stop)
    assert read_run(tmp_path / "parts").unfinished
    result = resume_run(tmp_path / "parts", data=GIVEN)
    assert same_bits(result.rule.state_dict(), altprop.load(tmp_path / "whole").rule.state_dict())
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole") and not read_run(tmp_path / "parts").unfinished


def test_a_recipe_in_a_file_sets_them(tmp_path):
    """Tables lost on the way would leave every phase as the others are."""
    text = 'rule = "thrice"\n[[phase]]\nname = "decoder"\nepochs = 3\n\n[[phase]]\nname = "top"\nepochs = 0\n'
    (tmp_path / "recipe.toml").write_text(text)
    recipe = read_recipe(tmp_path / "recipe.toml", data="custom", net=NET, batch=16, epochs=2)
    assert [(turn.name, turn.epochs) for turn in prepare(recipe, toy_data()).turns] == [("decoder", 3), ("below", 2)]
    result = run_recipe(recipe, toy_data())
    start = prepare(recipe, toy_data()).net
    assert torch.equal(result.net[6].weight, start[6].weight) and not torch.equal(result.net[4].weight, start[4].weight)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"phase": [{"name": "tap"}]}, r"rule 'thrice' has no phase 'tap'.*did you mean 'top'\? there is decoder, top"),
        ({"phase": [{"name": "all", "epochs": 0}], "rule": "bp"}, "no phase of rule 'bp' has epochs"),
        ({"phase": [{"name": "layer 1", "lr": 0.1}], "rule": "bp"}, r"no phase 'layer 1'.*there is all"),
        ({"rates": [0.1, 0.1, 0.1], "rule": "softhebb", "phase": []}, "no phase 'layer 3'"),
        ({"phase": [{"name": "layer 2", "batch": 8}], "rule": "softhebb"}, "in the batches of 'layer 1'.*of its own"),
        ({"phase": [{"name": "top", "schedule": "cosin"}]}, "unknown schedule 'cosin'"),
    ],
    ids=str,
)
def test_a_table_that_means_nothing_is_refused(settings, words):
    """It would be ignored in silence."""
    with pytest.raises(RunError, match=words) as caught:
        prepare(thrice(**settings), toy_data())
    assert len(str(caught.value)) <= 290


@pytest.mark.parametrize(
    ("table", "words"),
    [({"name": "top", "epoch": 3}, "phase.0.epoch"), ({"name": "top", "epochs": -1}, "phase.0.epochs"), ({}, "phase.0"),
     ({"name": "top", "optimizer": "adamm"}, "did you mean 'adam'"), ("top", "phase.0")],
    ids=str,
)  # fmt: skip
def test_a_table_is_checked_when_it_is_read(table, words):
    with pytest.raises(RunError, match=words):
        make_recipe(rule="thrice", phase=[table])


READOUT = {"epochs": 3, "batch": 20, "optimizer": "adam", "lr": 0.125}
EACH = [{"name": "layer 1", "lr": 0.0625}, {"name": "layer 2", "lr": 0.03125}]
SPELLINGS = {
    "one after another": (
        {"layerwise": True, "rates": [0.0625, 0.03125], "readout": READOUT},
        {"phase": [{**table, "epochs": 2} for table in EACH] + [{"name": "readout", **READOUT}]},
    ),
    "one after another at one rate": (
        {"layerwise": True, "readout": READOUT},
        {"phase": [{"name": "layer *", "epochs": 2}], "readout": READOUT},
    ),
    "beside each other": ({"rates": [0.0625, 0.03125]}, {"phase": EACH}),
    "a readout beside": ({"readout": {"lr": 0.25}}, {"phase": [{"name": "readout", "lr": 0.25}]}),
    "solved": ({"readout": {"by": "ridge"}}, {"phase": [{"name": "readout", "by": "ridge"}]}),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_old_recipe_is_the_run_of_its_new_spelling(tmp_path, name):
    """Old files are read for good: to the bit, in every row of metrics."""
    old, new = SPELLINGS[name]
    for place, given in (("old", old), ("new", new)):
        run_recipe(toy_recipe(rule="softhebb", net=NET, epochs=2, **given), toy_data(), out=tmp_path / place)
    assert (tmp_path / "old/rule.safetensors").read_bytes() == (tmp_path / "new/rule.safetensors").read_bytes()
    assert rows(tmp_path / "old") == rows(tmp_path / "new")
    plain = run_recipe(toy_recipe(rule="softhebb", net=NET, epochs=2), toy_data())
    assert not same_bits(plain.net.state_dict(), altprop.load(tmp_path / "old").net.state_dict())


def test_an_old_file_is_read_as_the_recipe_of_today(tmp_path):
    """One place translates, whatever the keys come from."""
    text = 'rule = "softhebb"\nrates = [0.5]\nlayerwise = true\n\n[readout]\nepochs = 5\n'
    (tmp_path / "recipe.toml").write_text(text)
    recipe = read_recipe(tmp_path / "recipe.toml")
    tables = [{"name": "layer *", "beside": False}, {"name": "layer 1", "lr": 0.5}]
    assert recipe == make_recipe(rule="softhebb", phase=tables, readout={"epochs": 5})
    assert "rates" not in recipe.toml() and recipe.rate_used == [0.5]


def wm(**settings):
    return toy_recipe(**{"rule": "wm", "net": "6-8-5-3", "epochs": 2, **settings})


def test_an_epoch_of_noise_first_moves_the_feedback_alone(tmp_path):
    """Weight mirroring's first epoch, which a recipe gives it; without one there is none."""
    plain, mirrored = run_recipe(wm(), toy_data()), wm(lr=0.25, phase=[{"name": "mirror", "epochs": 3}])
    assert len(plain.metrics) == 2
    seen, start = [], prepare(mirrored, toy_data()).rule
    learner = prepare(mirrored, toy_data())
    learner.enter(0)
    for x, y in batches(*learner.samples, 16):
        learner.step(x, y)
    assert same_bits(learner.net.state_dict(), start.net.state_dict())
    assert all(not torch.equal(B, old) for B, old in zip(learner.rule.feedback, start.feedback, strict=True))
    result = run_recipe(mirrored, toy_data(), report=seen.append)
    angles = [row["feedback_angle"] for row in seen[3:]]
    assert [row["lr"] for row in seen[:3]] == [0.02] * 3 and len(seen) == 5 and all(angles)
    assert max(angles[0].values()) < max(plain.metrics[0]["feedback_angle"].values())
    assert len(result.metrics) == 5


def test_a_checkpoint_of_a_former_version(tmp_path):
    """One phase was counted as now; of several it is not known which, and that is said."""
    for name, recipe in (("one", wm()), ("two", wm(phase=[{"name": "mirror", "epochs": 2}]))):

        def stop(epoch, epochs, index, count, loss):
            if (epoch, index) == (1, 1):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted):
            run_recipe(recipe, toy_data(), out=tmp_path / name, progress=stop)
        state = json.loads((tmp_path / name / "checkpoint/state.json").read_text())
        (tmp_path / name / "checkpoint/state.json").write_text(
            json.dumps({k: v for k, v in state.items() if k != "phase"})
        )
    assert len(resume_run(tmp_path / "one", data=GIVEN).metrics) == 2
    with pytest.raises(RunError, match="of a former version, which counted no phases: train the run anew"):
        resume_run(tmp_path / "two", data=GIVEN)


@pytest.mark.parametrize("rule", [name for name in RULES if name != "stdp"])
def test_every_rule_tells_of_phases_that_can_be_trained(rule):
    """Names come once, and whatever moves is the rule's."""
    learner = prepare(toy_recipe(rule=rule, net="6-8-5-3"), toy_data())
    phases = learner.rule.phases()
    assert (len({phase.name for phase in phases}) == len(phases) and not phases[0].beside) or len(phases) == 1
    own = set(learner.rule.modules())
    assert all(set(module.modules()) <= own | set(modules(learner.rule)) for p in phases for module in p.moves)
    assert "" not in {phase.name for phase in phases} and learner.turns


def modules(rule):
    return [part for layer in rule.layers for module in modules_of(layer) for part in module.modules()]


BESIDE = {  # phases of what stands beside the layers: with a turn of their own, or with settings of their own
    "decoders in turns": ("dtp", {"arguments": {"alternate": 1}}),
    "decoders first": ("dtp", {"phase": [{"name": "decoders first", "epochs": 1}]}),
    "decoders by another optimizer": ("dtp", {"phase": [{"name": "decoders", "optimizer": "adam", "lr": 0.002}]}),
    "mirrors first": ("wm", {"phase": [{"name": "mirror", "epochs": 1}]}),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_stands_beside_a_layer_streams_in_its_own_phase(case):
    """The weights are those of a run whose optimizers step all layers at once."""
    rule, settings = BESIDE[case]
    recipes = [toy_recipe(rule=rule, net="6-8-5-3", stream=stream, **settings) for stream in (False, True)]
    runs = [run_recipe(recipe, toy_data()) for recipe in recipes]
    whole, streamed = (run.rule.state_dict() for run in runs)
    drawn = prepare(recipes[0], toy_data()).rule.state_dict()
    assert all(not torch.equal(drawn[f"{name}.0"], whole[f"{name}.0"]) for name in runs[0].rule.claims.learns)
    assert whole.keys() == streamed.keys() and all(torch.equal(whole[key], streamed[key]) for key in whole)
