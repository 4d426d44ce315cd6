"""What ``train --measure`` looks at in the end: written whole, drawn, and with a reason where it cannot be."""

import json
import re

import pytest
import torch

from altprop.core import Refused
from altprop.measure import plateau, weight_distribution
from altprop.run import probes
from altprop.run.experiment import fit
from altprop.run.report import write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("probed") / "run"
    return fit("pepita", epochs=4, probe=True, out=path)


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


def test_the_report_draws_them(run):
    """A figure for each, named for those who do not see it."""
    page = write_report(run.path).read_text()
    for words in ("feedback and weights", "norm of the weights", "Quantile plots", "Pictures of the first",
                  "hidden activity by class", "strength of each attack", "slowness"):  # fmt: skip
        assert words in page, words
    assert not re.search(r"(src|href)=.https?:", page)


def test_what_cannot_be_measured_says_why(tmp_path):
    """A regression has neither accuracy nor classes; the run is finished all the same, and its report drawn."""
    x, y = torch.randn(60, 5), torch.randn(60, 2)
    result = fit("dfa", "5-4-2", (x, y), epochs=2, probe=True, out=tmp_path / "run")
    measures = json.loads((result.path / "measures.json").read_text())
    for name in ("curve", "robustness", "activity", "receptive_fields"):
        assert "refused" in measures[name], name
    assert "refused" not in measures["weights"]
    write_report(result.path)


def test_a_run_that_does_not_ask_is_not_probed(tmp_path):
    """Probing takes seconds that nobody asked for."""
    assert not (fit("bp", epochs=1, out=tmp_path / "run").path / "measures.json").exists()


def test_only_refusals_are_taken_for_reasons(run, monkeypatch):
    """A bug in a measure must not look like a net that cannot be measured."""

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setitem(probes.PROBES, "curve", broken)
    with pytest.raises(ZeroDivisionError):
        probes.probe(run.rule, None, run.metrics)
    monkeypatch.setattr(probes, "PROBES", {"curve": lambda *_: (_ for _ in ()).throw(Refused("no"))})
    assert probes.probe(run.rule, None, run.metrics) == {"curve": {"refused": "no"}}
