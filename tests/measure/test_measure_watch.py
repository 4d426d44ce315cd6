"""What a rule tells of itself: in the metrics, in the report and among TensorBoard's tags, and only where it tells."""

import json

import torch
from helpers import gradients, inputs, labels, make, mlp

import altprop
from altprop import fit
from altprop.cli.events import _tagged
from altprop.measure import watched
from altprop.reports.page import write_report

NAMES = ["energy", "prediction_error"]


def test_it_is_that_of_one_credit_and_leaves_nothing():
    """Numbers of the last batch would be others in a run that was resumed; gradients and noise stay as they were."""
    net = mlp(p=0.5)
    x, y = inputs(net), labels()
    rule = make("pc", net, x)
    rule.credit(x[:2], y[:2])
    before, state = gradients(rule), torch.get_rng_state()
    told = watched(rule, x, y)
    assert list(told) == NAMES and watched(rule, x, y) == told and net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], gradient) for key, gradient in gradients(rule).items())
    rule.eval().credit(x, y)
    assert rule.watch() == told


def test_a_rule_that_tells_nothing_has_no_such_numbers():
    net = mlp()
    assert make("bp", net, inputs(net)).watch() == {}
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(30, 5, generator=generator), torch.arange(30) % 3
    assert "watch" not in fit("bp", data=data, net="5-4-3", epochs=1).metrics[0]


def test_rows_and_page_have_them(tmp_path):
    """A figure a name, one line a layer, and the last numbers among the others."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(30, 5, generator=generator), torch.arange(30) % 3
    result = fit("epc", data=data, net="5-4-3", epochs=2, out=tmp_path / "run")
    rows = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = rows[-1]["watch"]
    assert list(told) == NAMES and len(told["prediction_error"]) == 2 and told == result.metrics[-1]["watch"]
    again = altprop.load(tmp_path / "run")
    assert watched(again.rule, data[0], data[1]).keys() == told.keys()
    page = write_report(tmp_path / "run").read_text()
    for shown in ("Line chart: energy over epochs", "Line chart: prediction error over epochs", "hidden 1",
                  "prediction error, output"):  # fmt: skip
        assert shown in page


def test_tags_name_what_is_told_and_the_layer():
    row = {"energy": 1.5, "prediction_error": {"1": 0.5, "3": 0.25}}
    tags = dict(_tagged("watch", row, {"1": "hidden 1", "3": "output"}))
    assert tags == {"watch/energy": 1.5, "watch/prediction_error/hidden 1": 0.5, "watch/prediction_error/output": 0.25}
