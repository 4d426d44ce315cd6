"""Which library multiplies: a function of processor, shape and file, so that two runs of one seed are one run."""

import json
import warnings

import pytest
import torch

from altprop import backend
from altprop.bench.cases import case_of
from altprop.bench.choose import choose, keep
from altprop.core import product
from altprop.limits import Notice


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    """A user's folder of settings without any."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    backend.choices.cache_clear()
    yield tmp_path / "altprop" / "products.json"
    backend.choices.cache_clear()


@pytest.mark.parametrize(
    "vendor,family,capability,onednn",
    [
        ("AuthenticAMD", 26, "AVX512", True),  # 512 bits wide, which MKL leaves unused
        ("AuthenticAMD", 25, "AVX512", False),  # two halves of 256
        ("AuthenticAMD", 25, "AVX2", False),
        ("GenuineIntel", 6, "AVX512", True),
        ("GenuineIntel", 6, "AVX2", False),
        ("", 0, "DEFAULT", True),
    ],
)
def test_the_processor_decides_where_nothing_was_measured(vendor, family, capability, onednn, monkeypatch):
    """By the table of measurements in the module's head; without MKL there is no other choice."""
    ask = backend.prefers_onednn.__wrapped__
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert ask(vendor, family, capability) is onednn
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert ask(vendor, family, capability)


def test_a_product_is_named_by_shape_and_layout():
    """Forward, down and the gradient at the weight are different products of the same three numbers."""
    x, signal, W = torch.rand(4, 3), torch.rand(4, 2), torch.rand(2, 3)
    assert backend.product_name(x, W) == "4x3x2 nn"
    assert backend.product_name(torch.rand(2, 2, 3), W) == "4x3x2 nn"
    assert backend.product_name(signal, W.T) == "4x2x3 nt"
    assert backend.product_name(signal.T, x.T) == "2x4x3 tt"


@pytest.mark.parametrize("way", backend.BACKENDS)
def test_what_was_measured_decides_before_the_processor(way, config):
    """Of that product on that machine alone; what other machines with the same home have chosen stays."""
    config.parent.mkdir()
    config.write_text(json.dumps({"another": {"4x3x2 nn": "onednn"}}))
    usual = backend.prefers_onednn(*backend.processor())
    assert keep({"4x3x2 nn": way}) == config
    assert backend.onednn_is_faster(torch.rand(4, 3), torch.rand(2, 3)) == (way == "onednn")
    assert backend.onednn_is_faster(torch.rand(5, 3), torch.rand(2, 3)) == usual
    assert backend.read(config) == {"another": {"4x3x2 nn": "onednn"}, backend.machine(): {"4x3x2 nn": way}}


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"4x3x2 nn": "blas"}}', '{"a": {"4x3x2 nn": []}}'])
def test_a_damaged_file_is_told_and_left_out(content, config):
    """It must not end a run, nor choose in silence."""
    config.parent.mkdir()
    config.write_text(content)
    with pytest.warns(Notice, match=r"products\.json cannot be read.*delete it, or write it anew"):
        assert backend.choices() == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend.choices()


def test_choosing_keeps_what_is_clearly_faster(monkeypatch):
    """Seconds by a table: below .95 of the usual library's the other is taken; small products stay where they are."""
    if not product.HAS_ONEDNN:
        pytest.skip("this torch has no oneDNN")
    seconds = {"forward": {"mkl": 1.0, "onednn": 0.9}, "other": {"mkl": 1.0, "onednn": 0.96}}

    def timed(ways, repeats):
        return seconds["forward" if ways["mkl"]().shape == (64, 256) else "other"]

    monkeypatch.setattr("altprop.bench.choose.timed", timed)
    monkeypatch.setattr("altprop.bench.choose.prefers_onednn", lambda *machine: False)
    found = choose([case_of("128-256-10", 64, ["bp", "drtp"])])
    assert found == {"64x128x256 nn": "onednn"}
    seconds["other"] = {"mkl": 1.0, "onednn": 0.5}
    assert choose([case_of("128-256-10", 64, ["bp"])]) == {"64x128x256 nn": "onednn", "256x64x128 tt": "onednn"}
