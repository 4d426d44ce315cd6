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

from mutants import FORM, TABLE, Mutant

ROOT = Path(__file__).resolve().parent.parent
NAMES = {  # the closed forms of a rule bear its name, and the others need not run
    "rules/backprop.py": "bp", "rules/shallow.py": "shallow", "rules/direct.py": "dfa", "rules/indirect.py": "ifa",
    "rules/drtp.py": "drtp", "rules/kolen_pollack.py": "kp", "rules/weight_mirror.py": "wm",
    "rules/sparse_direct.py": "ssdfa", "rules/adaptive.py": "afa", "rules/pepita/hebbian.py": "pepita_",
    "rules/pepita/pepita.py": "pepita and not hebbian and not local",
    "rules/pepita/modulation.py": "pepita and not hebbian and not local",
}  # fmt: skip


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
