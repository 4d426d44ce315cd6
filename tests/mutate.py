"""Do the tests notice?  One line of the library is spoilt at a time, and the tests must fail:

    python tests/mutate.py [--jobs 2] [--list] [--only WORD]

Every mutant lives in a temporary copy, which is proved to be the one imported, and is judged in a fork of this process,
which has imported torch for all of them.  A test that fails kills a mutant, one
that cannot be collected does not.  Tests that fail without any mutant are named and left out: they would kill all.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

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
    "torch",
    "numpy",
    "scipy.stats",
    "sklearn",
    "pydantic",
    "safetensors.torch",
    "typer",
    "rich",
    "hypothesis",
    "PIL.Image",
)


class Watch:
    """What pytest says of one copy: proof that it is the one imported, and the tests that failed."""

    def __init__(self, folder: Path, known: list[str]) -> None:
        self.folder, self.known, self.failed = folder, set(known), []

    def pytest_collection_modifyitems(self, items: list) -> None:
        import altprop

        where = Path(altprop.__file__).parent
        assert where == self.folder / "altprop", f"{where} was imported"
        items[:] = [item for item in items if item.nodeid not in self.known]

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def build(folder: Path, source: Path, mutant: Mutant | None = None) -> None:
    """A copy of the library and its tests, spoilt in one place."""
    shutil.copytree(source, folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant:
        path = folder / "altprop" / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))


def run_tests(folder: Path, files: list[str], known: list[str], *options: str) -> tuple[int, list[str], str]:
    """(exit status, tests that failed, output) of pytest in the copy, in a fork of this process."""
    child = get_context("fork").Process(target=_tests, args=(folder, files, known, options))
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


def _tests(folder: Path, files: list[str], known: list[str], options: tuple[str, ...]) -> None:
    """In the fork: pytest's own status is that of the process."""
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "tests")))]
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    watch = Watch(folder, known)
    status = pytest.main(
        ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options, *(f"tests/{file}" for file in files)], [watch]
    )
    Path("failed.json").write_text(json.dumps(watch.failed))
    sys.stdout.flush()
    os._exit(status)


def plainly(file: str, source: Path, folder: Path) -> tuple[int, list[str], str]:
    """What a test file says of the library as it is."""
    build(folder, source)
    said = run_tests(folder, [file], [])
    shutil.rmtree(folder)
    return said


def judge(mutant: Mutant, source: Path, folder: Path, known: list[str]) -> tuple[str, str]:
    """('killed' or what went wrong, by which test)."""
    found = (source / "altprop" / mutant.file).read_text().count(mutant.old)
    if found != 1:
        return f"its old text stands {found} times", ""
    build(folder, source, mutant)
    tests, _, word = mutant.tests.partition(" ")
    name = word or (NAMES.get(mutant.file, "") if tests == FORM else "")
    status, failed, output = run_tests(folder, [tests], known, "-x", "-k", name)
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
    os.environ["OMP_NUM_THREADS"] = "1"  # a process that has threads cannot be forked
    for name in SHARED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"  # what is tested stays the same while others go on writing
        for part in ("altprop", "tests"):
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", source)
        for part in ("recipes", "results"):  # which are read, and never written
            (source / part).symlink_to(ROOT / part)
        with ProcessPoolExecutor(arguments.jobs, get_context("fork")) as pool:
            files = sorted({mutant.tests.partition(" ")[0] for mutant in table})
            plain = [Path(temporary) / f"plain{index}" for index in range(len(files))]
            known: list[str] = []
            for file, (status, failed, output) in zip(
                files, pool.map(plainly, files, repeat(source), plain), strict=True
            ):
                if status not in (0, 1):
                    print(f"{file} does not run without a mutant (pytest ended with {status}):\n{output[-2000:]}")
                    return 1
                known += failed
            for name in known:
                print(f"fails without a mutant, left out: {name}")
            folders = [Path(temporary) / str(index) for index in range(len(table))]
            verdicts = pool.map(judge, table, repeat(source), folders, repeat(known))
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
