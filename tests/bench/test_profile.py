"""Measured bytes and multiply-adds against ledgers, and those against numbers counted by hand."""

import json

import pytest
import torch
from run_helpers import assert_refused, run_cli

from altprop.bench.bench import make
from altprop.bench.cases import case_of
from altprop.bench.ledger import activations, autograd_activations
from altprop.bench.profile import BACKWARD, deepened, profile
from altprop.bench.traffic import by_hand, measured
from altprop.core import Refused
from altprop.measure import multiply_adds

DENSE = ["24-40-10", "24-40-40-40-10", "24-50-30-20-10", "24-20-30-50-10"]
RULES_TOLD = ["bp", "fa", "usf", "dfa", "drtp"]
N = 16


def of(name, net, shape=None):
    case = case_of(net, N, [name], shape)
    x, y = case.data()
    return make(name, case, x), x, y


@pytest.mark.parametrize("name", RULES_TOLD)
@pytest.mark.parametrize("net", DENSE)
def test_memory_is_within_a_tenth_of_the_ledger(name, net):
    """Activities that a rule needs no more, or holds twice, show here."""
    case = case_of(net, N, [name])
    own, autograd, checkpointed, accumulated = profile(name, case)["memory"]
    assert own["activations"] == pytest.approx(own["activations_ledger"], rel=0.1)
    assert autograd["activations"] == pytest.approx(autograd["activations_ledger"], rel=0.1)
    for row in (own, autograd, checkpointed, accumulated):
        weights = 4 * sum(p.numel() for p in case.build().parameters())
        assert row["parameters"] == row["gradients"] == row["optimizer"] == weights
        parts = ("parameters", "feedback", "gradients", "optimizer", "activations")
        assert row["total"] == sum(row[part] for part in parts)


def test_the_ledger_of_a_small_net_by_hand():
    """24-50-30-10, N = 16, 4 bytes: see the lines of the ledger's head."""
    unit, net = 4 * N, "24-50-30-10"
    assert autograd_activations(of("bp", net)[0], N) == unit * (50 + 30 + 30 + 50)
    assert activations(of("bp", net)[0], N) == unit * (50 + 50 + (50 + 30) + 2 * 10)
    assert activations(of("dfa", net)[0], N) == unit * (50 + 30 + 2 * 50 + 4 * 10)
    assert activations(of("drtp", net)[0], N) == unit * (3 * 50 + 10)


@pytest.mark.parametrize("name", RULES_TOLD)
@pytest.mark.parametrize("net", ["24-40-30-10", "conv8k3-pool2-20-10", "conv4k3-conv6k3s2-10"])
def test_what_layers_compute_and_move_is_within_a_tenth_of_the_ledger(name, net):
    """By layer, since two mistakes in two layers may hide each other; and in all what ``multiply_adds`` counts."""
    rule, x, y = of(name, net, (3, 8, 8))
    found, told = measured(rule, x, y), by_hand(rule, N)
    assert [each.name for each in rule.layers] == list(told)
    for layer, hand in told.items():
        assert found[layer].multiply_adds == pytest.approx(hand.multiply_adds, rel=0.1)
        assert found[layer].bytes == pytest.approx(hand.bytes, rel=0.1)
    assert sum(each.multiply_adds for each in found.values()) == N * multiply_adds(rule, x, y)


@pytest.mark.parametrize("name", ["pepita", "ep", "es", "scff"])
def test_no_ledger_is_made_up(name):
    """A rule of several passes, of its own inference, of draws or without labels has no such ledger."""
    rule, *_ = of(name, "24-40-10")
    assert by_hand(rule, N) is None and activations(rule, N) is None


@pytest.mark.parametrize("backward", BACKWARD.values(), ids=BACKWARD)
def test_backpropagation_is_the_same_however_it_saves_memory(backward):
    """The gradient of the mean loss, by autograd on the net itself."""
    rule, x, y = of("bp", "24-20-20-20-20-10")
    want = torch.autograd.grad(torch.nn.functional.cross_entropy(rule.net(x), y), list(rule.net.parameters()))
    backward(rule.net, rule, x, y)
    for parameter, gradient in zip(rule.net.parameters(), want, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_checkpointing_and_parts_save_memory_and_drtp_needs_no_more_with_depth():
    """The claims that the figure over depth is for."""
    told = profile("drtp", case_of("24-64-64-10", 256, ["drtp"]), depths=[3, 17])["by_depth"]
    shallow, deep = ({row["of"]: row["activations"] for row in each["memory"]} for each in told)
    assert deep["drtp"] == shallow["drtp"]
    assert deep["autograd"] > 3 * shallow["autograd"]
    assert max(deep["autograd, checkpointed"], deep["autograd, 4 parts"]) < 0.7 * deep["autograd"]


def test_a_deeper_net_repeats_its_last_hidden_layer():
    assert [deepened("6-5-4-3", depth) for depth in (2, 3, 5)] == ["6-5-3", "6-5-4-3", "6-5-4-4-4-3"]
    for net, depth, words in (
        ("conv2k3-10", 3, "give one of widths"),
        ("6-3", 3, "hidden layer"),
        ("6-5-3", 1, "2 la"),
    ):
        with pytest.raises(Refused, match=words):
            deepened(net, depth)


def test_profile_prints_what_scripts_rely_on(capsys, tmp_path):
    """One object, and a table with each part."""
    words = ["profile", "dfa", "--net", "6-5-5-3", "--batch", "4", "--depths", "2,3"]
    told = json.loads(run_cli(capsys, *words, "--json").out)
    assert (told["rule"], told["net"], told["batch"]) == ("dfa", "6-5-5-3", 4)
    assert [each["depth"] for each in told["by_depth"]] == [2, 3]
    assert told["memory"][0]["feedback"] == 4 * 2 * 3 * 5
    table = run_cli(capsys, *words, "--figure", tmp_path / "memory.svg").out
    drawn = (tmp_path / "memory.svg").read_text()
    assert drawn.startswith("<?xml") and all(f">{row['of']}<" in drawn for row in told["by_depth"][0]["memory"])
    assert all(word in table for word in ("optimizer", "by hand", "moved a batch", "activations over depth"))
    assert_refused(run_cli(capsys, "profile", "dfa", "--figure", "a.svg"), "--figure a.svg came without depths")
    assert_refused(run_cli(capsys, "profile", "dfa", "--depths", "2;3"), "--depths 2;3 came: give numbers of layers")
