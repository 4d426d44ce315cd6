"""``--precision bf16``: products in float64 of operands that NumPy has rounded by their bits, and rounded once more.

What is drawn lies in +-[1, 2), so that a product of rounded numbers has 16 bits and a sum of dozens of them no more
than a float32 has: the order of sums changes nothing, and roundings are equal to the bit.
"""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import cnn
from run_helpers import assert_refused, run_cli, toy_file, toy_tensors
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import _get_current_dispatch_mode

import altprop
from altprop import RULES
from altprop.backend import HAS_ONEDNN
from altprop.core.product import linear
from altprop.limits import Notice
from altprop.run import precision
from altprop.run.experiment import evaluate_run
from altprop.run.precision import Bfloat16Products, check_precision, is_native
from altprop.run.recipe import RunError
from altprop.run.values import make_recipe, read_recipe
from altprop.study.plan import make_plan

DATA = {"train": toy_tensors(), "test": toy_tensors(30, seed=1)}
ADDED = {"rtol": 1e-6, "atol": 5e-6}  # one sum in float32
UNIT = 2.0**-7  # in the last place of a bfloat16, by which two sums in another order may differ
pytestmark = pytest.mark.filterwarnings("ignore::altprop.limits.Notice")


def by_hand(x):
    """The nearest bfloat16, half way to even, by the bits of a float32; in float64."""
    bits = np.asarray(x.detach().contiguous()).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return torch.from_numpy(np.asarray(bits.astype(np.uint32).view(np.float32))).double()


def after(x):
    """A product in float64, as a bfloat16 holds it."""
    return by_hand(x.float())


def drawn(*shape, seed=0):
    uniform = torch.rand(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))
    return (1 + (2 * uniform) % 1) * torch.where(uniform < 0.5, -1, 1)


def fit(rule="bp", **settings):
    return altprop.fit(rule, settings.pop("net", "6-5-3"), DATA, **{"epochs": 2, "batch": 16, **settings})


def weights(result):
    return torch.cat([parameter.detach().flatten() for parameter in result.net.parameters()])


A, B, C = drawn(7, 40), drawn(40, 9), drawn(7, 9)
STACK, STACKED, SUMMED = drawn(3, 7, 40), drawn(3, 40, 9), drawn(3, 7, 9)


def by_onednn(x, weight, bias):
    if not HAS_ONEDNN:
        return linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


PRODUCTS = {  # by torch, and by hand of operands that are rounded, a and b, and of what is added as it is, c
    "mm": (lambda a, b, c: a @ b, lambda a, b, c: after(a @ b), A, B, C),
    "mm into a tensor": (lambda a, b, c: torch.mm(a, b, out=torch.empty(0)), lambda a, b, c: after(a @ b), A, B, C),
    "addmm": (lambda a, b, c: torch.addmm(c, a, b), lambda a, b, c: c + after(a @ b), A, B, C),
    "addmm in place": (lambda a, b, c: c.clone().addmm_(a, b, beta=0.5), lambda a, b, c: c / 2 + after(a @ b), A, B, C),
    "addmm of a part": (lambda a, b, c: torch.addmm(c, a, b, alpha=0.5), lambda a, b, c: c + after(a @ b) / 2, A, B, C),
    "bmm": (lambda a, b, c: a @ b, lambda a, b, c: after(a @ b), STACK, STACKED, SUMMED),
    "baddbmm": (lambda a, b, c: torch.baddbmm(c, a, b), lambda a, b, c: c + after(a @ b), STACK, STACKED, SUMMED),
    "baddbmm in place": (lambda a, b, c: c.clone().baddbmm_(a, b), lambda a, b, c: c + after(a @ b),
                         STACK, STACKED, SUMMED),
    "addbmm": (lambda a, b, c: torch.addbmm(c, a, b), lambda a, b, c: c + after(a @ b).sum(0), STACK, STACKED, C),
    "addbmm in place": (lambda a, b, c: c.clone().addbmm_(a, b, beta=0.5), lambda a, b, c: c / 2 + after(a @ b).sum(0),
                        STACK, STACKED, C),
    "mv": (lambda a, b, c: a @ b, lambda a, b, c: after(a @ b), A, B[:, 0].contiguous(), C),
    "addmv": (lambda a, b, c: torch.addmv(c, a, b), lambda a, b, c: c + after(a @ b), A, B[:, 0].contiguous(), C[:, 0]),
    "addmv in place": (lambda a, b, c: c.clone().addmv_(a, b), lambda a, b, c: c + after(a @ b),
                       A, B[:, 0].contiguous(), C[:, 0]),
    "dot": (torch.dot, lambda a, b: after(a @ b), A[0], B[:, 0].contiguous()),
    "linear, by oneDNN": (by_onednn, lambda a, b, c: after(a @ b.T) + c, A, B.T.contiguous(), drawn(B.shape[1])),
    "convolution": (lambda a, b, c: F.conv2d(a, b, c, stride=2, padding=1),
                    lambda a, b, c: after(F.conv2d(a, b, stride=2, padding=1)) + c[:, None, None],
                    drawn(4, 3, 9, 9), drawn(5, 3, 3, 3), drawn(5)),
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["by hand", "by the processor"])
def native(request, monkeypatch):
    """Both ways to the same numbers, where the processor has its own."""
    if request.param and not is_native():
        pytest.skip("this processor has no bfloat16 products")
    monkeypatch.setattr(precision, "is_native", lambda: request.param)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_that_of_rounded_operands_in_float64_rounded(name, native):
    """And what is added to it keeps all digits of a float32."""
    by_torch, oracle, a, b, *added = PRODUCTS[name]
    want = oracle(by_hand(a), by_hand(b), *(c.double() for c in added))
    given = [each.clone() for each in (a, b, *added)]
    with torch.no_grad(), Bfloat16Products():
        got = by_torch(*given)
    assert all(torch.equal(each, before) for each, before in zip(given, (a, b, *added), strict=True))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, **ADDED)


def test_a_product_in_float64_stays_one():
    """An oracle beside a run is what it was."""
    with Bfloat16Products():
        assert torch.equal(A.double() @ B.double(), torch.from_numpy(A.double().numpy() @ B.double().numpy()))


def test_a_convolution_learns_from_rounded_operands_and_its_bias_from_all_digits(native):
    """Autograd's backward; the oracle's is autograd too, in float64, of what has been rounded by hand."""
    x, W, b, signal = drawn(4, 3, 9, 9), drawn(5, 3, 3, 3), drawn(5), drawn(4, 5, 9, 9)

    def gradients(x, W, b, signal):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, W, b)]
        return torch.autograd.grad(F.conv2d(*leaves, padding=1), leaves, signal)

    with Bfloat16Products():
        got = gradients(x, W, b, signal)
    want = gradients(by_hand(x), by_hand(W), b.double(), by_hand(signal))
    for mine, hand in zip(got[:2], want[:2], strict=True):
        torch.testing.assert_close(mine.double(), after(hand), **ADDED)
    torch.testing.assert_close(got[2].double(), signal.double().sum((0, 2, 3)), atol=1e-4, rtol=1e-6)


def test_a_layer_learns_as_the_equations_say_of_rounded_operands(native):
    """z = x W^T + b, e = softmax(z) - t, W.grad = e^T x / N, b.grad = sum e / N: e and x rounded in products alone."""
    net, x, y = nn.Sequential(nn.Linear(40, 10)), drawn(32, 40), torch.arange(32) % 10
    with torch.no_grad():
        net[0].weight.copy_(drawn(10, 40) / 8)
    rule = RULES["bp"](net, example=x[:1])
    with Bfloat16Products():
        rule.credit(x, y)
    z = after(by_hand(x) @ by_hand(net[0].weight).T) + net[0].bias.double()
    e = ((z.softmax(1) - F.one_hot(y, 10)) / 32).detach()
    torch.testing.assert_close(
        net[0].weight.grad.double(), after(by_hand(e.float()).T @ by_hand(x)), atol=1e-6, rtol=UNIT
    )
    torch.testing.assert_close(net[0].bias.grad.double(), e.sum(0), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_trains_in_bfloat16(name):
    """To weights that are finite, float32, and others than those of float32: its products are among the table's."""
    plain, rounded = (fit(name, precision=kind, epochs=1, measure=False) for kind in ("float32", "bf16"))
    assert weights(rounded).dtype == torch.float32 and bool(weights(rounded).isfinite().all())
    assert not torch.equal(weights(rounded), weights(plain))


def test_float32_is_what_it_was():
    """To the bit that of a run that says nothing, and its step to 1e-5 that of float64."""
    assert torch.equal(weights(fit(precision="float32")), weights(fit()))
    single = altprop.fit("bp", cnn().float(), images(torch.float32), epochs=1, measure=False)
    double = altprop.fit("bp", cnn(), images(torch.float64), epochs=1, measure=False)
    torch.testing.assert_close(weights(single).double(), weights(double), rtol=1e-5, atol=1e-6)


def images(dtype):
    x = torch.rand(32, 2, 6, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    return {"train": (x, torch.arange(32) % 3), "test": (x[:9], torch.arange(9) % 3)}


def test_the_key_is_written_down_where_it_says_something():
    """Recipes of runs before there was a precision are those of float32, and stay what they are."""
    plain, rounded = make_recipe(rule="bp"), make_recipe(rule="bp", precision="bf16")
    assert "precision" not in plain.toml() and 'precision = "bf16"\n' in rounded.toml()
    assert plain.precision == "float32" and rounded.experiment() == {**plain.experiment(), "precision": "bf16"}


def test_what_is_measured_is_float32(tmp_path):
    """A net is judged as it will be used: the loss of every row is that which ``eval`` finds, to the bit."""
    result = fit(out=tmp_path / "run", precision="bf16")
    judged = evaluate_run(tmp_path / "run", data=DATA)
    assert judged["test_loss"] == result.metrics[-1]["test_loss"]


def test_what_learns_from_features_learns_in_bfloat16_too():
    """A readout behind the layers below has a learner of its own."""
    plain, rounded = (
        fit("softhebb", precision=kind, readout={"epochs": 2}, freeze=1, measure=False) for kind in ("float32", "bf16")
    )
    assert not torch.equal(weights(rounded), weights(plain))


def test_a_layer_that_is_stepped_at_once_is_so_in_bfloat16():
    """Streaming is the other way through a step, to the same bits."""
    together, streamed = (fit("drtp", precision="bf16", stream=each, net="6-8-5-3") for each in (False, True))
    assert torch.equal(weights(together), weights(streamed))


def test_torchs_modes_are_the_callers():
    """In her callbacks, and after a product that fails."""
    seen = []
    fit(precision="bf16", progress=lambda *_: seen.append(_get_current_dispatch_mode()))
    assert set(seen) == {None}
    with pytest.raises(RuntimeError), Bfloat16Products():
        torch.mm(A, A)
    assert _get_current_dispatch_mode() is None


def test_a_comparison_has_one_for_all_rules():
    """Else rule and precision would be told apart by no row."""
    base = make_recipe(precision="bf16")
    plan = make_plan(["bp", "drtp"], 1, base, {})
    assert {plan.recipe(rule, 0).precision for rule in plan.rules} == {"bf16"}
    with pytest.raises(RunError, match="one precision for all rules"):
        make_plan(["bp", "drtp"], 1, base, {"drtp": {"precision": "float32"}})


def test_the_command_line_takes_it(tmp_path, monkeypatch, capsys):
    """It is written down, said in one line to be emulated, and misspelled told what there is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(precision, "is_native", lambda: False)
    options = ["--data", toy_file(tmp_path).name, "--net", "6-5-3", "--epochs", 1]
    trained = run_cli(capsys, "train", "bp", *options, "--precision", "bf16", "--out", "run")
    assert trained.status == 0 and trained.err.count("emulated") == 1
    assert read_recipe(tmp_path / "run" / "recipe.toml").precision == "bf16"
    assert_refused(run_cli(capsys, "train", "bp", *options, "--precision", "fp16"), "precision", "float32", "bf16")


@pytest.mark.parametrize("like", [torch.empty(0, dtype=torch.float64), torch.empty(0, device="meta")], ids=str)
def test_elsewhere_than_in_float32_on_the_processor_it_is_refused(like):
    """A net in float64 would be trained in float64, and a GPU has products of its own."""
    rule = SimpleNamespace(like=like)
    with pytest.raises(RunError, match=r"precision 'bf16' came for float.* on device .*: leave it out, or give"):
        check_precision("bf16", rule)
    check_precision("float32", rule)


@pytest.mark.parametrize("native, told", [(True, 0), (False, 1)])
def test_that_it_is_emulated_is_told(monkeypatch, native, told):
    monkeypatch.setattr(precision, "is_native", lambda: native)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_precision("bf16", SimpleNamespace(like=torch.empty(0)))
    assert len([each for each in said if each.category is Notice]) == told


def test_a_processor_has_the_products_whose_flags_say_so():
    """As the system reads them."""
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or not HAS_ONEDNN:
        pytest.skip("this system tells no flags of its processor, or torch has no oneDNN")
    assert is_native() == bool(re.search(r"\b(avx512_bf16|amx_tile)\b", flags.read_text()))
