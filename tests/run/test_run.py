"""Runs: what fit accepts and reaches, what it writes, and that a step is torch's own step on the rule's gradient."""

import copy
import json
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import UNTAUGHT
from run_helpers import CLASSES, FEATURES, rows, same_bits, suited_settings, toy, toy_recipe, toy_tensors
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import altprop
from altprop import RULES, Refused
from altprop.core import layers
from altprop.data import DATASETS, Dataset, from_torch, load
from altprop.nets import build
from altprop.run.build import prepare
from altprop.run.experiment import run_recipe
from altprop.run.learner import Learner
from altprop.run.metrics import evaluate
from altprop.run.optimizers import make_optimizers
from altprop.run.recipe import RunError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def toy_data(seed=0):
    return from_torch(toy_tensors(seed=seed), toy_tensors(30, seed=seed + 1))


def fit(rule="bp", **settings):
    settings = suited_settings(rule, settings)
    return altprop.fit(rule, data=toy_data(), **{"net": "6-5-3", "epochs": 3, "batch": 16, **settings})


BARS = {"shallow": 0.7, "sdfa": 0.55, "pepita_local": 0.3, "ff": 0.7, "stdp": 0.65}
BARS |= {"oja": 0.25}  # whose units all say the same


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_digits(rule):
    """Chance is 10 %; the bars stand below what 12 epochs reach, but well above an untrained net."""
    result = altprop.fit(rule, epochs=12, measure=False)
    assert result.test_accuracy >= BARS.get(rule, 0.82)
    losses = [row["loss"] for row in result.metrics]
    assert losses[-1] < 0.9 * losses[0]
    assert len(result.metrics) == 12


def sources():
    x, y = toy_tensors()
    train, test = TensorDataset(x, y), TensorDataset(*toy_tensors(30, seed=1))
    return {
        "pair": (x, y), "arrays": toy(), "tensor dataset": train, "loader": DataLoader(train, batch_size=7),
        "dataset": toy_data(), "list": list(train), "dict": {"train": train, "test": test},
        "dict of pairs": {"train": (x, y), "test": toy_tensors(30, seed=1)}, "dict without test": {"train": train},
    }  # fmt: skip


@pytest.mark.parametrize("kind", sources())
def test_fit_accepts_data_in_any_form(kind):
    """Whatever torch users hold in their hands trains to the end on the clouds, which are easy."""
    result = altprop.fit("bp", data=sources()[kind], epochs=20, lr=0.1)
    assert result.test_accuracy >= 0.95
    assert result.recipe.data == "custom"
    assert result.net(torch.zeros(2, FEATURES)).shape == (2, CLASSES)


def test_fit_accepts_a_path(tmp_path):
    """Also one that is a Path and not text."""
    np.savez(tmp_path / "toy.npz", x=toy()[0], y=toy()[1])
    assert altprop.fit("bp", data=tmp_path / "toy.npz", epochs=20, lr=0.1).test_accuracy >= 0.9


def test_fit_trains_the_net_that_is_given():
    """The user's own object learns, in place; a copy would leave it untrained."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(FEATURES, 8), nn.GELU(), nn.Linear(8, CLASSES))
    before = copy.deepcopy(net.state_dict())
    result = fit("dfa", net=net)
    assert result.net is net and not torch.equal(before["0.weight"], net[0].weight)
    assert (result.recipe.net, result.recipe.act) == ("custom", "custom")


def test_default_net_for_data_without_one():
    """features-256-classes."""
    result = altprop.fit("bp", data=toy_data(), epochs=1)
    assert result.recipe.net == "6-256-3"


def test_evaluation_is_plain_arithmetic():
    """Accuracy and loss by torch's own functions in eval mode, on as many training samples as test samples."""
    data = toy_data()
    result = altprop.fit("bp", data=data, net="6-5-3", epochs=2, dropout=0.5)
    result.net.eval()
    with torch.no_grad():
        train, test = result.net(data.x_train[: len(data.x_test)]), result.net(data.x_test)
    right = train.argmax(1) == data.y_train[: len(data.x_test)]
    assert result.train_accuracy == pytest.approx(right.double().mean().item()) == result.metrics[-1]["train_accuracy"]
    assert result.test_accuracy == pytest.approx((test.argmax(1) == data.y_test).double().mean().item())
    assert result.metrics[-1]["test_loss"] == pytest.approx(F.cross_entropy(test, data.y_test).item(), rel=1e-5)


def test_evaluate_keeps_the_mode():
    """Training would go on without dropout after the first epoch."""
    learner = prepare(toy_recipe(), toy_data())
    for mode in (True, False):
        learner.rule.train(mode)
        evaluate(learner.rule, learner.data.x_test, learner.data.y_test)
        assert learner.rule.training is mode


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.8, weight_decay=0.01),
}


def plain_torch(data, optimizer, schedule=None, epochs=3, batch=16, loss=F.cross_entropy):
    """A loop as every tutorial has it: the same net, order and settings, by autograd."""
    net = build("6-5-3", (FEATURES,), CLASSES, act="tanh", seed=1)
    optimizer = optimizer(net.parameters())
    scheduler = None if schedule is None else schedule(optimizer)
    order = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for rows_ in torch.randperm(len(data.x_train), generator=order).split(batch):
            optimizer.zero_grad()
            loss(net(data.x_train[rows_]), data.y_train[rows_]).backward()
            optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return net.state_dict()


def assert_close(left, right):
    for key, value in right.items():
        torch.testing.assert_close(left[key], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bp_is_a_plain_torch_loop(name):
    """Every optimizer, with momentum and weight decay, against a loop of autograd in the same order."""
    result = fit("bp", act="tanh", optimizer=name, lr=0.05, momentum=0.8, weight_decay=0.01, seed=1)
    assert_close(result.net.state_dict(), plain_torch(toy_data(), OPTIMIZERS[name]))


SCHEDULES = {
    "constant": None,
    "step@1,2": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 2]),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 3),
    "linear": lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 1e-12, 3),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_torch(name):
    """A schedule one epoch late, or by batches, trains other weights."""
    result = fit("bp", act="tanh", lr=0.05, momentum=0.8, weight_decay=0.01, seed=1, schedule=name)
    assert_close(result.net.state_dict(), plain_torch(toy_data(), OPTIMIZERS["sgd"], SCHEDULES[name]))


def test_a_ramp_falls_with_every_batch(monkeypatch):
    """In the one epoch of SoftHebb a schedule by epochs would never move."""
    rates, step = [], Learner.step

    def spy(self, x, y):
        rates.append(self.optimizers[0].param_groups[0]["lr"])
        return step(self, x, y)

    monkeypatch.setattr(Learner, "step", spy)
    fit("bp", lr=0.8, schedule="ramp", epochs=2)
    assert rates == pytest.approx([0.8 * (1 - batch / 8) for batch in range(8)])


def test_learning_rate_of_each_epoch_is_logged():
    """The rate that the epoch was trained with, not the next one's."""
    step = [row["lr"] for row in fit(lr=1e-3, epochs=6, schedule="step@2,4").metrics]
    assert step == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    linear = [row["lr"] for row in fit(lr=1e-3, epochs=4, schedule="linear").metrics]
    assert linear == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    cosine = [row["lr"] for row in fit(lr=1e-3, epochs=2, schedule="cosine").metrics]
    assert cosine == pytest.approx([1e-3, 5e-4])


@pytest.mark.parametrize("schedule", ["cosne", "step", "step@", "step@a", "step@1,", "linear@3", ""])
def test_schedule_that_cannot_be_read(schedule):
    """A typo must not mean a constant rate."""
    with pytest.raises(RunError, match="schedule"):
        fit(schedule=schedule)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mse"])
def test_other_losses_are_minimised_as_torch_defines_them(loss):
    """mse: half the sum over outputs; binary cross-entropy: its sum; both the mean over the batch."""

    def torchs(z, y):
        t = F.one_hot(y, CLASSES).float()
        if loss == "mse":
            return 0.5 * F.mse_loss(z, t, reduction="sum") / len(z)
        return F.binary_cross_entropy_with_logits(z, t, reduction="sum") / len(z)

    result = fit("bp", act="tanh", lr=0.05, momentum=0.8, weight_decay=0.01, seed=1, loss=loss)
    assert_close(result.net.state_dict(), plain_torch(toy_data(), OPTIMIZERS["sgd"], loss=torchs))


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mse"])
@pytest.mark.parametrize("rule", ["fa", "dfa", "drtp", "pepita"])
def test_other_losses_train_every_kind_of_rule(rule, loss):
    """Each head's own error serves every rule."""
    assert fit(rule, loss=loss, lr=0.02, epochs=25, net="6-20-3").test_accuracy >= 0.9


@pytest.fixture(scope="module")
def cosines():
    return load("drtp_regression")


BLIND = ("shallow", "ff", *UNTAUGHT)  # ff learns classes, the others do not show hidden layers what is to be fitted
REGRESSION = [rule for rule in RULES if rule not in BLIND]
FEW = [  # directions a step: three epochs leave them at the mean's error
    rule for rule in REGRESSION if RULES[rule].claims.signal == "loss" and RULES[rule].claims.passes < 100
]


NOISY = {"local": {"epochs": 6, "schedule": "linear"}}  # weights that differ by 1e-6 end at .53 to .76 without


@pytest.mark.parametrize("rule", [rule for rule in REGRESSION if rule not in FEW])
def test_regression_beats_the_mean(cosines, rule):
    """drtp_regression: half the squared error falls to 0.65 of what the best constant reaches."""
    baseline = 0.5 * (cosines.y_test - cosines.y_train.mean(0)).square().sum(1).mean().item()
    lr = 0.01 if RULES[rule].suits.optimizer == "adam" else 0.003
    settings = {"net": "256-64-10", "act": "tanh", "lr": lr, "epochs": 3, "measure": False} | NOISY.get(rule, {})
    result = altprop.fit(rule, data=cosines, **suited_settings(rule, settings))
    assert result.recipe.loss == "mse"
    assert result.metrics[-1]["test_loss"] < 0.65 * baseline
    assert result.test_accuracy is None and result.train_accuracy is None


@pytest.mark.parametrize("rule", REGRESSION)
def test_default_rate_works_on_the_embedded_regression(cosines, rule):
    """The listed rates are to work on standardised inputs: ``train RULE --data drtp_regression --scale standard``."""
    result = altprop.fit(rule, data=cosines, scale="standard", epochs=2, measure=False)
    losses = [row["loss"] for row in result.metrics]
    assert losses[1] < losses[0]


def test_parameters_that_belong_to_no_layer_cannot_be_streamed():
    """They would never be stepped, and feedback would silently stay as it was drawn."""
    learner = prepare(toy_recipe(rule="kp", stream=True), toy_data())
    learner.rule.layers = layers(learner.net)
    with pytest.raises(Refused, match=r"KP learns parameters that belong to no layer.*Layer\.beside") as told:
        make_optimizers(learner.rule, [(learner.recipe, set(learner.rule.parameters()))], streaming=True)
    assert len(str(told.value)) <= 290 and "\n" not in str(told.value)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("rule", RULES)
def test_streaming_changes_nothing_but_the_memory(rule, optimizer):
    """A layer that steps before another has read its old weights would train differently, by a little, unseen."""
    settings = {"net": "6-5-4-3", "dropout": 0.3, "optimizer": optimizer, "weight_decay": 0.01, "schedule": "cosine"}
    results = [fit(rule, stream=stream, **settings) for stream in (False, True)]
    assert same_bits(*(result.rule.state_dict() for result in results))
    losses = [[row["loss"] for row in result.metrics] for result in results]
    assert losses[0] == losses[1]


@pytest.mark.filterwarnings("error::UserWarning", "ignore:inputs from")
@pytest.mark.parametrize("rule", RULES)
def test_streaming_warns_of_nothing(rule):
    """Hidden layers of shallow never step: torch's warning about the order of schedule and step is not the user's."""
    assert len(fit(rule, stream=True, epochs=2).metrics) == 2


@pytest.mark.parametrize("rule", RULES)
def test_same_seed_same_result_to_the_bit(rule):
    """Weights, order, dropout and feedback all come from the seed, whatever was drawn before."""
    first = fit(rule, seed=5, dropout=0.3)
    torch.rand(17)
    np.random.rand(3)
    second = fit(rule, seed=5, dropout=0.3)
    assert same_bits(first.rule.state_dict(), second.rule.state_dict())
    assert first.metrics[-1]["loss"] == second.metrics[-1]["loss"]


def test_another_seed_is_another_run():
    """In weights, in feedback and in order: n seeds must be n samples."""
    first, second = (prepare(toy_recipe(rule="dfa", seed=seed), toy_data()) for seed in (0, 1))
    assert not torch.equal(first.net[0].weight, second.net[0].weight)
    assert not torch.equal(first.rule.feedback[0], second.rule.feedback[0])
    assert not torch.equal(first.order.get_state(), second.order.get_state())


def test_an_argument_seed_changes_the_feedback_alone():
    """``--set seed=9`` is for other feedback on the same net."""
    first = prepare(toy_recipe(rule="dfa"), toy_data())
    second = prepare(toy_recipe(rule="dfa", arguments={"seed": 9}), toy_data())
    assert torch.equal(first.net[0].weight, second.net[0].weight)
    assert not torch.equal(first.rule.feedback[0], second.rule.feedback[0])


def test_all_rules_see_the_same_weights_and_batches(monkeypatch):
    """A comparison of rules on different initial weights or orders would compare luck."""
    seen, step = {}, Learner.step

    def spy(self, x, y):
        log = seen.setdefault(self.recipe.rule, [])
        if not log:
            log.append(torch.cat([p.detach().flatten() for p in self.net.parameters()]))
        log.append(x.clone())
        return step(self, x, y)

    monkeypatch.setattr(Learner, "step", spy)
    for rule in RULES:
        fit(rule, seed=2, init="he_uniform")
    assert seen.keys() == RULES.keys()
    for rule, log in seen.items():
        other = RULES[rule].suits.init == "on_off"  # whose weights are others
        same = log if RULES[rule].claims.views == 1 else log[:1]  # two views are two changes of the batch
        assert len(log) == 1 + 3 * 4 and all(map(torch.equal, same[other:], seen["bp"][other:]))
    first, second = (torch.cat(seen["bp"][start : start + 4]) for start in (1, 5))
    assert not torch.equal(first, second), "each epoch has an order of its own"
    assert torch.equal(first.sort(0).values, second.sort(0).values), "and every sample once"


def test_progress_and_report_hear_of_everything():
    """Every batch in order, and every epoch's row."""
    heard, told = [], []
    result = fit(progress=lambda *place: heard.append(place[:-1]), report=told.append)
    assert heard == [(epoch, 3, batch, 4) for epoch in range(3) for batch in range(4)]
    assert told == result.metrics


def test_validation_part_is_held_out_and_measured(tmp_path):
    """A validation part that is also trained on would praise every setting."""
    data = from_torch(toy_tensors(), toy_tensors(30, seed=1))
    result = altprop.fit("bp", data=data, net="6-5-3", epochs=2, val=0.25, out=tmp_path / "run")
    samples = json.loads((tmp_path / "run" / "data.json").read_text())["samples"]
    assert samples == {"train": 45, "test": 30, "val": 15}
    assert all(0 <= row["val_accuracy"] <= 1 and row["val_loss"] > 0 for row in result.metrics)
    assert result.summary()["val_accuracy"] == result.metrics[-1]["val_accuracy"]
    assert result.metrics[-1]["step"] == 2  # 45 samples are one batch of 64


def test_angles_are_logged_unless_not_wanted():
    """By layer; bp is at 0 degrees to itself."""
    assert fit("bp").metrics[-1]["angle_to_bp"] == pytest.approx({"0": 0, "2": 0}, abs=0.1)
    assert "angle_to_bp" not in fit("bp", measure=False).metrics[-1]


@pytest.mark.parametrize("rule", ["fa", "pepita"])
def test_measuring_does_not_change_training(rule):
    """A probe that draws dropout masks or leaves gradients behind would."""
    nets = [fit(rule, dropout=0.3, measure=measure).net.state_dict() for measure in (True, False)]
    assert same_bits(*nets)


def test_run_directory_holds_what_the_design_says(tmp_path):
    """No more (nothing half-written beside), no less."""
    run = tmp_path / "deep" / "run"
    result = fit("dfa", out=run)
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoint", "data.json", "environment.json", "measures.json", "metrics.jsonl", "model.safetensors",
        "recipe.toml", "rule.safetensors",
    ]  # fmt: skip
    assert sorted(path.name for path in (run / "checkpoint").iterdir()) == ["000000012.safetensors", "state.json"]
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    assert (recipe["rule"], recipe["lr"], recipe["act"], recipe["loss"]) == ("dfa", 0.01, "relu", "cross_entropy")
    environment = json.loads((run / "environment.json").read_text())
    assert environment["torch"] == torch.__version__ and environment["altprop"] == altprop.__version__
    assert environment["threads"] == torch.get_num_threads() and environment["cpu"]
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3]
    assert [row["step"] for row in rows(run)] == [4, 8, 12]
    assert result.path == run


@pytest.mark.parametrize("rule", RULES)
def test_model_file_is_the_nets_plain_state_dict(tmp_path, rule):
    """It must load without altprop, into modules that anybody can write down."""
    if RULES[rule].suits.init == "on_off":
        pytest.skip("takes nets of vector units, whose modules are altprop's")
    result = fit(rule, out=tmp_path / "run", act="tanh")
    net = nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, CLASSES))
    net.load_state_dict(safetensors.torch.load_file(tmp_path / "run" / "model.safetensors"), strict=True)
    x = toy_tensors()[0]
    assert torch.equal(net(x), result.net(x))
    tensors = safetensors.torch.load_file(tmp_path / "run" / "rule.safetensors")
    assert same_bits(tensors, result.rule.state_dict())


@pytest.mark.parametrize("rule", RULES)
def test_load_gives_net_and_rule_back(tmp_path, rule):
    """Same outputs, same feedback, in eval mode, ready to train on."""
    result = fit(rule, out=tmp_path / "run", dropout=0.5, seed=3)
    net, loaded = altprop.load(tmp_path / "run")
    assert type(loaded) is RULES[rule] and loaded.net is net and not net.training
    assert same_bits(loaded.state_dict(), result.rule.state_dict())
    x, y = toy_tensors()
    result.net.eval()
    assert torch.equal(net(x), result.net(x))
    assert torch.isfinite(loaded.credit(x, y)) and next(reversed(list(net.parameters()))).grad is not None


def test_load_keeps_the_arguments(tmp_path):
    """A rule that comes back with sign +1 would go on in the other direction."""
    fit("pepita", out=tmp_path / "run", arguments={"sign": -1, "presynaptic": "standard"})
    rule = altprop.load(str(tmp_path / "run")).rule
    assert (rule.s, rule.modulated_x) == (-1, False)


def test_load_with_a_net_of_ones_own(tmp_path):
    """The run cannot know the net; it must say so, and take it when it is given."""

    def make():
        return nn.Sequential(nn.Linear(FEATURES, 7), nn.GELU(), nn.Linear(7, CLASSES))

    result = fit("fa", net=make(), out=tmp_path / "run")
    with pytest.raises(RunError, match=r"given from Python.*net=net"):
        altprop.load(tmp_path / "run")
    net = altprop.load(tmp_path / "run", net=make()).net
    assert same_bits(net.state_dict(), result.net.state_dict())
    with pytest.raises(RunError, match="does not fit"):
        altprop.load(tmp_path / "run", net=nn.Sequential(nn.Linear(FEATURES, 8), nn.GELU(), nn.Linear(8, CLASSES)))


@pytest.mark.parametrize(
    "tail", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()], ids=lambda module: type(module).__name__
)
def test_net_that_applies_the_head_itself_is_told(tail):
    """A softmax of a softmax trains badly and says nothing."""
    net = nn.Sequential(nn.Linear(FEATURES, CLASSES), tail)
    with pytest.raises(Refused, match=f"ends in {type(tail).__name__}.*remove"):
        fit(net=net)


def test_net_that_does_not_fit_the_data_is_told():
    """Too few features, by layer; too many outputs, by number."""
    with pytest.raises(Refused, match=r"layer '0'.*make net and data fit"):
        fit(net=nn.Sequential(nn.Linear(7, CLASSES)))
    with pytest.raises(RunError, match="4 outputs, but the data has 3"):
        fit(net=nn.Sequential(nn.Linear(FEATURES, 4)))


def test_labels_out_of_range_are_told():
    """Before anything is trained."""
    x, y = toy_tensors()
    with pytest.raises(ValueError, match="labels out of range"):
        altprop.fit("bp", data=(x, y + 1))
    with pytest.raises(ValueError, match=r"labels out of range.*3 in row 0"):
        altprop.fit("bp", data={"train": (x, y), "test": (x[:5], torch.full((5,), 3))})


def test_out_that_is_there_is_left_alone(tmp_path):
    """A second run must not mix with the first."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="there already"):
        fit(out=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_images_are_scaled_to_one_for_every_net():
    """uint8 pixels enter as [0, 1]: at 255 every default rate would diverge."""
    torch.manual_seed(0)
    x = torch.randint(256, (40, 1, 4, 4), dtype=torch.uint8)
    y = (x[:, 0, :, :2].float().mean((1, 2)) > x[:, 0, :, 2:].float().mean((1, 2))).long()
    seen = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    net.register_forward_pre_hook(lambda module, arguments: seen.append(float(arguments[0].max())))
    altprop.fit("bp", data=(x, y), net=net, epochs=1)
    assert seen and max(seen) <= 1


def test_run_recipe_trains_on_the_data_it_names(tmp_path):
    """A recipe alone is enough: it names everything."""
    result = run_recipe(toy_recipe(data="digits", net="64-8-10", epochs=1))
    assert result.metrics[0]["step"] == -(-DATASETS["digits"].n_train // 16)
    assert isinstance(load("digits"), Dataset)


@pytest.mark.parametrize("scale", ["unit", "standard"])
def test_scaling_is_by_the_training_part(tmp_path, scale):
    """Statistics of the test part would leak into training."""
    x, y = toy_tensors()
    altprop.fit("bp", data={"train": (x, y), "test": (x + 100, y)}, epochs=1, scale=scale, out=tmp_path / "run")
    offset, spread = json.loads((tmp_path / "run" / "data.json").read_text())["scaling"]
    expected = (x.amin(0), x.amax(0) - x.amin(0)) if scale == "unit" else (x.mean(0), x.std(0, correction=0))
    assert offset == pytest.approx(expected[0].tolist(), abs=1e-5)
    assert spread == pytest.approx(expected[1].tolist(), abs=1e-5)
