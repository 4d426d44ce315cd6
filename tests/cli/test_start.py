"""What is read before anything is asked for.  The oracle is sys.modules of a fresh process; nothing is timed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import altprop

HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "jinja2", "pooch")
INIT = ast.parse(Path(altprop.__file__).read_text())
AFTER = """
import sys
try:
    {0}
except SystemExit:
    pass
print(*sorted(set({1}) & set(sys.modules)), file=sys.stderr)
"""


def read_by(statement):
    """The heavy packages that a fresh process has read after a statement."""
    code = AFTER.format(statement, HEAVY)
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())


@pytest.mark.parametrize(
    "words", [[], ["--version"], ["--help"], ["train", "--help"], ["data"], ["train", "--lr", "x"]]
)
def test_help_does_not_wait_for_torch(words):
    """One import at the top of a module of cli/ brings it back, and with it seconds before a line of help."""
    done = read_by(f"from altprop.cli import main; main({words})")
    assert not done & set(HEAVY)


def test_the_package_reads_what_it_uses():
    """Of the whole package, fit with all its rooms included, torch is all that everybody needs."""
    assert read_by("import altprop") == set()
    assert read_by("from altprop import *; fit") == {"torch"}
    assert read_by("from altprop.cli import main; main(['list'])") == {"torch"}


PUBLIC = """
import sys
import altprop
seen = {0}
assert sorted(seen) == sorted(altprop.__all__) and set(seen) <= set(dir(altprop))
for name, home in seen.items():
    assert getattr(altprop, name) is vars(sys.modules[home])[name], name
"""


def test_public_names_are_those_that_a_type_checker_sees():
    """What comes late is what the imports for type checkers say, and every name of it."""
    (block,) = [node for node in INIT.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    done = subprocess.run([sys.executable, "-c", PUBLIC.format(seen)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rooms_need_no_import_of_their_own():
    """``import altprop`` is enough for altprop.nets.build; what is not there is an AttributeError as of any module."""
    code = "import altprop; altprop.nets.build, altprop.data.load, altprop.measure.angle; altprop.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "AttributeError: module 'altprop' has no attribute 'nothing'"


def test_no_public_name_is_that_of_a_room():
    """Python would put the room in its place as soon as something reads it: ``altprop.report`` was both."""
    rooms = {path.parent.name for path in Path(altprop.__file__).parent.glob("*/__init__.py")}
    assert rooms.isdisjoint(altprop.__all__) and {"core", "reports"} <= rooms


@pytest.mark.parametrize("module", ["altprop", "altprop.cli"])
def test_the_package_is_the_command_line_too(module):
    """``torchrun -m altprop`` and machines without the script start it so."""
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{altprop.__version__}\n", "")
