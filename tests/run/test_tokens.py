"""Inputs and targets of other kinds than pixels and classes: tokens for an embedding, multi-hot labels, sequences."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from data_helpers import refused
from run_helpers import run_cli, same_bits
from torch import nn
from torch.nn import functional as F

import altprop
from altprop import RULES
from altprop.data import as_input, batches, from_torch
from altprop.limits import Interrupted
from altprop.run.build import prepare
from altprop.run.experiment import evaluate_run, predict, resume_run
from altprop.run.metrics import evaluate
from altprop.run.recipe import RunError

WORDS, LENGTH = 20, 4
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, WORDS, (240, LENGTH))
SAID = (TOKENS[:, 0] >= WORDS // 2).astype(np.int64)  # the class is whether the first token is one of the upper half
X = RNG.normal(size=(120, 6)).astype(np.float32)
MANY = (X[:, :3] > 0).astype(np.int64)  # three labels, each of its own


def embedding_net(words=WORDS):
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(words, 6), nn.Flatten(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 2))


class Text(nn.Module):
    """An embedding inside a block, as users write it."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)

    def forward(self, x):
        return self.embedding(x).mean(1)


NETS = {
    "embedding": embedding_net,
    "bag": lambda: nn.Sequential(nn.EmbeddingBag(WORDS, 6), nn.Linear(6, 2)),
    "block": lambda: nn.Sequential(Text(), nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2)),
}
SETTINGS = {"epochs": 2, "batch": 16, "lr": 0.05, "measure": False}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32, list])
def test_an_embedding_is_given_whole_numbers(net, dtype):
    """Of whatever type they came; the net decides, not the data."""
    x = TOKENS.tolist() if dtype is list else TOKENS.astype(dtype)
    learner = prepare(
        altprop.fit("bp", NETS[net](), data=(x, SAID), **SETTINGS).recipe, from_torch((x, SAID)), NETS[net]()
    )
    assert learner.data.x_train.dtype == learner.data.x_test.dtype == torch.int64 and learner.rule.integer_input
    assert int(learner.data.x_train.max()) == WORDS - 1


@pytest.mark.parametrize("rule", ["bp", "dfa", "drtp", "fa", "kp", "shallow", "ifa"])
def test_tokens_train_by_rules_that_take_any_first_layer(rule):
    """The embedding of a token that says the class must have moved, unless only the last layer learns."""
    net = embedding_net()
    before = net[0].weight.detach().clone()
    result = altprop.fit(rule, net, data=(TOKENS, SAID), epochs=40, batch=16, lr=0.02)
    assert result.test_accuracy > (0.6 if rule == "shallow" else 0.7)  # one third by chance
    assert (rule == "shallow") == torch.equal(before, net[0].weight)


def test_tokens_train_as_a_loop_by_hand_does():
    """Step by step the same weights as torch's own backward on int64."""
    data = from_torch((TOKENS, SAID))
    fitted = altprop.fit("bp", embedding_net(), data=(TOKENS, SAID), momentum=0.0, **SETTINGS).net
    net, order = embedding_net(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(2):
        for x, y in batches(data.x_train, data.y_train, 16, generator=order):
            assert x.dtype == torch.int64
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    for a, b in zip(fitted.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_whole_numbers_are_plain_numbers_to_any_other_net():
    """Tables of counts train as they did, to the bit, whatever the type of their integers."""
    runs = [altprop.fit("bp", "4-5-2", data=(x, SAID), **SETTINGS) for x in (TOKENS, TOKENS.astype(np.float32))]
    assert same_bits(runs[0].net.state_dict(), runs[1].net.state_dict())
    data = from_torch((TOKENS, SAID))
    assert data.x_train.dtype == torch.int64 and data.numeric().x_train.dtype == torch.float32
    assert data.scaled("standard").x_train.dtype == torch.float32
    mixed = from_torch((TOKENS, SAID), (TOKENS / 2, SAID))
    assert mixed.x_train.dtype == mixed.x_test.dtype == torch.float32
    bytes_, floats = torch.tensor([255], dtype=torch.uint8), torch.tensor([3.0])
    assert as_input(bytes_).item() == 1 and as_input(floats, torch.float64).dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (TOKENS + 1, ["tokens from 1 to 20", "has 20", "0 to 19", "num_embeddings=21"]),
        (TOKENS - 1, ["tokens from -1 to 18"]),
        (TOKENS / 2, ["holds fractions", "begins with an embedding"]),
    ],
)
def test_tokens_that_are_none_are_refused(x, words):
    """By torch they would be an IndexError in mid-epoch, or on a GPU the end of the process."""
    with refused("custom: x_train", *words):
        altprop.fit("bp", embedding_net(), data=(x, SAID))


def test_rules_that_change_their_input_refuse_tokens_by_name():
    for rule in ("pepita", "afa", "ff"):
        with pytest.raises(altprop.Refused, match="integers came"):
            altprop.fit(rule, embedding_net(), data=(TOKENS, SAID))


def test_a_run_on_tokens_is_measured_evaluated_loaded_and_predicted(tmp_path):
    settings = {**SETTINGS, "epochs": 30, "measure": True, "probe": True}
    result = altprop.fit("dfa", embedding_net(), data=(TOKENS, SAID), out=tmp_path / "run", **settings)
    measures = json.loads((tmp_path / "run" / "measures.json").read_text())
    assert "refused" in measures["robustness"] and measures["depth"]["0"]["nearest"] > 0.5
    net, rule = altprop.load(tmp_path / "run", embedding_net())
    with torch.no_grad():
        want = rule(torch.tensor(TOKENS)).softmax(1)
    assert same_bits(net.state_dict(), result.net.state_dict())
    for x in (TOKENS, torch.tensor(TOKENS), TOKENS.tolist(), TOKENS.astype(np.float64)):
        torch.testing.assert_close(predict(tmp_path / "run", x, net=embedding_net())[0], want)
    told = evaluate_run(tmp_path / "run", data=(TOKENS, SAID), net=embedding_net())
    assert told["test_accuracy"] == result.test_accuracy
    with refused("x holds tokens from 1 to 20"):
        predict(tmp_path / "run", TOKENS + 1, net=embedding_net())


def stop(epoch, epochs, batch, batches, loss):
    if (epoch, batch) == (1, 1):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_run_on_tokens_resumes_to_the_bit(tmp_path):
    whole = altprop.fit("dfa", embedding_net(), data=(TOKENS, SAID), **SETTINGS)
    with pytest.raises(Interrupted):
        altprop.fit("dfa", embedding_net(), data=(TOKENS, SAID), out=tmp_path / "run", progress=stop, **SETTINGS)
    resumed = resume_run(tmp_path / "run", net=embedding_net(), data=(TOKENS, SAID))
    assert same_bits(resumed.rule.state_dict(), whole.rule.state_dict())


def test_tokens_in_files(tmp_path):
    """An .npz keeps its integers, and is predicted from as it was trained on."""
    np.savez(tmp_path / "text.npz", x=TOKENS, y=SAID)
    result = altprop.fit("bp", embedding_net(), data=tmp_path / "text.npz", **SETTINGS)
    assert result.rule.integer_input


@pytest.mark.parametrize("dtype", [int, bool, float, np.uint8, np.float16])
def test_multi_hot_labels_train_by_binary_cross_entropy(dtype):
    """Of any dtype, at the rate of classes, whose error is as bounded; told is who has all labels right."""
    data = from_torch((X, MANY.astype(dtype)))
    assert (data.task, data.outputs, data.classes, data.y_train.dtype) == ("multilabel", 3, (), torch.float32)
    result = altprop.fit("bp", data=(X, MANY.astype(dtype)), epochs=60, momentum=0.9)
    assert (result.recipe.loss, result.recipe.lr) == ("binary_cross_entropy", 0.01)
    with torch.no_grad():
        right = ((result.net(data.x_test) > 0) == data.y_test.bool()).all(1)
    assert result.test_accuracy == pytest.approx(right.double().mean().item()) and result.test_accuracy > 0.7


def test_accuracy_of_multi_hot_labels_asks_for_every_label():
    """Two of three labels right is wrong; under other losses nothing is told."""
    rule = RULES["bp"](nn.Sequential(nn.Linear(2, 2)), example=torch.zeros(1, 2), loss="binary_cross_entropy")
    nn.init.eye_(rule.net[0].weight)
    nn.init.zeros_(rule.net[0].bias)
    x = torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert evaluate(rule, x, y)[1] == 0.5
    rule = RULES["bp"](rule.net, example=x, loss="mse")
    assert evaluate(rule, x, y)[1] is None


@pytest.mark.parametrize("rule", ["dfa", "drtp", "fa", "pepita", "softhebb"])
def test_multi_hot_labels_by_other_rules(rule):
    altprop.fit(rule, data=(X, MANY), epochs=1)
    with pytest.raises(altprop.Refused, match="not one-hot"):
        altprop.fit("ff", data=(X, MANY), epochs=1)


def test_multi_hot_labels_are_predicted_as_probabilities(tmp_path, capsys):
    """Of each label for itself: they need not sum to one."""
    result = altprop.fit("bp", data=(X, MANY), epochs=2, out=tmp_path / "run")
    y_hat, classes = predict(tmp_path / "run", X)
    with torch.no_grad():
        torch.testing.assert_close(y_hat, result.net(torch.tensor(X)).sigmoid())
    np.savez(tmp_path / "x.npz", x=X)
    outcome = run_cli(capsys, "predict", tmp_path / "run", tmp_path / "x.npz")
    assert classes == [] and outcome.out.splitlines()[0] == "y0,y1,y2"


def test_what_is_not_multi_hot():
    """Other targets are a regression, and rows of 0 and 1 obey a loss that is named."""
    for y in (MANY * 2.0, MANY + 0.5, np.ones((120, 3)), X[:, :3]):
        assert from_torch((X, y)).task == "regression"
    assert altprop.fit("bp", data=(X, MANY), loss="mse", epochs=1).recipe.loss == "mse"
    for y, loss in ((X[:, :3], "binary_cross_entropy"), (MANY, "cross_entropy")):
        with pytest.raises(RunError, match="targets that are no classes"):
            altprop.fit("bp", data=(X, y), loss=loss)


SIGNALS = RNG.normal(size=(80, 2, 24)).astype(np.float32)
HIGH = (np.arange(80) % 2).astype(np.int64)
SIGNALS[HIGH == 1] += np.sin(np.arange(24) * 1.5).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
def test_sequences_train_by_every_rule(rule):
    """(N, C, L) with a convolution of one dimension, a norm and a pool where the rule takes them."""
    if RULES[rule].requires:
        pytest.importorskip("snntorch")
    signals = SIGNALS if RULES[rule].domain is None else (SIGNALS - SIGNALS.min()) / np.ptp(SIGNALS)
    net = "48-4-2" if RULES[rule].suits.init == "on_off" else "conv4k5-pool2-2"
    altprop.fit(rule, net, data=(signals, HIGH), epochs=1, measure=True)


def test_sequences_are_learned(tmp_path):
    result = altprop.fit("dfa", "norm-conv16k5-pool2-2", data=(SIGNALS, HIGH), epochs=20, lr=0.05, out=tmp_path / "run")
    assert result.test_accuracy > 0.9
    assert isinstance(result.net[1], nn.Conv1d)
    y_hat, _ = predict(tmp_path / "run", SIGNALS)
    assert np.mean(y_hat.argmax(1).numpy() == HIGH) > 0.9
    with refused("x.transpose(0, 2, 1)"):
        predict(tmp_path / "run", SIGNALS.transpose(0, 2, 1))
