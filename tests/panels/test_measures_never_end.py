"""A measure never ends a run: rules on nets whose activations change shape train or are refused before the start, and
what cannot be measured of them is null, with its reason, once."""

import json
import math
import warnings

import pytest
import torch
from run_helpers import run_cli, toy_file
from torch import nn

import altprop
from altprop import RULES, Refused
from altprop.measure import feedback_angles, receptive_fields
from altprop.measure.alignment import angle
from altprop.panels import PANELS
from altprop.reports.page import write_report
from altprop.run import metrics
from altprop.run.directory.records import read_run
from altprop.run.train import Diverged

GENERATOR = torch.Generator().manual_seed(0)
SERIES, FLAT = torch.rand(24, 5, 6, generator=GENERATOR), torch.rand(24, 12, generator=GENERATOR)
IMAGES, TOKENS = torch.rand(24, 2, 5, 5, generator=GENERATOR), torch.randint(0, 7, (24, 4), generator=GENERATOR)
Y = torch.arange(24) % 3


class Mean(nn.Module):
    """Over time, or over the positions of a map."""

    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.mean(self.axes)


class Maxout(nn.Module):
    def forward(self, x):
        return x.unflatten(-1, (-1, 2)).amax(-1)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        return x + (self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1) @ self.value(x)


NETS = {
    "a row a step, then their mean": (SERIES, lambda: (nn.Linear(6, 8), nn.ReLU(), Mean(1), nn.Linear(8, 3))),
    "rows, flattened": (SERIES, lambda: (nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3))),
    "rows through two layers": (SERIES, lambda: (nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), Mean(1),
                                                 nn.Linear(8, 3))),
    "GLU": (FLAT, lambda: (nn.Linear(12, 16), nn.GLU(), nn.Linear(8, 3))),
    "GLU twice": (FLAT, lambda: (nn.Linear(12, 16), nn.GLU(), nn.Linear(8, 8), nn.GLU(), nn.Linear(4, 3))),
    "GLU at the end": (FLAT, lambda: (nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6), nn.GLU())),
    "maxout": (FLAT, lambda: (nn.Linear(12, 16), Maxout(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))),
    "softmax": (FLAT, lambda: (nn.Linear(12, 8), nn.Softmax(1), nn.Linear(8, 3))),
    "layer norm": (FLAT, lambda: (nn.Linear(12, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))),
    "attention": (SERIES, lambda: (Attention(6), nn.Flatten(), nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 3))),
    "ConvTranspose": (IMAGES, lambda: (nn.ConvTranspose2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(196, 3))),
    "mean of a map": (IMAGES, lambda: (nn.Conv2d(2, 4, 3), nn.ReLU(), Mean(2, 3), nn.Linear(4, 3))),
    "unflattened": (FLAT, lambda: (nn.Linear(12, 12), nn.ReLU(), nn.Unflatten(1, (3, 4)), nn.Linear(4, 5), nn.Tanh(),
                                   nn.Flatten(), nn.Linear(15, 3))),
    "pooled by no layer": (SERIES, lambda: (nn.Linear(6, 8), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(),
                                            nn.Linear(20, 3))),
}  # fmt: skip


def sequence(net):
    torch.manual_seed(0)
    return nn.Sequential(*NETS[net][1]())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", NETS)
def test_every_rule_trains_or_is_refused_before_the_start(net, rule):
    """Two epochs with angles and norms, and no measure that fails, but for angles where the rule says so.

    A refusal names the layer, before a step."""
    x, _ = NETS[net]
    rows = []
    try:
        followed = RULES[rule](sequence(net), example=x[:1]).differentiable() is not None
    except Refused as error:
        assert "layer '" in str(error) and len(str(error)) <= 300 and "\n" not in str(error)
        if rule not in ("fa", "usf", "frsf", "brsf", "kp", "wm"):  # which fit sends through blocks as well
            return
        followed = True
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = altprop.fit(rule, sequence(net), (x, Y), epochs=2, batch=8, report=rows.append)
    failed = [str(one.message) for one in told if "cannot be measured" in str(one.message)]
    assert not [text for text in failed if followed or "that autograd cannot follow" not in text]
    assert len(rows) == 2 and all(value is not None for value in result.metrics[-1]["weight_norm"].values())


PROBED = [("rows through two layers", "drtp"), ("GLU twice", "fa"), ("maxout", "shallow"), ("GLU at the end", "ff"),
          ("unflattened", "dfa"), ("rows, flattened", "softhebb")]  # fmt: skip


@pytest.mark.parametrize(("net", "rule"), PROBED)
def test_probes_of_such_nets(net, rule, tmp_path, monkeypatch):
    """A refusal of a probe is one of the package, in words, never an error of torch."""
    monkeypatch.delitem(PANELS, "activity")  # which takes a second
    run = altprop.fit(rule, sequence(net), (NETS[net][0], Y), epochs=1, batch=8, probe=True, out=tmp_path / "run").path
    refusals = [entry["refused"] for entry in json.loads((run / "measures.json").read_text()).values()
                if "refused" in entry]  # fmt: skip
    assert not [text for text in refusals if "Error" in text]


def test_feedback_is_held_against_the_weights_above_as_far_as_they_have_a_product():
    """DFA's matrix at the last hidden layer against W_3; below GLU, and below rows, there is no product."""
    for net, known in (("GLU twice", False), ("rows, flattened", False), ("softmax", True)):
        rule = altprop.DFA(sequence(net), example=NETS[net][0][:1])
        angles = list(feedback_angles(rule).values())
        assert math.isclose(angles[-1], angle(rule.feedback[-1].flatten(1), rule.layers[-1].synapse.weight))
        assert known or len(angles) < 2 or angles[0] is None


def test_the_first_layers_weights_are_a_picture_only_of_a_whole_input():
    """A row of weights of a Linear on (T, F) is no (T, F): its field is climbed to."""
    rule = altprop.Backprop(sequence("rows, flattened"), example=SERIES[:1])
    assert receptive_fields(rule, 0, 2, steps=2).shape == (2, 5, 6)


def fails(kind):
    def measure(*_):
        raise kind("of its own")

    return measure


@pytest.mark.parametrize("kind", [RuntimeError, ZeroDivisionError, MemoryError, KeyError, Refused])
@pytest.mark.parametrize("name", ["angle_to_bp", "feedback_angle", "weight_norm"])
def test_a_measure_that_fails_is_null_with_its_reason_once(name, kind, tmp_path, monkeypatch):
    """In three epochs one line; the others are measured, the run is finished, and its page can be drawn."""
    monkeypatch.setitem(metrics.MEASURES, name, fails(kind))
    with pytest.warns(UserWarning) as told:
        result = altprop.fit("dfa", "12-4-3", (FLAT, Y), epochs=3, batch=8, out=tmp_path / "run")
    assert [str(one.message).startswith(f"{name} cannot be measured:") for one in told] == [True]
    others = {"angle_to_bp", "feedback_angle", "weight_norm"} - {name}
    for row in (*result.metrics, *read_run(result.path).epochs.values()):
        assert row[name] is None and all(row[other] for other in others)
    assert "of its own" in json.loads((result.path / "measures.json").read_text())[name]["refused"]
    altprop.load(result.path)
    assert "of its own" in write_report(result.path).read_text()


@pytest.mark.parametrize("name", ["curve", "confusion", "examples"])
def test_a_probe_that_fails_stands_there_with_its_reason(name, tmp_path, monkeypatch):
    """The others stand beside it."""
    monkeypatch.setitem(PANELS, name, PANELS[name]._replace(measure=fails(RuntimeError)))
    with pytest.warns(UserWarning, match=f"{name} cannot be measured"):
        path = altprop.fit("bp", "12-4-3", (FLAT, Y), epochs=1, probe=True, out=tmp_path / "run").path
    measures = json.loads((path / "measures.json").read_text())
    assert measures[name]["refused"] == "RuntimeError: of its own" and "0" in measures["weights"]
    assert f"Not measured, {name}: RuntimeError: of its own" in write_report(path).read_text()


def test_one_line_on_the_terminal(tmp_path, monkeypatch, capsys):
    """Standard output stays one JSON object."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(metrics.MEASURES, "angle_to_bp", fails(RuntimeError))
    toy_file(tmp_path)
    done = run_cli(capsys, "train", "bp", "--data", "toy.npz", "--net", "6-4-3", "--epochs", 2, "--json", "--out", "r")
    assert done.json["epochs"] == 2
    assert done.err == "altprop: angle_to_bp cannot be measured: RuntimeError: of its own\n"


def test_warnings_that_are_errors_end_no_run(monkeypatch):
    """As under python -W error."""
    monkeypatch.setitem(metrics.MEASURES, "weight_norm", fails(RuntimeError))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert altprop.fit("bp", "12-4-3", (FLAT, Y), epochs=1).metrics[0]["weight_norm"] is None


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_an_epoch_that_is_done_is_kept_whatever_its_measures_do(tmp_path, monkeypatch, seconds):
    """The checkpoint stands before they begin: killed in them, the run goes on to the same numbers."""
    options = {"epochs": 2, "batch": 8, "dropout": 0.3}
    monkeypatch.setattr("altprop.run.train.CHECKPOINT_SECONDS", seconds)
    whole = altprop.fit("dfa", "12-4-3", (FLAT, Y), **options)
    with monkeypatch.context() as patch:
        patch.setattr("altprop.run.train.measured_row", fails(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            altprop.fit("dfa", "12-4-3", (FLAT, Y), **options, out=tmp_path / "run")
    resumed = altprop.run.experiment.resume_run(tmp_path / "run", data=(FLAT, Y))
    rows = [[{key: row[key] for key in row if key != "seconds"} for row in run.metrics] for run in (whole, resumed)]
    assert rows[0] == rows[1] and len(rows[0]) == 2


WILD = [("bp", {"lr": 1e4, "loss": "mse"}), ("dfa", {"lr": 3e4}), ("drtp", {"lr": 1e5, "loss": "mse"})]


@pytest.mark.parametrize(("rule", "settings"), WILD)
def test_a_loss_beyond_all_measure_is_divergence(rule, settings):
    """Finite still, and told as such, with epoch, step and layer."""
    where = r"at epoch \d+, step \d+, in layer '\d' .*: it diverged, the loss is .*; lower --lr"
    with pytest.raises(Diverged, match=f"training stopped {where}") as told:
        altprop.fit(rule, "12-8-3", (100 * FLAT, Y), epochs=60, batch=8, **settings)
    assert len(str(told.value)) <= 300


@pytest.mark.parametrize(("weight", "diverged"), [(1e19, True), (1e17, False)])
def test_a_weight_beyond_all_measure_is_divergence(weight, diverged):
    """On an input that is always 0, so that no loss could say so."""
    net, x = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3)), FLAT.clone()
    x[:, 0] = 0
    net[0].weight.data[1, 0] = weight
    rows = []
    try:
        altprop.fit("bp", net, (x, Y), epochs=1, batch=8, report=rows.append)
    except Diverged as error:
        assert error.where.startswith("at epoch 1, step 3, in layer '0'") and "larger than 1e+18" in error.what
    assert len(rows) == (not diverged)


def test_a_test_loss_that_is_no_number_is_divergence(monkeypatch):
    """Of epoch 1, whose training loss is finite."""
    monkeypatch.setattr(metrics, "judge", lambda *_: metrics.Verdict(math.nan, 0.0, None))
    with pytest.raises(Diverged, match=r"stopped at epoch 1, step 3, in layer .* it diverged, the test loss is nan"):
        altprop.fit("bp", "12-4-3", (FLAT, Y), epochs=2, batch=8)


def test_large_targets_and_inputs_are_no_divergence():
    """A regression of 250000 +- 45000 from raw inputs begins at a loss of 3e10, one of 1e-6 at 1."""
    for scale in (250_000.0, 1e-6):
        targets = scale * (1 + 0.2 * torch.randn(24, 1, generator=torch.Generator().manual_seed(1)))
        assert (
            len(altprop.fit("bp", "12-4-1", (FLAT, targets), epochs=2, batch=8, lr=1e-4, target_scale="none").metrics)
            == 2
        )
    small = (100 * FLAT, 1e-6 * torch.randn(24, 1, generator=torch.Generator().manual_seed(1)))
    first = altprop.fit("bp", "12-4-1", small, epochs=1, batch=8, lr=1e-9, target_scale="none").metrics[0]["loss"]
    assert first > 1, "a million times the loss of zeros, but that of the first batch"
    raw = altprop.fit("bp", "12-4-3", (4000 * FLAT, Y), epochs=3, batch=8)
    assert len(raw.metrics) == 3
