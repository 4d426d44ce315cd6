"""What a run leaves behind: the caller's random state, threads and modes as they were, and a net that can be used."""

import json
import signal
import warnings

import pytest
import torch
from helpers import suited
from run_helpers import run_cli, same_bits, toy_file, toy_tensors
from torch import nn

import altprop
from altprop import RULES
from altprop.limits import Interrupted
from altprop.measure import angles_to_bp, peak_activation_bytes, receptive_fields, winners
from altprop.nets import build
from altprop.run.experiment import evaluate_run, predict, resume_run
from altprop.run.metrics import evaluate
from altprop.run.recipe import RunError

X, Y = toy_tensors()
DATA = {"train": (X, Y), "test": toy_tensors(30, seed=1)}


def own_net():
    generator = torch.Generator().manual_seed(7)
    net = nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 3))
    for parameter in net[1].parameters():
        parameter.data.uniform_(-1, 1, generator=generator)
    return net


def fit(rule="bp", **settings):
    return altprop.fit(rule, settings.pop("net", "6-5-3"), DATA, **{"epochs": 2, "batch": 16, "threads": 2, **settings})


def state():
    return torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()


def assert_left_alone(before):
    after = state()
    assert torch.equal(after[0], before[0]), "the random state has moved"
    assert after[1:] == before[1:]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return fit(out=tmp_path_factory.mktemp("left") / "run", dropout=0.3).path


ENTRIES = {
    "fit": lambda path, folder: fit(dropout=0.3),
    "fit with its readout after": lambda path, folder: fit("softhebb", readout={"epochs": 1, "dropout": 0.5}),
    "fit with probes": lambda path, folder: fit("drtp", probe=True, out=folder / "run"),
    "resume": lambda path, folder: resume_run(path, data=DATA),
    "load": lambda path, folder: altprop.load(path),
    "evaluate": lambda path, folder: evaluate_run(path, data=DATA),
    "predict": lambda path, folder: predict(path, X),
    "build": lambda path, folder: build("6-5-3", (6,), 3, seed=4),
    "compare": lambda path, folder: altprop.compare(["fa"], "6-5-3", toy_file(folder), seeds=1, epochs=1, threads=2,
                                                    out=folder / "c"),
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_random_state_and_threads_are_the_callers(entry, path, tmp_path, monkeypatch):
    """Every public entry, though it draws and asks for two threads."""
    monkeypatch.setattr("altprop.study.cost.ROUNDS", 1)
    torch.manual_seed(11)
    before = state()
    ENTRIES[entry](path, tmp_path)
    assert_left_alone(before)


@pytest.mark.parametrize("rule", RULES)
def test_the_constructor_of_a_rule_draws_from_a_generator_of_its_own(rule):
    """Feedback, masks and thresholds."""
    net, before = suited(rule, own_net()[1:]), state()
    RULES[rule](net, example=X[:1])
    assert_left_alone(before)


def test_a_random_search_around_fit_draws_another_rate_each_time():
    """The seed of the run was that of the search, from the second trial on."""
    torch.manual_seed(0)
    plain = [float(torch.rand(())) for _ in range(3)]
    torch.manual_seed(0)
    rates = []
    for _ in range(3):
        rates.append(float(torch.rand(())))
        fit(lr=0.001 + 0.01 * rates[-1], epochs=1)
    assert rates == plain and len(set(rates)) == 3


@pytest.mark.parametrize("rule", ["bp", "wm", "pepita"])
def test_a_run_does_not_depend_on_the_callers_state(rule):
    """Seed, threads and no_grad of the caller; the weights agree to the bit."""
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 8, shuffle=True)
    nets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.set_grad_enabled(seed == 1):
            nets.append(altprop.fit(rule, "6-5-3", loader, epochs=2, batch=16, dropout=0.4).net.state_dict())
    assert same_bits(*nets)


def stopped(how):
    def progress(*_):
        raise how

    return {"progress": progress}


def interrupted():
    def progress(*_):
        signal.raise_signal(signal.SIGINT)

    return {"progress": progress}


FAILURES = {
    "refused": (lambda: {"net": "7-3"}, ValueError),
    "diverged": (lambda: {"lr": 1e8, "loss": "mse"}, RunError),
    "a callback that fails": (lambda: stopped(ZeroDivisionError), ZeroDivisionError),
    "ctrl-c": (interrupted, Interrupted),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_run_that_fails_leaves_as_little(failure):
    """Whichever way it ends; the handlers of signals too."""
    settings, error = FAILURES[failure]
    torch.manual_seed(5)
    before, handlers = state(), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(error):
        fit(**settings())
    assert_left_alone(before)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_callback_runs_in_the_state_of_its_caller():
    """What it draws is the caller's next number, and the run draws as without it."""
    drawn, threads = [], []

    def progress(*_):
        drawn.append(float(torch.rand(())))
        threads.append(torch.get_num_threads())

    alone = fit(dropout=0.4).net.state_dict()
    torch.manual_seed(3)
    watched = fit(dropout=0.4, progress=progress).net.state_dict()
    following = float(torch.rand(()))
    torch.manual_seed(3)
    assert [*drawn, following] == [float(torch.rand(())) for _ in range(len(drawn) + 1)] and len(drawn) == 8
    assert same_bits(alone, watched) and set(threads) == {1}


@pytest.mark.parametrize("own", [False, True], ids=["spec", "own net"])
@pytest.mark.parametrize("rule", ["bp", "softhebb"])
def test_the_net_comes_back_in_eval_mode(rule, own, tmp_path):
    """What it says is what was measured, and saying it moves no statistics."""
    net = own_net() if own else "6-norm-5-3"
    readout = {"readout": {"epochs": 1}} if rule == "softhebb" else {}
    result = fit(rule, net=net, **readout, **({} if own else {"dropout": 0.3}))
    assert not any(module.training for part in (result.rule, result.net) for module in part.modules())
    before = {key: tensor.clone() for key, tensor in result.net.state_dict().items()}
    x, y = DATA["test"]
    assert float((result.rule(x).argmax(1) == y).float().mean()) == pytest.approx(result.test_accuracy)
    assert same_bits(before, result.net.state_dict())
    assert all(parameter.grad is None for parameter in result.net.parameters())


def test_what_is_frozen_in_a_net_stays_so_and_nothing_else():
    """A run that freezes layers, and a net with a layer that its owner froze."""
    net = own_net()
    net[4].bias.requires_grad_(False)
    fit(net=net, freeze=1)
    assert [parameter.requires_grad for parameter in net.parameters()] == [True, True, True, False]
    assert all(parameter.requires_grad for parameter in fit(freeze=1).net.parameters())


def test_a_net_of_a_run_that_failed_has_its_modes():
    """Nothing was handed back, so nothing may have changed."""
    net = own_net().eval()
    net[3].train()
    with pytest.raises(ZeroDivisionError):
        fit(net=net, **stopped(ZeroDivisionError))
    assert [module.training for module in net.modules()] == [False, False, False, False, True, False]


MEASURES = {
    "evaluate": lambda rule: evaluate(rule, X, Y),
    "angles": lambda rule: angles_to_bp(rule, X, Y),
    "memory": lambda rule: peak_activation_bytes(rule, X, Y),
    "fields": lambda rule: receptive_fields(rule, -1, 3, steps=2),
    "winners": lambda rule: winners(rule, X),
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("rule", ["bp", "wm", "kp", "pepita", "softhebb"])
def test_a_measure_leaves_modes_state_and_random_numbers(rule, measure):
    """Module by module: one in eval mode inside a net in train mode stays there."""
    net = own_net()[1:]
    built = RULES[rule](net, example=X[:1], **({"mirror": True} if rule == "pepita" else {})).train()
    net[2].eval()
    modes, random = [module.training for module in built.modules()], state()
    before = {key: tensor.clone() for key, tensor in built.state_dict().items()}
    MEASURES[measure](built)
    assert [module.training for module in built.modules()] == modes
    assert same_bits(before, built.state_dict())
    assert_left_alone(random)


def test_signals_warnings_and_pictures_are_left_alone(path, capsys, tmp_path, monkeypatch):
    """Of the process: handlers, filters, matplotlib's settings, the folder."""
    import matplotlib

    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path)
    before = [dict(matplotlib.rcParams), list(warnings.filters), warnings.showwarning, signal.getsignal(signal.SIGINT)]
    arguments = ["--data", "toy.npz", "--net", "6-5-3", "--epochs", "1", "--json"]
    done = run_cli(capsys, "train", "drtp", *arguments, "--out", "run")
    assert json.loads(done.out)["rule"] == "drtp"
    after = [dict(matplotlib.rcParams), list(warnings.filters), warnings.showwarning, signal.getsignal(signal.SIGINT)]
    assert all(a == b for a, b in zip(after, before, strict=True))
