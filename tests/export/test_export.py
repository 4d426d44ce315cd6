"""Exported files read by torch and onnxruntime alone, against the model that they were written from."""

import json
import sys

import numpy as np
import pytest
import torch
from run_helpers import amounts, assert_refused, csv_run, raw_toy, run_cli, write_csv

import altprop
from altprop.export import bundle as exporting
from altprop.export.bundle import FORMATS, export, samples
from altprop.run.recipe import RunError

QUICK = {"measure": False, "probe": False, "epochs": 1}


def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 1, 6, 6), dtype=np.uint8), np.arange(40) % 2


def price(folder):
    x, y = amounts(250_000, 45_000)
    write_csv(folder / "t.csv", x, y, "price")
    return {"data": str(folder / "t.csv"), "label": "price"}


RUNS = {  # rule, what it is trained on, and settings
    "scaled": lambda folder: ("bp", {"data": raw_toy(), "net": "6-5-3", "scale": "standard"}),
    "whitened": lambda folder: ("fa", {"data": images(), "net": "conv4k3-pool2-2", "whiten": "zca"}),
    "ff": lambda folder: ("ff", {"data": raw_toy(), "net": "6-5-5-5-3", "scale": "unit"}),
    "goodness": lambda folder: ("ff", {"data": raw_toy(), "net": "6-5-3", "arguments": {"inference": "goodness"}}),
    "normalised": lambda folder: ("pepita", {"data": images(), "arguments": {"normalise": "sample"}}),
    "masks": lambda folder: ("som", {"data": raw_toy(), "net": "6-5-3", "arguments": {"masks": True}}),
    "blocks": lambda folder: ("kp", {"data": raw_toy(), "net": "6-5-res5-3", "scale": "standard"}),
    "regression": lambda folder: ("dfa", price(folder)),
    "spikes": lambda folder: ("stdp", {"data": raw_toy(), "net": "6-5-3", "scale": "unit"}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    made = {}

    def run(name):
        if name not in made:
            rule, settings = RUNS[name](folder)
            altprop.fit(rule, out=folder / name, **settings, **QUICK)
            made[name] = folder / name
        return made[name]

    return run


def from_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


READ = {
    "pt2": lambda path: torch.export.load(path).module(),
    "torchscript": lambda path: torch.jit.load(path),
    "onnx": from_onnx,
}
CASES = [(name, "pt2") for name in ("whitened", "ff", "normalised", "masks", "regression")]
CASES += [(name, "torchscript") for name in RUNS if name not in ("masks", "spikes")]
CASES += [(name, "onnx") for name in ("scaled", "whitened", "ff")]


@pytest.mark.parametrize("name, to", CASES)
def test_the_file_alone_says_what_the_model_says(runs, tmp_path, name, to):
    """Raw samples in, outputs out, of any number: scaling, whitening and the rule's own inference are inside.

    Where every unit is silent, Forward-Forward divides by 1e-8, which onnx's optimiser takes for nothing."""
    path = export(runs(name), to, tmp_path / f"file.{to}")
    model, read = altprop.load(runs(name)).model, READ[to](path)
    for n in (1, 50):
        x = samples(model, n, seed=9)
        with torch.no_grad():
            expected = model(x)
            torch.testing.assert_close(read(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert x.dtype == (torch.uint8 if name in ("whitened", "normalised") else torch.float32)


@pytest.mark.parametrize("name", ["scaled", "whitened", "ff", "regression"])
def test_state_dict_fills_the_model_of_another_run(runs, tmp_path, name):
    """With the scaling: a net's weights alone would want other inputs."""
    path = export(runs(name), "state_dict", tmp_path / "file.pt")
    state = torch.load(path, weights_only=True)
    model = altprop.load(runs(name)).model
    x = samples(model, 5)
    expected = model.outputs(x)
    assert ("inputs.offset" in state) == (name != "whitened") and ("inputs.matrix" in state) == (name == "whitened")
    assert ("target_spread" in state) == (name == "regression")
    for tensor in model.state_dict().values():
        tensor.zero_()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert unexpected == [] and all("feedback" in key for key in missing)
    torch.testing.assert_close(model.outputs(x), expected)


def test_names_travel_with_the_file(tmp_path, monkeypatch):
    """Whoever has the file alone must know which column is which, and what an output means."""
    monkeypatch.chdir(tmp_path)
    model, *_ = csv_run(tmp_path)
    names = {"feature_names": list(model.feature_names), "classes": ["kind 0", "kind 1", "kind 2"]}
    extra = {"altprop.json": ""}
    torch.jit.load(export("run", "torchscript"), _extra_files=extra)
    assert json.loads(extra["altprop.json"]) == names
    extra = {"altprop.json": ""}
    torch.export.load(export("run", "pt2"), extra_files=extra)
    assert json.loads(extra["altprop.json"]) == names
    import onnx

    file = onnx.load(export("run", "onnx"))
    assert {entry.key: json.loads(entry.value) for entry in file.metadata_props} == names
    assert (file.graph.input[0].name, file.graph.output[0].name) == ("x", "outputs")
    assert sorted(path.name for path in (tmp_path / "run").glob("model.*")) == [
        "model.onnx", "model.pt2", "model.safetensors", "model.ts",
    ]  # fmt: skip


@pytest.mark.parametrize("name, to", [("spikes", "torchscript"), ("masks", "torchscript")])
def test_what_cannot_be_traced_is_refused_by_name(runs, tmp_path, capsys, name, to):
    """Neurons run through time in a loop as long as the batch is wide: nothing is written."""
    path = tmp_path / "file"
    outcome = run_cli(capsys, "export", runs(name), "--to", to, "--out", path)
    assert_refused(outcome, "STDP" if name == "spikes" else "SOM", to, "state_dict")
    assert len(outcome.err) <= 300 and not path.exists()
    assert run_cli(capsys, "export", runs(name), "--to", "state_dict", "--out", path).out == f"{path}\n"


def test_a_file_that_disagrees_is_not_kept(runs, tmp_path, monkeypatch):
    """Checked before it is there: here the reader is off by a thousandth."""
    form = FORMATS["torchscript"]
    for factor, told in ((1.001, r"0\.001"), (torch.nan, "inf")):
        off = form._replace(read=lambda model, path, factor=factor: lambda x: torch.jit.load(path)(x) * factor)
        monkeypatch.setitem(exporting.FORMATS, "torchscript", off)
        with pytest.raises(RunError, match=f"the net as torchscript differs by {told} of its largest output"):
            export(runs("scaled"), "torchscript", tmp_path / "file.ts")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_line(runs, tmp_path, capsys, monkeypatch):
    run = runs("scaled")
    assert_refused(run_cli(capsys, "export", run, "--to", "onxx"), "did you mean 'onnx'")
    assert_refused(run_cli(capsys, "export", tmp_path, "--to", "pt2"), "no run directory")
    assert_refused(run_cli(capsys, "export", run, "--to", "torchscript", "--out", tmp_path), "is a folder")
    assert_refused(run_cli(capsys, "export", run, "--to", "torchscript", "--out", tmp_path / "no" / "x.ts"), "no/x.ts")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert_refused(run_cli(capsys, "export", run, "--to", "onnx"), "pip install 'altprop[onnx]'")


def test_onnx_is_checked_without_onnxruntime_too(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(runs("scaled"), "onnx", tmp_path / "file.onnx").is_file()
