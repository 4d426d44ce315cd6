"""What ``train --measure`` looks at in the end: written whole, drawn, and with a reason where it cannot be."""

import json
import re

import pytest
import torch
from helpers import make, mlp
from torch import nn

from altprop import RULES
from altprop.core import Refused
from altprop.data import Dataset, as_float, load
from altprop.measure import by_depth, plateau, shares, unit_kinds, weight_distribution, winners
from altprop.panels import plots, probes
from altprop.reports.page import write_report
from altprop.run.experiment import fit


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("probed") / "run"
    return fit("pepita", "64-32-12-10", epochs=4, probe=True, out=path)


def dataset(x, y, count=40):
    """x and y as training part, their first ``count`` as test part."""
    classes = () if y.is_floating_point() else ("a", "b", "c")
    return Dataset("toy", x, y, x[:count], y[:count], classes)


def test_measures_are_those_of_the_functions(run):
    """The file holds what the measure says of this rule, not of another layer or part of the data."""
    measures = json.loads((run.path / "measures.json").read_text())
    assert measures.keys() == probes.PROBES.keys()
    curve = plateau([row["test_accuracy"] for row in run.metrics], chance=0.1)
    assert measures["curve"] == {"maximum": curve.maximum, "slowness": curve.slowness}
    for layer in run.rule.layers:
        fitted = weight_distribution(layer.synapse.weight)
        assert measures["weights"][layer.name]["student"]["aic"] == pytest.approx(fitted.student.aic, abs=1e-4)
    fields = measures["receptive_fields"]
    assert fields["shape"] == [25, 1, 8, 8]
    assert torch.tensor(fields["values"]).view(25, 64) == pytest.approx(run.net[1].weight[:25].detach(), abs=1e-4)
    under = measures["robustness"]
    clean = {attack: values["0.0"] for attack, values in under.items()}
    assert len(set(clean.values())) == 1 and under["pgd"]["0.2"] <= clean["pgd"]
    assert len(measures["activity"]["points"]) == len(measures["activity"]["labels"]) == 359


def test_measures_of_layers_are_those_of_the_functions(run):
    """Another part of the data, pixels of 0 to 255, shares rounded to nothing."""
    measures, digits = json.loads((run.path / "measures.json").read_text()), load("digits")
    x, x_test = (part.float() / 255 if part.dtype == torch.uint8 else part for part in (digits.x_train, digits.x_test))
    for place, read in by_depth(run.rule, (x, digits.y_train), (x_test, digits.y_test)).items():
        assert measures["depth"][place] == pytest.approx(read, abs=1e-5), place
    for layer, won in winners(run.rule, x_test).items():
        assert torch.tensor(measures["winners"][layer]["share"]) == pytest.approx(won.share.float(), abs=1e-6)
        assert measures["winners"][layer]["entropy"] == pytest.approx(won.entropy, abs=1e-4)
        assert measures["winners"][layer]["dead"] == won.dead
    kinds = unit_kinds(run.net[1].weight.view(-1, 1, 8, 8)[: probes.UNITS])
    assert measures["units"] == {"units": len(kinds), "shares": pytest.approx(shares(kinds), abs=1e-5)}


def test_kinds_of_a_convolution_are_those_of_its_kernels():
    """One kernel of one colour, one that weighs all alike; kernels of 3 x 3, and inputs that are no images, refused."""
    x, y = torch.rand(60, 3, 8, 8), torch.arange(60) % 3
    net = nn.Sequential(nn.Conv2d(3, 2, 5), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [1.0, 1.0, 1.0]])[..., None, None])
    rule = RULES["bp"](net, example=x[:1])
    found = probes.PROBES["units"](rule, dataset(x, y), [])
    assert found == {"units": 2, "shares": {"gabor": 0.0, "colour": 0.5, "other": 0.5}}
    small = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    with pytest.raises(Refused, match="at least 5 x 5"):
        probes.PROBES["units"](RULES["bp"](small, example=x[:1]), dataset(x, y), [])
    with pytest.raises(Refused, match="no images"):
        probes.PROBES["units"](RULES["bp"](mlp().float(), example=torch.rand(1, 5)), dataset(x[:, 0, 0, :5], y), [])


def test_deep_fields_are_those_that_excite_the_units():
    """Pictures of the first layer, of another unit, or of a norm that no input has."""
    digits = load("digits")
    result = fit("softhebb", "64-norm-16-norm-6-10", "digits", epochs=2, lr=0.03, init="radius5")
    fields = probes.PROBES["deep_fields"](result.rule, digits, [])
    (name,) = fields
    assert name == result.rule.layers[1].name and fields[name]["shape"] == [5, 1, 8, 8]
    pictures = torch.tensor(fields[name]["values"]).view(5, 1, 8, 8)
    x = as_float(digits.x_test[:500])
    size = float(x.flatten(1).norm(dim=1).median())
    assert pictures.flatten(1).norm(dim=1) == pytest.approx(torch.full((5,), size), rel=0.01)
    with torch.no_grad():
        net = result.net.eval()
        a, seen = net[:6](pictures), net[:6](x)
    assert all(a[unit, unit] > seen[:, unit].max() for unit in range(5))
    titles = [axes.get_title("left") for axes in plots.deep_fields(fields).axes]
    assert titles == [f"layer {name}", "", "", "", ""]
    with pytest.raises(Refused, match="none is deep"):
        probes.PROBES["deep_fields"](fit("softhebb", "64-norm-16-10", "digits", epochs=1).rule, digits, [])


def test_kinds_are_those_of_weights_alone():
    """Of a first layer that is no plain map, the optimised input would be taken for its weights."""
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 3))
    x, y = torch.rand(60, 3, 8, 8), torch.arange(60) % 3
    with pytest.raises(Refused, match=r"layer '2' .* no weights that are pictures"):
        probes.PROBES["units"](RULES["bp"](net, example=x[:1]), dataset(x, y), [])


def test_readouts_see_every_class_of_sorted_data(monkeypatch):
    """The first samples of a folder of images are all of one class, and so would be every prediction."""
    y = torch.arange(90) // 30
    x = torch.nn.functional.one_hot(y, 5).float() + 0.1 * torch.randn(90, 5, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(probes, "TAUGHT", 24)
    monkeypatch.setattr(probes, "ASKED", 31)
    read = probes.PROBES["depth"](RULES["bp"](mlp().float(), example=x[:1]), dataset(x, y, 90), [])
    assert read["input"] == {"ridge": 1.0, "nearest": 1.0}
    rows = probes._spaced(90, 31)
    assert len(rows) == len(rows.unique()) == 31 and rows.max() < 90 and probes._spaced(5, 31).tolist() == [*range(5)]


@pytest.mark.parametrize("name", RULES)
def test_hidden_layers_of_every_rule_can_be_probed(name):
    """A rule whose layers are of a kind of their own; those of spikes have a row a time step."""
    x, y = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    net = mlp().float()
    rule, data = make(name, net, x), dataset(x, y)
    assert list(probes.PROBES["depth"](rule, data, [])) == ["input", "1", "4"]
    found = probes.PROBES["winners"](rule, data, [])
    assert {layer: len(won["share"]) for layer, won in found.items()} == {"1": 7, "4": 6, "7": 3}


def test_depth_is_drawn_as_it_was_measured():
    """A readout under another's name, fractions for percent."""
    (axes,) = plots.depth({"input": {"ridge": 0.5, "nearest": 0.2}, "3": {"ridge": 0.75, "nearest": 0.4}}).axes
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert drawn == {"ridge": pytest.approx([50, 75]), "nearest": pytest.approx([20, 40])}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["input", "layer 3"]


def test_winners_are_drawn_from_the_most_frequent():
    """Shares in the order of units, the dead on a logarithmic axis."""
    shares = {"share": [0.25, 0.0, 0.75, 0.0], "entropy": 0.5, "dead": 2}
    (axes,) = plots.winners({"0": shares, "3": {"share": [1.0], "entropy": 0.0, "dead": 0}}).axes
    assert axes.lines[0].get_ydata().tolist() == [3.0, 1.0] and axes.lines[0].get_xdata().tolist() == [12.5, 37.5]
    assert [line.get_label() for line in axes.lines[:2]] == ["layer 0: 2 of 4 never", "layer 3: 0 of 1 never"]


def test_the_report_draws_them(run):
    """A figure for each, named for those who do not see it."""
    page = write_report(run.path).read_text()
    for words in ("feedback and weights", "norm of the weights", "Quantile plots", "Pictures of the first",
                  "hidden activity by class", "strength of each attack", "slowness",
                  "readouts from each layer", "each unit wins", "are Gabor-like",
                  "units of deeper layers"):  # fmt: skip
        assert words in page, words
    assert not re.search(r"(src|href)=.https?:", page)


def test_what_cannot_be_measured_says_why(tmp_path):
    """A regression has neither accuracy nor classes; the run is finished all the same, and its report drawn."""
    x, y = torch.randn(60, 5), torch.randn(60, 2)
    result = fit("dfa", "5-4-2", (x, y), epochs=2, probe=True, out=tmp_path / "run")
    measures = json.loads((result.path / "measures.json").read_text())
    for name in ("curve", "robustness", "activity", "receptive_fields", "deep_fields", "units", "depth"):
        assert "refused" in measures[name], name
    assert "refused" not in measures["weights"] and "refused" not in measures["winners"]
    write_report(result.path)


def test_a_run_that_does_not_ask_is_not_probed(tmp_path):
    """Probing takes seconds that nobody asked for."""
    assert not (fit("bp", epochs=1, out=tmp_path / "run").path / "measures.json").exists()


def test_what_a_refusal_says_and_what_a_fault_says(run, monkeypatch):
    """A fault in a measure ends no run, but is told, and bears its kind so that it does not look like a refusal."""

    def broken(*_):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(probes, "PROBES", {"curve": broken})
    with pytest.warns(UserWarning, match="curve cannot be measured: ZeroDivisionError: by nothing"):
        assert probes.probe(run.rule, None, run.metrics) == {"curve": {"refused": "ZeroDivisionError: by nothing"}}
    monkeypatch.setattr(probes, "PROBES", {"curve": lambda *_: (_ for _ in ()).throw(Refused("no"))})
    assert probes.probe(run.rule, None, run.metrics) == {"curve": {"refused": "no"}}
