"""Do the tests notice?  One line of the library is spoilt at a time, and the tests must fail:

    python tests/mutate.py [--jobs 2] [--list] [--only WORD]

Every mutant lives in a temporary copy, which is proved to be the one imported.  A test that fails kills a mutant, one
that cannot be collected does not.  Tests that fail without any mutant are named and left out: they would kill all.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FORM, LOCAL, CUTS = "test_closed_form.py", "test_core_local.py", "test_core_layers.py"
LIMITS, CONTRACT, CLAIMS = "test_limits.py", "test_contract.py", "test_claims.py"
OPTIONS, LEARNED, FAMILIES = "test_options.py", "test_options_feedback.py", "test_limits_families.py"
NAMES = {  # the closed forms of a rule bear its name, and the others need not run
    "rules/backprop.py": "bp", "rules/shallow.py": "shallow", "rules/direct.py": "dfa", "rules/indirect.py": "ifa",
    "rules/drtp.py": "drtp", "rules/kolen_pollack.py": "kp", "rules/weight_mirror.py": "wm",
    "rules/sparse_direct.py": "ssdfa", "rules/adaptive.py": "afa", "rules/pepita/hebbian.py": "pepita_",
    "rules/pepita/pepita.py": "pepita and not hebbian and not local",
    "rules/pepita/modulation.py": "pepita and not hebbian and not local",
}  # fmt: skip


class Mutant(NamedTuple):
    """``old`` stands exactly once in ``file``; ``tests``, a file and perhaps a word for -k, must notice ``new``."""

    file: str
    old: str
    new: str
    tests: str


TABLE = [
    # the losses and the error
    Mutant("core/loss.py", "keepdim=True)).sub_(t)", "keepdim=True)).sub_(t).neg_()", FORM),
    Mutant("core/loss.py", ".mul_(t.sum(1, keepdim=True))", "", LIMITS),
    Mutant("core/loss.py", "z.sigmoid().sub_(t)", "z.sigmoid().sub_(t).div_(t.shape[1])", FORM),
    Mutant("core/loss.py", "    e = z - t\n", "    e = 2 * (z - t)\n", FORM),
    Mutant("core/loss.py", "-(t * log_p).sum() / len(z)", "-(t * log_p).mean()", CONTRACT),
    Mutant("core/loss.py", "e.square().sum() / (2 * len(z))", "e.square().mean() / 2", CONTRACT),
    # one module
    Mutant("core/steps.py", "aten.threshold_backward(s, h, 0), RESULT)", "s, RESULT)", LOCAL),
    Mutant("core/steps.py", "s * a.tanh().square()", "s * a.tanh()", LOCAL),
    Mutant("core/steps.py", "aten.elu_backward(s, m.alpha, 1, 1 / m.alpha, False, a)",
           "aten.elu_backward(s, m.alpha, 1, 1, False, a)", LOCAL),
    Mutant("core/steps.py", "return signal if saved is None else signal * saved", "return signal", FORM),
    Mutant("core/steps.py", "mask = like.saved if like else _mask(module, x)", "mask = _mask(module, x)", FORM),
    Mutant("core/steps.py", "return mask.div_(keep) if keep else mask", "return mask", FORM),
    Mutant("core/steps.py", "if not module.training or module.p == 0:", "if module.p == 0:", LOCAL),
    Mutant("core/steps.py", "        parameter.grad += gradient", "        parameter.grad = gradient", CONTRACT),
    Mutant("core/steps.py", "return y.detach(), Step(module, (x, y))", "return y, Step(module, (x, y))", LOCAL),
    Mutant("core/steps.py", "torch.autograd.grad(at_input, cotangent, tangent)",
           "torch.autograd.grad(at_input, cotangent, 2 * tangent)", LOCAL),
    # one layer
    Mutant("core/local.py", "    for step in reversed(trace.activation):\n        signal_h = vjp(step, signal_h)\n",
           "", FORM),
    Mutant("core/local.py", "    for step in reversed(trace.activation):", "    for step in trace.activation:", LOCAL),
    Mutant("core/local.py", "    for step in reversed(trace.inlet):\n        signal = vjp(step, signal)\n", "", LOCAL),
    Mutant("core/local.py", "signal_a.sum([axis", "signal_a.mean([axis", FORM),
    Mutant("core/local.py", "linear(signal_a, weight.T)", "linear(signal_a, module.weight.T)", FORM),
    Mutant("core/local.py", "_convolution_backward(module, signal_a, trace.x, weight, (True, False, False))",
           "_convolution_backward(module, signal_a, trace.x, module.weight, (True, False, False))", FORM),
    Mutant("core/local.py", "return drive(module, tangent_x, module.weight)",
           "return drive(module, tangent_x, module.weight, module.bias)", FORM),
    Mutant("core/local.py", "return left_right[::-2] if", "return left_right[::2] if", LOCAL),
    Mutant("core/local.py", "    if ready is not None:\n        ready(trace.layer)\n", "", CONTRACT),
    Mutant("core/product.py", "    return linear(signal.T, x.T)", "    return linear(signal.T, x.T) / len(x)", FORM),
    Mutant("core/product.py", "_linear_pointwise(x, weight, bias,", "_linear_pointwise(x, weight, None,", LOCAL),
    # cuts and feedback
    Mutant("core/layer.py", "if synapse and (learns or isinstance(module, RESHAPES)):", "if synapse and learns:", CUTS),
    Mutant("core/feedback.py", "manual_seed((seed + STREAM)", "manual_seed((STREAM)", CONTRACT),
    Mutant("core/feedback.py", "matrix.mul_(scale)", "matrix", FORM),
    Mutant("core/feedback.py", "nn.init.xavier_uniform_", "nn.init.kaiming_uniform_", CUTS),
    Mutant("core/rule.py", "            module.training = mode\n", "            module.training = True\n", CONTRACT),
    # the rules
    Mutant("rules/backprop.py", "descend(traces, e / len(x), ready)", "descend(traces, e, ready)", FORM),
    Mutant("rules/shallow.py", "descend(traces, e / len(x), ready)", "descend(traces, -e / len(x), ready)", FORM),
    Mutant("rules/feedback_alignment.py", "ready, self.feedback)", "ready)", f"{CLAIMS} weight_transport"),
    Mutant("core/passes.py", "delta = slope(trace, signal)", "delta = signal", FORM),
    Mutant("core/passes.py", "pull(trace, delta, weight=B)", "pull(trace, signal, weight=B)", FORM),
    Mutant("core/passes.py", "learn(trace, delta, ready)", "learn(trace, slope(trace, delta), ready)", FORM),
    Mutant("core/passes.py", "B = feedback[len", "B = -feedback[len", f"{LIMITS} fa_with"),
    Mutant("core/passes.py", "        elif trace.layer.inlet_learns:\n            pull(trace, delta)\n", "",
           f"{LIMITS} bp_is_autograd"),
    Mutant("rules/direct.py", "m = modulation(e) / len(x)", "m = modulation(e)", FORM),
    Mutant("rules/direct.py", "ready, torch.sign)", "ready, lambda e: e)", FORM),
    Mutant("rules/direct.py", "learn(trace, slope(trace, project(m, D)), ready)",
           "learn(trace, project(m, D), ready)", FORM),
    Mutant("rules/indirect.py", "else push(trace, delta)", "else push(trace, signal)", FORM),
    Mutant("rules/indirect.py", "project(e / len(x), self.feedback[0])", "project(e, self.feedback[0])", LIMITS),
    Mutant("rules/drtp.py", "m = t * (self.s * self.scale / len(x))", "m = t * (self.scale / len(x))", FORM),
    Mutant("rules/drtp.py", "m = t * (self.s * self.scale / len(x))", "m = t * (self.s / len(x))", FORM),
    Mutant("rules/drtp.py", "learn(trace, slope(trace, e / len(x)), ready)",
           "learn(trace, slope(trace, t / len(x)), ready)", FORM),
    # sign symmetry, learned and sparse feedback, AFA
    Mutant("rules/sign_symmetry.py", "torch.sign(layer.synapse.weight, out=B)", "B.copy_(layer.synapse.weight)",
           f"{LEARNED} follows"),
    Mutant("rules/sign_symmetry.py", ", out=B).mul_(M)", ", out=B).abs_().mul_(M)", f"{FAMILIES} magnitude"),
    Mutant("rules/sign_symmetry.py", "    _take_signs(rule)\n    loss", "    loss", f"{LEARNED} follows"),
    Mutant("rules/sign_symmetry.py", " * prod(shape[2:])", "", f"{LEARNED} magnitude"),
    Mutant("rules/sign_symmetry.py", "scale * _glorot(s)", "_glorot(s)", f"{LEARNED} magnitude"),
    Mutant("rules/sign_symmetry.py", "self.magnitudes if self.training else ()", "self.magnitudes", f"{LEARNED} brsf"),
    Mutant("rules/sign_symmetry.py", ".mul_(self.scale).abs_()", ".abs_()", f"{LEARNED} brsf"),
    Mutant("rules/sign_symmetry.py", ".mul_(self.scale).abs_()", ".mul_(self.scale)", f"{LEARNED} brsf"),
    Mutant("rules/sign_symmetry.py", "    redraw()  #", "    pass  #", f"{LEARNED} brsf"),
    Mutant("rules/sign_symmetry.py", "    traces = ascend(rule.layers, x, reach=1)\n    redraw()",
           "    redraw()\n    traces = ascend(rule.layers, x, reach=1)", f"{FORM} brsf"),
    Mutant("rules/kolen_pollack.py", "W.grad.clone() if", "W.grad if", f"{LEARNED} kp"),
    Mutant("rules/kolen_pollack.py", "else B.grad + W.grad", "else W.grad", f"{LEARNED} kp"),
    Mutant("rules/kolen_pollack.py", "            W.grad = None  #", "            pass  #", f"{LEARNED} kp"),
    Mutant("rules/kolen_pollack.py", "held if W.grad is None else W.grad.add_(held)", "held", f"{LEARNED} kp"),
    Mutant("rules/kolen_pollack.py", "next(layer.synapse.parameters())", "layer.synapse.weight", f"{LEARNED} kp"),
    Mutant("rules/kolen_pollack.py", 'list(self.feedback), "lr": lr',
           'list(self.feedback), "lr": lr / 2', f"{FAMILIES} kp"),
    Mutant("rules/kolen_pollack.py", "share, self.feedback)", "share)", FORM),
    Mutant("rules/weight_mirror.py", "(-M * self.noise**2)", "(M * self.noise**2)", f"{LEARNED} wm"),
    Mutant("rules/weight_mirror.py", "(-M * self.noise**2)", "(-M * self.noise)", f"{LEARNED} wm"),
    Mutant("rules/weight_mirror.py", "M = trace.h.numel() // len(B)", "M = len(xi)", f"{LEARNED} wm"),
    Mutant("rules/weight_mirror.py", "self.noise * torch.randn_like", "torch.randn_like", f"{LEARNED} wm"),
    Mutant("rules/weight_mirror.py", " if bends(module))", ")", f"{LEARNED} wm"),
    Mutant("rules/weight_mirror.py", "        if self.training:", "        if True:", f"{LEARNED} wm"),
    Mutant("rules/weight_mirror.py", '"weight_decay": self.mirror_decay', '"weight_decay": 0.0', f"{LEARNED} wm"),
    Mutant("rules/weight_mirror.py", "ready, self.feedback)", "ready)", FORM),
    Mutant("rules/sparse_direct.py", "argsort(0) < sparse", "argsort(0) <= sparse", f"{FAMILIES} ssdfa"),
    Mutant("rules/sparse_direct.py", "h = ((len(D) * sparse) ** 0.5", "h = (len(D) ** 0.5", f"{LEARNED} wires"),
    Mutant("rules/sparse_direct.py", "seed + index)", "seed)", f"{LEARNED} wires"),
    Mutant("rules/sparse_direct.py", "slope(trace, project(e / len(x), D))", "project(e / len(x), D)", FORM),
    Mutant("rules/adaptive.py", "project(-self.s * e", "project(self.s * e", FORM),
    Mutant("rules/adaptive.py", "delta = slope(trace, push(trace, delta))", "delta = push(trace, delta)", FORM),
    # PEPITA and its kin
    Mutant("rules/pepita/pepita.py", "(clean.h - modulated.h)", "(modulated.h - clean.h)", FORM),
    Mutant("rules/pepita/pepita.py", ".div_(products(clean))", ".div_(len(x))", FORM),
    Mutant("rules/pepita/pepita.py", "learn(modulated if self.modulated_x else clean, (", "learn(clean, (", FORM),
    Mutant("rules/pepita/pepita.py", "h, like=first[index], a=a)", "h, a=a)", FORM),
    Mutant("rules/pepita/pepita.py", "len(first) - 1, h, like=first[-1])",
           "len(first) - 1, first[-1].x, like=first[-1])", FORM),
    Mutant("rules/pepita/pepita.py", "h, a = modulated.h, None", "h, a = clean.h, None", FORM),
    Mutant("rules/pepita/pepita.py", "self.output_error(modulated.h, t)[1]", "self.output_error(clean.h, t)[1]", FORM),
    Mutant("rules/pepita/pepita.py", "learn(modulated if self.modulated_x else clean, delta",
           "learn(clean, delta", FORM),
    Mutant("rules/pepita/pepita.py", "range(self.enters, len(first) - 1)", "range(self.enters, len(first) - 2)", FORM),
    Mutant("rules/pepita/pepita.py", 'plain = self.perturb == "error" and', "plain =", f"{OPTIONS} undisturbed"),
    Mutant("rules/pepita/modulation.py", "x = NORMALISE[rule.normalise](layer(x))", "x = layer(x)",
           f"{OPTIONS} inference"),
    Mutant("rules/pepita/pepita.py", "-self.s * product(self.factors).T.view_as",
           "self.s * product(self.factors).T.view_as", f"{OPTIONS} mirror"),
    Mutant("rules/pepita/pepita.py", "is not None and self.training:", "is not None:", f"{OPTIONS} rest"),
    Mutant("rules/pepita/pepita.py", "if mirror and (at or perturb", "if mirror and (perturb", f"{OPTIONS} refused"),
    Mutant("rules/pepita/mirror.py", "y.softmax(1) if layer is layers[-1] else y", "y", f"{OPTIONS} mirror"),
    Mutant("rules/pepita/mirror.py", " - decay * F_l)", ")", f"{OPTIONS} mirror"),
    Mutant("rules/pepita/mirror.py", "        F_l += lr", "        F_l -= lr", f"{OPTIONS} mirror"),
    Mutant("rules/pepita/mirror.py", "std(correction=0)) ** (1 / len(factors))",
           "std(correction=0))", f"{OPTIONS} mirror"),
    Mutant("rules/pepita/mirror.py", "NOISE = 0.1", "NOISE = 0.2", f"{OPTIONS} mirror"),
    Mutant("rules/pepita/mirror.py", "[xi - xi.mean() for xi in drawn]", "drawn", f"{OPTIONS} mirror"),
    Mutant("rules/pepita/mirror.py", " / torch.tensor(hidden, dtype=torch.float64).prod().sqrt().item()",
           "", f"{OPTIONS} factors"),
    Mutant("rules/pepita/modulation.py", "e: project(rule.s * e,", "e: project(e,", FORM),
    Mutant("rules/pepita/modulation.py", "known = None if a is None else a + ",
           "known = None if a is None else a - ", FORM),
    Mutant("rules/pepita/modulation.py", "// int(module.weight.shape[0]) if", "// int(trace.h[0].numel()) if", FORM),
    Mutant("rules/pepita/modulation.py", "return trace if last else",
           "return trace if last or like else", f"{OPTIONS} anywhere"),
    Mutant("rules/pepita/modulation.py", ".norm(dim=1)", ".abs().sum(dim=1)", f"{OPTIONS} anywhere"),
    Mutant("rules/pepita/modulation.py", "_or_one(h.norm())", "_or_one(h[0].norm())", f"{OPTIONS} anywhere"),
    Mutant("rules/pepita/modulation.py", "torch.where(length > 0, length, torch.ones_like(length))",
           "length", f"{OPTIONS} zero"),
    Mutant("rules/pepita/modulation.py", "rule.scale * torch.rand_like",
           "rule.scale * torch.randn_like", f"{OPTIONS} noise"),
    Mutant("rules/pepita/modulation.py", "h = first[rule.enters - 1].h if rule.enters else x",
           "h = x", f"{OPTIONS} anywhere"),
    Mutant("rules/pepita/modulation.py", "(layer(x))\n",
           "(layer(x)) if rule.training else layer(x)\n", f"{OPTIONS} inference"),
    Mutant("rules/pepita/hebbian.py", "learn(modulated, -down, ready)", "learn(modulated, down, ready)", FORM),
    Mutant("rules/pepita/hebbian.py", "up = slope(clean, (e + t)", "up = slope(clean, e", FORM),
    Mutant("rules/pepita/hebbian.py", "clean.h / products(clean)", "clean.h / len(x)", f"{FAMILIES} hebbian"),
    Mutant("rules/pepita/hebbian.py", "learn(trace, h / products(trace), ready)",
           "learn(trace, h / products(trace))", f"{OPTIONS} local"),
    Mutant("rules/pepita/hebbian.py", "learn(trace, h / products(trace), ready)",
           "learn(trace, -h / products(trace), ready)", f"{FAMILIES} local"),
    Mutant("rules/pepita/hebbian.py", "trace = present(self, index, h, like=clean)",
           "trace = present(self, index, h)", FORM),
    # angles of the feedback
    Mutant("measure/alignment.py", 'product = product @ layer.synapse.get_parameter("weight")',
           'product = layer.synapse.get_parameter("weight")', f"{FAMILIES} angles"),
    Mutant("measure/alignment.py", "products.get(rule.enters + index)",
           "products.get(1 + index)", f"{FAMILIES} angles"),
    Mutant("measure/alignment.py", "for layer in rule.layers)][rule.enters :]",
           "for layer in rule.layers)][1:]", f"{FAMILIES} angles"),
    Mutant("measure/alignment.py", "            break\n", "            continue\n", f"{FAMILIES} angles"),
]  # fmt: skip

PLUGIN = """
import pathlib, altprop
here = pathlib.Path(__file__).parent
assert pathlib.Path(altprop.__file__).parent == here / "altprop", f"{altprop.__file__} was imported"
known = set((here / "known.txt").read_text().splitlines())

def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if item.nodeid not in known]

def pytest_runtest_logreport(report):
    if report.failed:
        with open(here / "failed.txt", "a") as file:
            file.write(report.nodeid + "\\n")
"""


def build(folder: Path, source: Path, known: list[str], mutant: Mutant | None = None) -> None:
    """A copy of the library and its tests, spoilt in one place."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mutation_plugin.py").write_text(PLUGIN)
    (folder / "known.txt").write_text("\n".join(known))
    if mutant:
        path = folder / "altprop" / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))


def run_tests(folder: Path, files: list[str], *options: str) -> tuple[int, list[str], str]:
    """(exit status, tests that failed, output) of pytest in the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutation_plugin", *options]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*command, *(f"tests/{file}" for file in files)],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, [], "timed out"
    failed = folder / "failed.txt"
    return done.returncode, failed.read_text().splitlines() if failed.exists() else [], done.stdout + done.stderr


def judge(mutant: Mutant, source: Path, folder: Path, known: list[str]) -> tuple[str, str]:
    """('killed' or what went wrong, by which test)."""
    found = (source / "altprop" / mutant.file).read_text().count(mutant.old)
    if found != 1:
        return f"its old text stands {found} times", ""
    build(folder, source, known, mutant)
    tests, _, word = mutant.tests.partition(" ")
    name = word or (NAMES.get(mutant.file, "") if tests == FORM else "")
    status, failed, output = run_tests(folder, [tests], "-x", "-k", name)
    shutil.rmtree(folder)
    if status == 1 and failed:
        return "killed", failed[0]
    return ("survived", "") if status == 0 else (f"pytest ended with {status}", output[-600:])


def main() -> int:
    """Run the table; 1 where a mutant survives or cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--only", default="", help="mutants whose file contains this")
    arguments = parser.parse_args()
    table = [mutant for mutant in TABLE if arguments.only in mutant.file]
    if arguments.list:
        print("\n".join(f"{m.file}: {m.old.strip()!r} -> {m.new.strip()!r}  [{m.tests}]" for m in table))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"  # what is tested stays the same while others go on writing
        for part in ("altprop", "tests"):
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", source)
        build(Path(temporary) / "plain", source, [])
        status, known, output = run_tests(
            Path(temporary) / "plain", sorted({mutant.tests.partition(" ")[0] for mutant in table})
        )
        if status not in (0, 1):
            print(f"the tests do not run without a mutant (pytest ended with {status}):\n{output[-2000:]}")
            return 1
        for name in known:
            print(f"fails without a mutant, left out: {name}")
        with ThreadPoolExecutor(arguments.jobs) as pool:
            folders = [Path(temporary) / str(index) for index in range(len(table))]
            verdicts = pool.map(lambda pair: judge(pair[0], source, pair[1], known), zip(table, folders, strict=True))
            count: Counter[bool] = Counter()
            for mutant, (verdict, by) in zip(table, verdicts, strict=True):
                count[verdict == "killed"] += 1
                print(
                    f"{verdict:9} {mutant.file}: {mutant.new.strip() or 'nothing'!r} for {mutant.old.strip()!r}  {by}"
                )
    print(f"{count[True]} passed, {count[False]} failed")
    return 1 if count[False] else 0


if __name__ == "__main__":
    sys.exit(main())
