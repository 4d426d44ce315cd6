"""What ``train --measure`` looks at in the end: written whole, drawn, and with a reason where it cannot be."""

import html
import json
import os
import re

import numpy as np
import pytest
import torch
from helpers import make, mlp
from sklearn.metrics import confusion_matrix, r2_score
from torch import nn

from altprop import DFA, EP, RULES, panels
from altprop.core import LOSSES, Refused
from altprop.data import Dataset, as_float, from_torch, load
from altprop.measure import agreement, by_depth, plateau, sequences, shares, unit_kinds, weight_distribution
from altprop.measure import winners as winners_of
from altprop.measure.probabilities import PROBABILITIES
from altprop.panels import PANELS, confusion, deep_fields, depth, examples, in_time, look, regression, units, winners
from altprop.panels.panel import Ended, spaced
from altprop.panels.style import DEPTH
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
    assert measures.keys() == PANELS.keys() - {"regression", "in_time"}
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
    for layer, won in winners_of(run.rule, x_test).items():
        assert torch.tensor(measures["winners"][layer]["share"]) == pytest.approx(won.share.float(), abs=1e-6)
        assert measures["winners"][layer]["entropy"] == pytest.approx(won.entropy, abs=1e-4)
        assert measures["winners"][layer]["dead"] == won.dead
    kinds = unit_kinds(run.net[1].weight.view(-1, 1, 8, 8)[: units.TOLD])
    assert measures["units"] == {"units": len(kinds), "shares": pytest.approx(shares(kinds), abs=1e-5)}


def test_kinds_of_a_convolution_are_those_of_its_kernels():
    """One kernel of one colour, one that weighs all alike; kernels of 3 x 3, and inputs that are no images, refused."""
    x, y = torch.rand(60, 3, 8, 8), torch.arange(60) % 3
    net = nn.Sequential(nn.Conv2d(3, 2, 5), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [1.0, 1.0, 1.0]])[..., None, None])
    rule = RULES["bp"](net, example=x[:1])
    found = PANELS["units"].measure(Ended(rule, dataset(x, y), []))
    assert found == {"units": 2, "shares": {"gabor": 0.0, "colour": 0.5, "other": 0.5}}
    small = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    with pytest.raises(Refused, match="at least 5 x 5"):
        PANELS["units"].measure(Ended(RULES["bp"](small, example=x[:1]), dataset(x, y), []))
    with pytest.raises(Refused, match="no images"):
        PANELS["units"].measure(
            Ended(RULES["bp"](mlp().float(), example=torch.rand(1, 5)), dataset(x[:, 0, 0, :5], y), [])
        )


def test_deep_fields_are_those_that_excite_the_units():
    """Pictures of the first layer, of another unit, or of a norm that no input has."""
    digits = load("digits")
    result = fit("softhebb", "64-norm-16-norm-6-10", "digits", epochs=2, lr=0.03, init="radius5")
    fields = PANELS["deep_fields"].measure(Ended(result.rule, digits, []))
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
    titles = [axes.get_title("left") for axes in deep_fields.draw(fields, {"0": "hidden 1", name: "hidden 2"}).axes]
    assert titles == ["hidden 2", "", "", "", ""]
    with pytest.raises(Refused, match="none is deep"):
        PANELS["deep_fields"].measure(Ended(fit("softhebb", "64-norm-16-10", "digits", epochs=1).rule, digits, []))


def test_kinds_are_those_of_weights_alone():
    """Of a first layer that is no plain map, the optimised input would be taken for its weights."""
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 3))
    x, y = torch.rand(60, 3, 8, 8), torch.arange(60) % 3
    with pytest.raises(Refused, match=r"layer '2' .* no weights that are pictures"):
        PANELS["units"].measure(Ended(RULES["bp"](net, example=x[:1]), dataset(x, y), []))


def test_readouts_see_every_class_of_sorted_data(monkeypatch):
    """The first samples of a folder of images are all of one class, and so would be every prediction."""
    y = torch.arange(90) // 30
    x = torch.nn.functional.one_hot(y, 5).float() + 0.1 * torch.randn(90, 5, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(depth, "TAUGHT", 24)
    monkeypatch.setattr(depth, "ASKED", 31)
    read = PANELS["depth"].measure(Ended(RULES["bp"](mlp().float(), example=x[:1]), dataset(x, y, 90), []))
    assert read["input"] == {"ridge": 1.0, "nearest": 1.0}
    rows = spaced(90, 31)
    assert len(rows) == len(rows.unique()) == 31 and rows.max() < 90 and spaced(5, 31).tolist() == [*range(5)]


@pytest.mark.parametrize("name", RULES)
def test_hidden_layers_of_every_rule_can_be_probed(name):
    """A rule whose layers are of a kind of their own; those of spikes have a row a time step."""
    x, y = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    net = mlp().float()
    rule, data = make(name, net, x), dataset(x, y)
    assert list(depth.measure(Ended(rule, data, []))) == ["input", "1", "4"]
    found = PANELS["winners"].measure(Ended(rule, data, []))
    assert {layer: len(won["share"]) for layer, won in found.items()} == {"1": 7, "4": 6, "7": 3}


def test_depth_is_drawn_as_it_was_measured():
    """A readout under another's name, fractions for percent."""
    drawn = {"input": {"ridge": 0.5, "nearest": 0.2}, "3": {"ridge": 0.75, "nearest": 0.4}}
    (axes,) = depth.draw(drawn, {"3": "hidden 1", "5": "output"}).axes
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert drawn == {"ridge": pytest.approx([50, 75]), "nearest": pytest.approx([20, 40])}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["input", "hidden 1"]


def test_winners_are_drawn_from_the_most_frequent():
    """Shares in the order of units, the dead on a logarithmic axis."""
    shares = {"share": [0.25, 0.0, 0.75, 0.0], "entropy": 0.5, "dead": 2}
    layers = {"0": shares, "3": {"share": [1.0], "entropy": 0.0, "dead": 0}}
    (axes,) = winners.draw(layers, {"0": "hidden 1", "3": "output"}).axes
    assert axes.lines[0].get_ydata().tolist() == [3.0, 1.0] and axes.lines[0].get_xdata().tolist() == [12.5, 37.5]
    assert [line.get_label() for line in axes.lines[:2]] == ["hidden 1: 2 of 4 never", "output: 0 of 1 never"]
    assert [line.get_color() for line in axes.lines[:2]] == [DEPTH[0], DEPTH[-1]]


def test_steps_in_time_are_those_of_the_measure():
    """Of the weight that backpropagation through time moves most, in parts of the largest step of both."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3), torch.nn.Tanh())
    x, y = torch.randn(30, 5), torch.arange(30) % 3
    rule = EP(net, example=x, loss="mse", free=30, nudged=4)
    ended = Ended(rule, from_torch((x, y), (x, y)), [])
    found = PANELS["in_time"].measure(ended)
    for name, (own, exact) in sequences(rule, x[:20], y[:20]).items():
        place = exact.flatten(1).sum(0).abs().argmax()
        pair = torch.stack([own.flatten(1)[:, place], exact.flatten(1)[:, place]])
        assert found[name]["own"] + found[name]["exact"] == pytest.approx(
            (pair / pair.abs().max()).flatten().tolist(), abs=1e-5
        )
        assert found[name]["rmse"] == pytest.approx(agreement(own, exact).rmse, abs=1e-5)
    (axes,) = in_time.draw(found, {"0": "hidden 1", "2": "output"}).axes
    assert [line.get_linestyle() for line in axes.lines[:4]] == ["-", "--"] * 2
    assert axes.lines[1].get_ydata().tolist() == found["0"]["exact"]
    assert in_time.fits(ended) and not in_time.fits(Ended(DFA(net, example=x), ended.data, []))


def test_the_report_draws_them(run):
    """A figure for each, named for those who do not see it, and words where there is no picture."""
    page = write_report(run.path).read_text()
    for name, panel in PANELS.items():
        measured = json.loads((run.path / "measures.json").read_text()).get(name)
        if measured is not None:
            assert html.escape(panel.caption(measured).partition("%")[0]) in page, name
            assert panel.draw is None or html.escape(panel.label) in page, name
    assert "layer 1" not in page and all(f"hidden {k}" in page for k in (1, 2)) and "hidden 3" not in page
    assert not re.search(r"(src|href)=.https?:", page)


def test_a_picture_that_cannot_be_drawn_ends_no_page(run, monkeypatch):
    """The others are drawn, and the page says which is missing and why."""
    broken = PANELS["depth"]._replace(draw=lambda *_: {}["nothing"])
    monkeypatch.setitem(panels.PANELS, "depth", broken)
    page = write_report(run.path, run.path / "other.html").read_text()
    assert "cannot be drawn: KeyError" in page and PANELS["winners"].label in page and "test accuracy" in page
    os.remove(run.path / "other.html")


def ended_on(outputs, y, classes, **fields):
    """An ended run whose net says just this of the test part: a linear net that is the identity."""
    net = nn.Sequential(nn.Linear(outputs.shape[1], outputs.shape[1], bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(outputs.shape[1]))
    data = Dataset("toy", outputs, y, outputs, y, classes, **fields)
    loss = "cross_entropy" if classes else "mse"
    return Ended(RULES["bp"](net, example=outputs[:1], loss=loss), data, [])


def test_confusion_is_that_of_scikit_learn():
    """Rows and columns exchanged, a class that is missing in one of them; drawn where it was counted."""
    generator = torch.Generator().manual_seed(0)
    outputs, y = torch.randn(200, 4, generator=generator), torch.randint(0, 3, (200,), generator=generator)
    measured = confusion.measure(ended_on(outputs, y, ("a", "b", "c", "d")))
    expected = confusion_matrix(y, outputs.argmax(1), labels=range(4))
    assert measured["counts"] == expected.tolist() and measured["classes"] == ["a", "b", "c", "d"]
    (axes,) = confusion.draw(measured, {}).axes
    written = {tuple(text.get_position()): int(text.get_text()) for text in axes.texts}
    assert written == {(said, true): n for (true, said), n in np.ndenumerate(expected) if n}
    hits = int(expected.trace())
    assert f"{hits} of 200 are right" in confusion.caption(measured)
    off = expected - np.diag(np.diag(expected))
    assert f": {off.max()} times" in confusion.caption(measured)


def test_examples_are_the_surest_mistakes():
    """The unsurest, those that are right, in another order, or probabilities of another loss."""
    generator = torch.Generator().manual_seed(1)
    outputs, y = torch.randn(300, 3, generator=generator), torch.randint(0, 3, (300,), generator=generator)
    measured = examples.measure(ended_on(outputs, y, ("x", "y", "z")))
    p, said = outputs.softmax(1).max(1)
    mistakes = sorted((i for i in range(300) if said[i] != y[i]), key=lambda i: -float(p[i]))[: examples.WRONG]
    assert [one["sample"] for one in measured["wrong"]] == mistakes
    for one in measured["wrong"] + measured["right"]:
        i = one["sample"]
        assert (one["true"], one["said"]) == ("xyz"[y[i]], "xyz"[said[i]])
        assert one["probability"] == pytest.approx(float(p[i]), abs=1e-4)
    assert all(one["true"] == one["said"] for one in measured["right"]) and len(measured["right"]) == examples.RIGHT
    assert "pictures" not in measured and examples.draw(measured, {}) is None


def test_examples_of_images_show_what_was_seen(run):
    """Another sample's picture, or one that was left scaled; names under each."""
    measured = json.loads((run.path / "measures.json").read_text())["examples"]
    x = as_float(load("digits").x_test)
    shown = torch.tensor(measured["pictures"]["values"]).view(measured["pictures"]["shape"])
    for one, picture in zip(measured["wrong"] + measured["right"], shown, strict=True):
        own = x[one["sample"]]
        expected = ((own - own.min()) / (own.max() - own.min()) * 255).round()
        assert torch.equal(picture.float(), expected)
    titles = [axes.get_title("center") for axes in examples.draw(measured, {}).axes if axes.get_title("center")]
    assert titles == [f"{one['true']}\nsaid {one['said']}" for one in measured["wrong"]] + [
        one["true"] for one in measured["right"]
    ]


def test_scaled_images_are_shown_as_they_were():
    """A pixel that is 0 in every image, pushed away by its own mean and spread."""
    x, y = torch.rand(12, 1, 2, 2), torch.arange(12) % 3
    offset, spread = torch.rand(1, 1, 2, 2), 1 + torch.rand(1, 1, 2, 2)
    data = Dataset("toy", (x - offset) / spread, y, (x - offset) / spread, y, ("a", "b", "c"), scaling=(offset, spread))
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    measured = examples.measure(Ended(RULES["bp"](net, example=data.x_test[:1]), data, []))
    shown = torch.tensor(measured["pictures"]["values"]).view(measured["pictures"]["shape"])
    for one, picture in zip(measured["wrong"] + measured["right"], shown, strict=True):
        own = x[one["sample"]]
        assert picture / 255 == pytest.approx((own - own.min()) / (own.max() - own.min()), abs=0.003)


def test_no_mistakes_are_no_fault():
    """A net that is always right has nothing to show in the first row."""
    y = torch.arange(6) % 3
    measured = examples.measure(ended_on(torch.eye(3)[y], y, ("x", "y", "z")))
    assert measured["wrong"] == [] and "No mistake" in examples.caption(measured)


def test_probabilities_of_examples_are_those_of_the_model(run):
    """What the page says a net is sure of is what predict says."""
    measured = json.loads((run.path / "measures.json").read_text())["examples"]
    raw = load("digits").x_test
    for one in measured["wrong"]:
        told = run.model.predict_proba(raw[one["sample"] : one["sample"] + 1])
        assert float(told.max()) == pytest.approx(one["probability"], abs=1e-4)
    assert PROBABILITIES.keys() == LOSSES.keys()


def test_predictions_of_a_regression_are_in_its_own_units():
    """Scaled targets, or errors of them."""
    y = torch.tensor([[1.0], [2.0], [3.0], [5.0]])
    scaling = (torch.tensor([[2.0]]), torch.tensor([[4.0]]))
    ended = ended_on((y - 2) / 4 + 0.25, (y - 2) / 4, (), target_scaling=scaling)
    measured = regression.measure(ended)
    assert measured["true"] == y.tolist() and measured["said"] == (y + 1).tolist()
    assert measured["mae"] == pytest.approx(1) and measured["rmse"] == pytest.approx(1)
    assert measured["r2"] == pytest.approx(r2_score(y, y + 1))
    (axes,) = regression.draw(measured, {}).axes
    assert axes.lines[-1].get_xydata().tolist() == [[a, a + 1] for a in y.flatten().tolist()]


def test_what_cannot_be_measured_says_why(tmp_path):
    """A regression has neither accuracy nor classes; the run is finished all the same, and its report drawn."""
    x, y = torch.randn(60, 5), torch.randn(60, 2)
    result = fit("dfa", "5-4-2", (x, y), epochs=2, probe=True, out=tmp_path / "run")
    measures = json.loads((result.path / "measures.json").read_text())
    for name in ("curve", "robustness", "activity", "receptive_fields", "deep_fields", "units", "depth"):
        assert "refused" in measures[name], name
    assert "refused" not in measures["weights"] and "refused" not in measures["winners"]
    assert measures.keys() == PANELS.keys() - {"confusion", "examples", "in_time"}
    write_report(result.path)


def test_a_run_that_does_not_ask_is_asked_for_its_predictions_alone(tmp_path):
    """Probing takes seconds that nobody asked for; the confusion matrix does not."""
    measures = json.loads((fit("bp", epochs=1, out=tmp_path / "run").path / "measures.json").read_text())
    assert measures.keys() == {"confusion", "examples"} == {n for n, p in PANELS.items() if p.cheap} - {"regression"}
    x, y = torch.randn(60, 5), torch.randn(60, 2)
    path = fit("bp", "5-4-2", (x, y), epochs=1, out=tmp_path / "other").path
    assert json.loads((path / "measures.json").read_text()).keys() == {"regression"}


def test_what_a_refusal_says_and_what_a_fault_says(run, monkeypatch):
    """A fault in a measure ends no run, but is told, and bears its kind so that it does not look like a refusal."""

    def one(look):
        return look(run.rule, load("digits"), run.metrics)

    def broken(*_):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setitem(panels.PANELS, "curve", PANELS["curve"]._replace(measure=broken))
    with pytest.warns(UserWarning, match="curve cannot be measured: ZeroDivisionError: by nothing"):
        assert one(look)["curve"] == {"refused": "ZeroDivisionError: by nothing"}
    refuse = PANELS["curve"]._replace(measure=lambda *_: (_ for _ in ()).throw(Refused("no")))
    monkeypatch.setitem(panels.PANELS, "curve", refuse)
    assert one(look)["curve"] == {"refused": "no"}
