"""Do the tests notice?  One line of the library is spoilt at a time, and the tests must fail:

    python tests/mutate.py [--jobs 2] [--list] [--only WORD]

Every mutant lives in a temporary copy, which is proved to be the one imported, and is judged in a fork of this process,
which has imported torch for all of them.  A test that fails kills a mutant, one that cannot be collected does not.
Whatever killed must pass in a copy that nothing has spoilt: a test that does not is named, and judges no more.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
from mutants import FORM, TABLE, Mutant

ROOT = Path(__file__).resolve().parent.parent
NAMES = {  # the closed forms of a rule bear its name, and the others need not run
    "rules/backprop.py": "bp", "rules/shallow.py": "shallow", "rules/direct.py": "dfa", "rules/indirect.py": "ifa",
    "rules/drtp.py": "drtp", "rules/kolen_pollack.py": "kp", "rules/weight_mirror.py": "wm",
    "rules/sparse_direct.py": "ssdfa", "rules/adaptive.py": "afa", "rules/pepita/hebbian.py": "pepita_",
    "rules/pepita/pepita.py": "pepita and not hebbian and not local",
    "rules/pepita/modulation.py": "pepita and not hebbian and not local",
    "rules/pepita/family.py": "pepita and not hebbian and not local",
}  # fmt: skip


# What the tests import and no mutant touches: read once, and shared by every fork.
SHARED = (
    "torch", "torch.distributed.tensor", "torch.fx.experimental.proxy_tensor", "torch.utils.flop_counter", "numpy",
    "scipy.stats", "sklearn.linear_model", "sklearn.neighbors", "sklearn.svm", "pandas", "pydantic",
    "safetensors.torch", "typer", "rich.progress", "rich.table", "jinja2", "matplotlib.figure",
    "matplotlib.backends.backend_svg", "hypothesis", "PIL.Image",
)  # fmt: skip

# Nobody reads why a mutant fails, and where CI is set pytest would compare long lists word for word, for minutes.
PLAIN = "--assert=plain"

# Plugins that a mutant has no use for; the last two collect garbage at the end of every process.
IDLE = ("cacheprovider", "xdist", "unraisableexception", "threadexception")


class Judges(NamedTuple):
    """Which tests of a file run: all, or only those, but for some."""

    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def take(self, test: str) -> bool:
        return test not in self.without and (self.only is None or test in self.only)


class Watch:
    """What pytest says of one copy: proof that it is the one imported, and the tests that failed."""

    def __init__(self, folder: Path, judges: Judges) -> None:
        self.folder, self.judges, self.failed = folder, judges, []

    def pytest_collection_modifyitems(self, items: list) -> None:
        import altprop

        where = Path(altprop.__file__).parent
        assert where == self.folder / "altprop", f"{where} was imported"
        items[:] = [item for item in items if self.judges.take(item.nodeid)]

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def build(folder: Path, source: Path, mutant: Mutant | None = None) -> None:
    """A copy of the library and its tests, spoilt in one place; what is not spoilt is linked."""
    shutil.copytree(source, folder, symlinks=True, copy_function=os.link)
    if mutant:
        path = folder / "altprop" / mutant.file
        text = path.read_text()
        path.unlink()
        path.write_text(text.replace(mutant.old, mutant.new))


def run_tests(folder: Path, file: str, judges: Judges, *options: str) -> tuple[int, list[str], str]:
    """(exit status, tests that failed, output) of pytest in the copy, in a fork of this process."""
    child = get_context("fork").Process(target=_tests, args=(folder, file, judges, options))
    child.start()
    child.join(240)
    if child.is_alive():
        child.kill()
        child.join()
        return -1, [], "timed out"
    failed, output = folder / "failed.json", folder / "output.txt"
    return (
        child.exitcode if child.exitcode is not None else -1,
        json.loads(failed.read_text()) if failed.exists() else [],
        output.read_text(errors="replace") if output.exists() else "",
    )


def _tests(folder: Path, file: str, judges: Judges, options: tuple[str, ...]) -> None:
    """In the fork: pytest's own status is that of the process."""
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "tests")))]
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    watch = Watch(folder, judges)
    place = str(next(Path("tests").rglob(file)))
    idle = [word for plugin in IDLE for word in ("-p", f"no:{plugin}")]
    status = pytest.main(["-q", "--tb=native", PLAIN, *idle, *options, place], [watch])  # which looks for no sources
    Path("failed.json").write_text(json.dumps(watch.failed))
    sys.stdout.flush()
    os._exit(status)


def failing(tests: list[str], source: Path, folder: Path) -> list[str]:
    """Those of one file's tests that fail in a copy that nothing has spoilt."""
    build(folder, source)
    status, failed, output = run_tests(folder, Path(tests[0].partition("::")[0]).name, Judges(frozenset(tests)))
    shutil.rmtree(folder)
    if status not in (0, 1):
        raise RuntimeError(f"{tests[0]} does not run without a mutant (pytest ended with {status}):\n{output[-2000:]}")
    return failed


def judge(mutant: Mutant, source: Path, folder: Path, judges: Judges) -> tuple[str, str, float]:
    """('killed' or what went wrong, by which test, after how many seconds)."""
    start = time.perf_counter()
    found = (source / "altprop" / mutant.file).read_text().count(mutant.old)
    if found != 1:
        return f"its old text stands {found} times", "", 0.0
    build(folder, source, mutant)
    tests, _, word = mutant.tests.partition(" ")
    name = word or (NAMES.get(mutant.file, "") if tests == FORM else "")
    status, failed, output = run_tests(folder, tests, judges, "-x", "-k", name)
    shutil.rmtree(folder)
    seconds = time.perf_counter() - start
    if status == 1 and failed:
        return "killed", failed[0], seconds
    return ("survived", "", seconds) if status == 0 else (f"pytest ended with {status}", output[-600:], seconds)


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
    os.environ["OMP_NUM_THREADS"] = "1"  # a process that has threads cannot be forked
    for name in SHARED:
        importlib.import_module(name)
    hypothesis.settings.register_profile("same", derandomize=True)  # the same examples for every mutant, every time
    hypothesis.settings.load_profile("same")
    gc.collect()
    gc.freeze()  # no fork looks through what all of them share
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"  # what is tested stays the same while others go on writing
        for part in ("altprop", "tests"):
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", source)
        for part in ("recipes", "results"):  # which are read, and never written
            (source / part).symlink_to(ROOT / part)
        # Bytecode beside the sources, pytest's own too, so that no fork compiles what is not spoilt.
        collect = [sys.executable, "-m", "pytest", "--collect-only", PLAIN, "-p", "no:cacheprovider", "tests"]
        subprocess.run(collect, cwd=source, env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True)
        with ProcessPoolExecutor(arguments.jobs, get_context("fork")) as pool:
            alive = judge_all(table, source, pool)
    print("\n".join([*alive, f"{len(table) - len(alive)} passed, {len(alive)} failed"]))
    return 1 if alive else 0


def judge_all(table: list[Mutant], source: Path, pool: ProcessPoolExecutor) -> list[str]:
    """Those that survive, or cannot be made, a line each; prints a line for every mutant.

    One that is not killed is judged once more when all others have been: processes and their deaths meet by chance."""
    unfit, doubtful, again = frozenset[str](), list[Mutant](), False
    alive: list[str] = []
    while table:
        killers: dict[str, list[Mutant]] = {}
        folders = (source.parent / f"{len(unfit)}-{again}-{index}" for index in range(len(table)))
        told = pool.map(judge, table, repeat(source), folders, repeat(Judges(None, unfit)))
        for mutant, (verdict, by, seconds) in zip(table, told, strict=True):
            what = f"{mutant.file}: {mutant.new.strip() or 'nothing'!r} for {mutant.old.strip()!r}"
            print(f"{verdict:9} {seconds:4.0f} s  {what}  {by}")
            if verdict == "killed":
                killers.setdefault(by, []).append(mutant)
            elif again:
                alive.append(f"{verdict}  {what}  {by}")
            else:
                doubtful.append(mutant)
        files: dict[str, list[str]] = {}
        for test in killers:
            files.setdefault(test.partition("::")[0], []).append(test)
        folders = (source.parent / f"plain-{len(unfit)}-{again}-{index}" for index in range(len(files)))
        found = [test for failed in pool.map(failing, files.values(), repeat(source), folders) for test in failed]
        for test in found:
            print(f"fails without a mutant, and judges no more: {test}")
        unfit, table = unfit | set(found), [mutant for test in found for mutant in killers[test]]
        if not (table or again):
            table, again = doubtful, True
    return alive


if __name__ == "__main__":
    sys.exit(main())
