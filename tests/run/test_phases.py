"""Layers one after another, then a readout on what they say: against the same written out by hand, in torch alone."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from run_helpers import rows, same_bits, toy_recipe, toy_tensors
from torch import nn

import altprop
from altprop.data import Dataset, batches, from_torch
from altprop.limits import Interrupted
from altprop.measure import READOUTS, peak_activation_bytes
from altprop.reports.page import write_report
from altprop.run import head, train
from altprop.run.build import prepare
from altprop.run.directory.records import read_run
from altprop.run.experiment import resume_run, run_recipe
from altprop.run.learner import Learner
from altprop.run.recipe import RunError

NET = "6-norm-8-norm-5-3"
LAYERS = [{"name": "layer 1", "epochs": 2, "lr": 0.05}, {"name": "layer 2", "epochs": 2, "lr": 0.02}]
READOUT = {"epochs": 5, "batch": 20, "optimizer": "adam", "lr": 0.1, "schedule": "halve@50%"}


def toy_data():
    return from_torch(toy_tensors(), toy_tensors(30, seed=1))


def phased(**settings):
    given = {"rule": "softhebb", "net": NET, "epochs": 2, "phase": LAYERS, "readout": READOUT}
    return toy_recipe(**{**given, **settings})


def by_hand(recipe, data):
    """The net after the same, written out: one plain loop a layer, features, and a linear layer under autograd."""
    net = prepare(recipe, data).net  # for its initial weights
    order = torch.Generator().manual_seed(recipe.seed)
    hidden = [net[:3], net[3:6]]  # norm, linear, triangle
    for place, table in enumerate(LAYERS):
        weight = hidden[place][1].weight
        rule = altprop.SoftHebb(hidden[place], example=torch.zeros(1, weight.shape[1]), readout=False)
        for _ in range(table["epochs"]):
            for x, _ in batches(data.x_train, data.y_train, recipe.batch, generator=order):
                with torch.no_grad():
                    for below in hidden[:place]:
                        x = below.eval()(x)
                weight.grad = None
                rule.train().credit(x)
                distance = (weight.norm(dim=1, keepdim=True) - 1).abs() + 1e-10
                weight.data -= table["lr"] * distance**0.5 * weight.grad
    told = recipe.readout
    net.eval()
    with torch.no_grad():
        features = [net[:6](x) for x in (data.x_train, data.x_test)]
    optimizer = torch.optim.Adam(net[6].parameters(), lr=told.lr)
    order = torch.Generator().manual_seed(recipe.seed)
    for epoch in range(told.epochs):
        optimizer.param_groups[0]["lr"] = told.lr * (0.5 if epoch >= told.epochs // 2 else 1)
        for h, y in batches(features[0], data.y_train, told.batch, generator=order):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net[6](h), y).backward()
            optimizer.step()
    return net, (net[6](features[1]).argmax(1) == data.y_test).float().mean().item()


def test_phases_are_those_written_out():
    """A layer that learns in the wrong phase, statistics that move later, features of another moment."""
    data, recipe = toy_data(), phased()
    result = run_recipe(recipe, data)
    net, accuracy = by_hand(recipe, data)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(result.net.state_dict()[key].to(value), value, rtol=1e-4, atol=1e-5, msg=key)
    assert result.test_accuracy == pytest.approx(accuracy) and accuracy > 0.4
    assert [row["epoch"] for row in result.metrics] == list(range(1, 10))
    assert [row["test_accuracy"] is None for row in result.metrics] == [True] * 4 + [False] * 5
    assert [row["lr"] for row in result.metrics[:4]] == [0.05, 0.05, 0.02, 0.02]
    norms = result.metrics[3]["unit_norm"]
    assert norms["4"] == pytest.approx(float(result.net[4].weight.detach().norm(dim=1).mean()), rel=1e-5)
    assert all(p.requires_grad for p in result.net.parameters())


def test_a_report_tells_how_far_a_run_in_phases_came(tmp_path):
    """Epochs of one phase taken for those of the run; settings of the readout left out."""
    run_recipe(phased(), toy_data(), out=tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert not run.unfinished
    epochs = {epoch: line for epoch, line in run.epochs.items() if epoch < 9}
    assert replace(run, epochs=epochs).unfinished
    assert "readout schedule" in write_report(tmp_path / "run").read_text()


def test_no_label_reaches_the_layers_below(monkeypatch):
    """What learns without labels must not be handed any."""
    seen, credit = [], altprop.SoftHebb.credit

    def spy(self, x, y=None, ready=None):
        seen.append(y)
        return credit(self, x, y, ready)

    monkeypatch.setattr(altprop.SoftHebb, "credit", spy)
    run_recipe(phased(), toy_data())
    assert seen == [None] * 16


def test_unlabelled_samples_are_what_the_layers_below_learn_from(monkeypatch):
    """They are what STL-10 is for; the readout has no labels for them."""
    data = toy_data()
    more = replace(data, x_unlabelled=torch.randn(70, 6, generator=torch.Generator().manual_seed(5)))
    seen, step = [], Learner.step

    def spy(self, x, y):
        seen.append((self.recipe.rule, len(x)))
        return step(self, x, y)

    monkeypatch.setattr(Learner, "step", spy)
    run_recipe(phased(), more)
    assert sum(count for rule, count in seen if rule == "softhebb") == 4 * 70
    assert sum(count for rule, count in seen if rule == "bp") == 5 * 60


@pytest.mark.parametrize(
    "place", [("below", 1, 2), ("below", 1, 3), ("below", 2, 0), ("below", 3, 3), ("readout", 0, 0), ("readout", 3, 1)]
)
def test_stopped_anywhere_and_resumed_is_the_same(tmp_path, place):
    """Layer 1, layer 2, the readout: at the first batch of one, in its middle, and where it ends."""
    data, recipe = toy_data(), phased()
    run_recipe(recipe, data, out=tmp_path / "whole")
    part, at, batch = place

    def stop(epoch, epochs, index, count, loss):
        if (epochs, epoch, index) == (9, at + 4 * (part == "readout"), batch):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run_recipe(recipe, data, out=tmp_path / "parts", progress=stop)
    result = resume_run(tmp_path / "parts", data={"train": toy_tensors(), "test": toy_tensors(30, seed=1)})
    whole = altprop.load(tmp_path / "whole")
    assert same_bits(result.net.state_dict(), whole.net.state_dict())
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole") and len(result.metrics) == 9


def test_a_run_that_has_ended_is_only_read(tmp_path, monkeypatch):
    """Features of all samples, computed again for nothing."""
    data, recipe = toy_data(), phased()
    whole = run_recipe(recipe, data, out=tmp_path / "run")
    monkeypatch.setattr(head, "_features", None)
    again = resume_run(tmp_path / "run", data={"train": toy_tensors(), "test": toy_tensors(30, seed=1)})
    assert same_bits(again.net.state_dict(), whole.net.state_dict()) and again.metrics == whole.metrics
    assert again.train_accuracy == pytest.approx(whole.train_accuracy)
    assert not (tmp_path / "run" / "features").exists()


def test_features_in_a_file_are_those_in_memory(tmp_path):
    """Where they do not fit into memory they lie in a file beside the run, which is gone afterwards."""
    data = toy_data()
    want = run_recipe(phased(), data)
    got = run_recipe(phased(readout={**READOUT, "memory": 1e-9}), data, out=tmp_path / "run")
    assert same_bits(got.net.state_dict(), want.net.state_dict())
    assert not list((tmp_path / "run").rglob("*.features"))
    rough = run_recipe(phased(readout={**READOUT, "dtype": "bfloat16"}), data)
    assert not same_bits(rough.net.state_dict(), want.net.state_dict())
    torch.testing.assert_close(rough.net[6].weight, want.net[6].weight, rtol=0.1, atol=0.02)


def test_features_are_not_moved_at_once(monkeypatch):
    """Those in a file are there since they do not fit elsewhere; those in memory lie on the device already."""
    moved, to = [], Dataset.to
    monkeypatch.setattr(Dataset, "to", lambda self, device: moved.append(self.x_train.shape[1:]) or to(self, device))
    run_recipe(phased(), toy_data())
    assert moved == [(6,)]


def test_augmentation_computes_anew_and_moves_nothing_below(monkeypatch):
    """Frozen statistics that moved with every augmented batch would be another net."""
    x, y = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    data = from_torch((x, y), (x[:12], y[:12]))
    heads = []
    monkeypatch.setattr(head, "_head", lambda *a, make=head._head: heads.append(make(*a)) or heads[-1])
    recipe = phased(
        net="norm-conv4k3r1-pool2-3", phase=LAYERS[:1], readout={**READOUT, "augment": "flip", "dropout": 0.5}
    )
    result = run_recipe(recipe, data)
    before = run_recipe(recipe.with_(readout={**READOUT, "augment": None, "dropout": 0.5}), data).net.state_dict()
    after = result.net.state_dict()
    assert heads[0].recipe.augment == "flip" and heads[1].recipe.augment is None
    assert all(torch.equal(after[key], before[key]) for key in after if not key.startswith("5."))
    assert not torch.equal(after["5.weight"], before["5.weight"])


def test_random_layers_are_read_out_too():
    """The control: shallow's hidden layers stay as drawn, and the readout is that of all others."""
    recipe = toy_recipe(rule="shallow", net=NET, epochs=1, readout={**READOUT, "epochs": 20})
    net = prepare(recipe, toy_data()).net
    result = run_recipe(recipe, toy_data())
    assert all(torch.equal(net[i].weight, result.net[i].weight) for i in (1, 4))
    assert len(result.metrics) == 21 and result.test_accuracy > 0.6


def test_beside_the_layers_below_the_readout_has_its_own_optimizer():
    """By default all layers learn at once, the last one at the readout's rate."""
    learner = prepare(toy_recipe(rule="softhebb", net=NET, lr=0.25, readout={"lr": 0.125}), toy_data())
    kinds = [type(optimizer).__name__ for optimizer in learner.optimizers]
    assert kinds == ["NormSGD", "NormSGD", "SGD"]
    assert [optimizer.param_groups[0]["lr"] for optimizer in learner.optimizers] == [0.25, 0.25, 0.125]


def test_a_norm_before_the_readout_is_refused():
    """No phase would move its statistics, and the readout would see features that nothing has centred."""
    with pytest.raises(RunError, match="BatchNorm1d stands above all layers that learn"):
        prepare(phased(net="6-norm-8-norm-3", phase=[]), toy_data())
    prepare(phased(net="6-norm-8-norm-3", phase=[], readout={}), toy_data())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"readout": {**READOUT, "schedule": "halv@50%"}}, "unknown schedule 'halv@50%'"),
        ({"readout": {**READOUT, "augment": "flop"}}, "unknown augmentation 'flop'"),
        ({"readout": {**READOUT, "augment": "flip"}}, "it takes images"),
        ({"freeze": 2}, "freeze less"),
    ],
)
def test_what_would_fail_after_hours_fails_at_once(settings, words):
    """The readout is looked at when all layers below have learned; what is wrong with it is told before."""
    with pytest.raises(RunError, match=words):
        prepare(phased(**settings), toy_data())


def test_features_are_of_a_linear_readout():
    """A convolution that reads out has no flat features."""
    images = torch.rand(12, 1, 4, 4), torch.arange(12) % 3
    top = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 2), nn.Flatten())
    with pytest.raises(RunError, match="end the net in a Linear"):
        prepare(phased(net=None, phase=[]), from_torch(images, images), top)


def test_a_frozen_layer_has_its_statistics():
    """Its norm would stay as it was born, and all above learn from inputs that nothing has centred."""
    data = toy_data()
    moved = replace(data, x_train=data.x_train + 5)
    net = run_recipe(phased(freeze=1), moved).net
    assert (net[0].running_mean > 2).all()  # 5 in the end, of which 8 batches know a part


def test_random_layers_get_a_readout_that_has_not_learned_yet(monkeypatch):
    """The control would begin its readout where labels have led it before, on features of another scale."""
    seen, make = [], head._head
    monkeypatch.setattr(head, "_head", lambda *a: seen.append(a[0].rule.layers[-1].synapse.weight.clone()) or make(*a))
    recipe = phased(rule="shallow", phase=[])
    result = run_recipe(recipe, toy_data())
    assert torch.equal(seen[0], prepare(recipe, toy_data()).net[6].weight)
    assert all(parameter.requires_grad for parameter in result.net.parameters())


def test_a_readout_killed_before_its_first_checkpoint_begins_anew(tmp_path, monkeypatch):
    """What is left of it must not stand in the way, and the layers below are not trained again."""
    data, recipe = toy_data(), phased()
    whole = run_recipe(recipe, data, out=tmp_path / "whole")

    def killed(*a, **k):
        raise ArithmeticError

    with monkeypatch.context() as patch:
        patch.setattr(head, "_features", killed)
        with pytest.raises(ArithmeticError):
            run_recipe(recipe, data, out=tmp_path / "parts")
    trained = []
    monkeypatch.setattr(train, "_epoch", lambda at, *a, make=train._epoch: trained.append(at) or make(at, *a))
    result = resume_run(tmp_path / "parts", data={"train": toy_tensors(), "test": toy_tensors(30, seed=1)})
    assert same_bits(result.net.state_dict(), whole.net.state_dict()) and len(trained) == 5
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_online_learning_sample_by_sample():
    """With a batch of one a norm has no statistics; without it every rule learns so."""
    with pytest.raises(RunError, match=r"batch = 1 came.*without norm"):
        prepare(toy_recipe(rule="softhebb", net=NET, batch=1), toy_data())
    run = toy_recipe(rule="softhebb", net="6-8-3", batch=1, init="radius5", epochs=2)
    result = run_recipe(run, toy_data())
    assert torch.isfinite(result.net[0].weight).all() and result.metrics[-1]["step"] == 120


def test_what_the_user_froze_stays_frozen():
    """Layers take their turns, but a weight that was given frozen has none."""
    net = prepare(phased(), toy_data()).net
    net[1].weight.requires_grad_(False)
    first, second = net[1].weight.clone(), net[4].weight.clone()
    run_recipe(phased(net=None), toy_data(), net)
    assert torch.equal(net[1].weight, first) and not torch.equal(net[4].weight, second)
    assert not net[1].weight.requires_grad and net[4].weight.requires_grad


def test_a_hebbian_readout_is_that_written_out():
    """The label's unit is drawn to the features, divided by the largest entry; labels elsewhere, or another rate."""
    told = {"by": "hebbian", "epochs": 3, "batch": 20, "lr": 0.25, "momentum": 0.0, "schedule": "linear"}
    recipe, data = phased(readout=told), toy_data()
    start, result = prepare(recipe, data).net[6], run_recipe(recipe, data)
    W, order = start.weight.detach().clone(), torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        features = result.net.eval()[:6](data.x_train)
    for epoch in range(3):
        for h, y in batches(features, data.y_train, 20, generator=order):
            growth = torch.stack([sum((x - (W[c] @ x) * W[c] for x in h[y == c]), 0 * W[c]) for c in range(3)])
            W += 0.25 * (1 - epoch / 3) * growth / growth.abs().max()
    torch.testing.assert_close(result.net[6].weight, W, rtol=1e-4, atol=1e-6)
    assert torch.equal(result.net[6].bias, start.bias) and len(result.metrics) == 7


@pytest.mark.parametrize("by", ["ridge", "svc"])
def test_a_solved_readout_is_that_of_the_features(by, tmp_path):
    """The weights of other features, transposed, or never put into the net; told in one row."""
    recipe, data = phased(readout={"by": by, "strength": 3.0}), toy_data()
    result = run_recipe(recipe, data, out=tmp_path / "run")
    with torch.no_grad():
        parts = [result.net.eval()[:6](x) for x in (data.x_train, data.x_test)]
    want = READOUTS[by](parts[0], data.y_train, parts[1], data.y_test, strength=3.0)
    assert result.test_accuracy == pytest.approx(want) and want > 0.4
    assert len(result.metrics) == 5 and result.metrics[-1]["epoch"] == 5
    assert same_bits(altprop.load(tmp_path / "run").net.state_dict(), result.net.state_dict())
    with pytest.raises(RunError, match=rf"readout by '{by}'.*into a Linear with a bias"):
        prepare(recipe.with_(bias=False), data)


def test_greedy_training_holds_one_layer():
    """A deep net's phases need no more than a shallow one's: activity of other layers kept, or computed above."""
    x, activity = torch.randn(32, 64), 32 * 64 * 4
    data = from_torch((x, torch.arange(32) % 3), (x, torch.arange(32) % 3))

    def peaks(depth):
        net = "-".join(["64", *["norm-64"] * depth, "3"])
        learner = prepare(phased(net=net, phase=[{"name": "layer *", "epochs": 1}], epochs=1), data)
        found, below = [], learner.rule.layers[:-1]
        for turn in range(depth):
            learner.stand(turn)
            learner.enter(0)
            found.append(peak_activation_bytes(learner.rule, x, None))
            learner.step(x, data.y_train)
            learning = [layer for layer in below if layer.synapse.weight.requires_grad]
            assert learning == below[turn : turn + 1]
        return found

    few, many = peaks(2), peaks(8)
    assert activity <= few[0] and max(many) <= max(few) and max(few) <= few[0] + 2 * activity
