"""On a GPU, held against the same arithmetic on the processor; skipped where there is none."""

import copy
import os
import signal

import pytest
import torch
from helpers import NETS, assert_same, credit, differ, inputs, labels, make, suited
from run_helpers import toy_file, toy_recipe

from altprop import RULES
from altprop.limits import Interrupted
from altprop.run.experiment import load, resume_run, run_recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")


def on_the_gpu(gradients):
    return {name: None if g is None else g.cpu() for name, g in gradients.items()}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", RULES)
def test_gradients_are_those_of_the_processor(name, net):
    """A tensor left on the processor, or a kernel that computes something else."""
    net = suited(name, NETS[net]())
    x, y = inputs(net), labels()
    rule = make(name, net, x)
    want = credit(copy.deepcopy(rule), x, y)
    if differ(want, credit(copy.deepcopy(rule), x, y, seed=1)):
        pytest.skip("the rule draws random numbers, which are others on a GPU")
    got = credit(rule.cuda(), x.cuda(), y.cuda())
    assert all(g is None or g.is_cuda for g in got.values())
    assert_same(on_the_gpu(got), want, atol=1e-9)


@pytest.mark.parametrize("name", ["bp", "drtp", "pepita", "kp"])
def test_a_captured_step_is_the_step(name, tmp_path):
    """Two epochs with a short last batch; weights move under the graph, and feedback too."""
    ends = []
    for captured in (False, True):
        given = {"rule": name, "data": str(toy_file(tmp_path)), "device": "cuda", "epochs": 2, "measure": False}
        ends.append(run_recipe(toy_recipe(**given, compile=captured)).rule.state_dict())
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_built_on_the_gpu_has_the_same_feedback(name):
    """Matrices drawn by the device's own generator would make another experiment of the same seed."""
    net, x = suited(name, NETS["mlp"]()), inputs(NETS["mlp"]())
    here, there = make(name, copy.deepcopy(net), x), make(name, net.cuda(), x.cuda())
    for left, right in zip(here.feedback, there.feedback, strict=True):
        assert right.is_cuda
        torch.testing.assert_close(left, right.cpu())


@pytest.mark.parametrize("name", RULES)
def test_a_run_learns_and_is_read_on_the_processor(name, tmp_path):
    """Data, order, dropout, measures and probes of a run on the device, and its weights afterwards without it."""
    recipe = toy_recipe(rule=name, data=str(toy_file(tmp_path)), device="cuda", dropout=0.2, epochs=2, probe=True)
    result = run_recipe(recipe, out=tmp_path / "run")
    assert next(result.net.parameters()).is_cuda and len(result.metrics) == 2
    loaded = load(tmp_path / "run")
    for left, right in zip(loaded.net.parameters(), result.net.parameters(), strict=True):
        torch.testing.assert_close(left, right.cpu())


@pytest.mark.parametrize("name", RULES)
def test_a_run_stopped_on_the_gpu_goes_on_to_the_bit(name, tmp_path):
    """The device's random state and the optimizer's tensors lie elsewhere than the processor's."""
    recipe = toy_recipe(rule=name, data=str(toy_file(tmp_path)), device="cuda", dropout=0.3, seed=3)

    def stop(epoch, epochs, batch, batches, loss):
        if (epoch, batch) == (1, 1):
            os.kill(os.getpid(), signal.SIGINT)

    whole = run_recipe(recipe, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        run_recipe(recipe, out=tmp_path / "parts", progress=stop)
    parts = resume_run(tmp_path / "parts")
    for left, right in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("memory", [8.0, 1e-7], ids=["in memory", "in a file"])
def test_a_readout_on_features_beside_the_gpu(memory, tmp_path):
    """Features too large for memory lie in a file and go to the device batch by batch."""
    readout = {"epochs": 3, "memory": memory, "dropout": 0.1}
    data, net = str(toy_file(tmp_path)), "6-norm-5-3"
    recipe = toy_recipe(rule="softhebb", data=data, net=net, act="triangle", device="cuda", readout=readout, epochs=1)
    result = run_recipe(recipe, out=tmp_path / "run")
    assert result.test_accuracy is not None and len(result.metrics) == 4
