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
NAMES = {  # the closed forms of a rule bear its name, and the others need not run
    "rules/backprop.py": "bp", "rules/shallow.py": "shallow", "rules/direct.py": "dfa", "rules/indirect.py": "ifa",
    "rules/drtp.py": "drtp", "rules/pepita.py": "pepita",
}  # fmt: skip


class Mutant(NamedTuple):
    """``old`` stands exactly once in ``file``; ``tests`` are those that must notice ``new``."""

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
    Mutant("core/local.py", "accumulate(module.bias, s.sum(0))", "accumulate(module.bias, s.mean(0))", FORM),
    Mutant("core/local.py", "linear(signal_a, weight.T)", "linear(signal_a, module.weight.T)", FORM),
    Mutant("core/local.py", "_convolution_backward(module, signal_a, trace.x, weight, (True, False, False))",
           "_convolution_backward(module, signal_a, trace.x, module.weight, (True, False, False))", FORM),
    Mutant("core/local.py", "return _synapse(module, tangent_x, module.weight, None)",
           "return _synapse(module, tangent_x, module.weight, module.bias)", FORM),
    Mutant("core/local.py", "return trace.h.numel() // int(module.weight.shape[0]) if", "return len(trace.h) if", FORM),
    Mutant("core/local.py", "return left_right[::-2] if plain", "return left_right[::2] if plain", LOCAL),
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
    Mutant("rules/backprop.py", "signal = e / len(x)", "signal = e", FORM),
    Mutant("rules/backprop.py", "                signal = pull(trace, delta)  #",
           "                signal = pull(trace, signal)  #", FORM),
    Mutant("rules/backprop.py", "learn(trace, delta, ready)", "learn(trace, signal, ready)", FORM),
    Mutant("rules/shallow.py", "slope(trace, e / len(x))", "slope(trace, -e / len(x))", FORM),
    Mutant("rules/feedback_alignment.py", "pull(trace, delta, weight=self.feedback[len(traces) - 1])",
           "pull(trace, delta)", CLAIMS),
    Mutant("rules/feedback_alignment.py", "weight=self.feedback[len(traces) - 1]",
           "weight=-self.feedback[len(traces) - 1]", LIMITS),
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
    Mutant("rules/pepita.py", "(trace.h - second.h)", "(second.h - trace.h)", FORM),
    Mutant("rules/pepita.py", ".div_(products(trace))", ".div_(len(x))", FORM),
    Mutant("rules/pepita.py", "learn(second if self.modulated_x else trace,", "learn(trace,", FORM),
    Mutant("rules/pepita.py", "second = forward(trace.layer, h, like=trace, a=a)",
           "second = forward(trace.layer, h, a=a)", FORM),
    Mutant("rules/pepita.py", "forward(self.layers[-1], h, like=first[-1])",
           "forward(self.layers[-1], first[-1].x, like=first[-1])", FORM),
    Mutant("rules/pepita.py", "h = x + project(self.s * e, F)", "h = x + project(e, F)", FORM),
    Mutant("rules/pepita.py", "first[0].a + project(self.s * e, push(first[0], F))",
           "first[0].a - project(self.s * e, push(first[0], F))", FORM),
    Mutant("rules/pepita.py", "            h, a = second.h, None", "            h, a = trace.h, None", FORM),
    Mutant("rules/pepita.py", "e = self.output_error(modulated.h, t)[1]", "e = self.output_error(clean.h, t)[1]", FORM),
    Mutant("rules/pepita.py", "learn(modulated if self.modulated_x else clean, delta, ready)",
           "learn(clean, delta, ready)", FORM),
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
    name = NAMES.get(mutant.file, "") if mutant.tests == FORM else ""
    status, failed, output = run_tests(folder, [mutant.tests], "-x", "-k", name)
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
        status, known, output = run_tests(Path(temporary) / "plain", sorted({mutant.tests for mutant in table}))
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
