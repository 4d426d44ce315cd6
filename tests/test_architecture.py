"""The shape of the house: who may import whom, how long a file may be, what must be written down."""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest

import altprop
from altprop import RULES, SEARCHES, Rule
from altprop.core import Search
from altprop.rules import REFERENCES

HOUSE = Path(altprop.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
TREES = {path.relative_to(HOUSE).as_posix(): ast.parse(path.read_text()) for path in FILES}
MAY_IMPORT = {  # room or file -> the rooms of altprop it may read; a folder inside a room may be one of its own
    "__main__.py": {"cli"},
    "limits.py": set(),
    "allocator.py": set(),
    "chain.py": {"limits"},
    "suits.py": set(),
    "backend.py": {"limits"},
    "core": {"backend", "chain", "limits", "suits"},
    "rules": {"core", "limits"},
    "registry.py": {"core", "limits", "rules"},
    "searches": {"core", "limits"},
    "tasks": {"core", "limits"},
    "graph": {"core", "limits"},
    "nets": {"limits"},
    "data": {"limits"},
    "measure": {"backend", "core", "limits"},
    "optim.py": set(),
    "panels": {"core", "data", "limits", "measure"},
    "run": {
        "core", "data", "graph", "limits", "measure", "nets", "optim", "panels", "registry", "rules", "run/directory",
        "searches", "suits", "tasks", "tracing", "",
    },
    "pool": {"allocator", "limits", "registry", "run", "run/directory"},
    "run/directory": {"core", "data", "limits", "run"},
    "statistics.py": set(),
    "reports": {"limits", "panels", "run/directory", "statistics"},
    "tracing": {"core", "limits", "measure"},
    "together": {"core", "limits", "measure", "run", "tracing"},
    "study": {"core", "data", "evolution", "limits", "measure", "pool", "reports", "rules", "run", "run/directory",
        "searches", "statistics", "together"},
    "evolution": {
        "core", "data", "limits", "nets", "pool", "run", "run/directory", "searches", "tasks",
    },
    "bench": {"backend", "core", "limits", "measure", "nets", "optim", "rules", "run/directory", "tracing"},
    "export": {"core", "data", "evolution", "graph", "limits", "run", "run/directory"},
    "parallel": {"core", "limits", "run", "run/directory"},
    "cli": {
        "allocator", "bench", "core", "data", "evolution", "export", "limits", "nets", "parallel", "pool", "registry",
        "reports", "rules", "run", "run/directory", "searches", "study", "tasks", "",
    },
}  # fmt: skip
DOCUMENTED = [name for name in TREES if name.split("/")[0] in ("core", "rules", "searches", "tasks")]
by_file = pytest.mark.parametrize("file", TREES)


def part(file):
    """The room, or the folder inside it that is one of its own."""
    return next((room for room in MAY_IMPORT if "/" in room and file.startswith(f"{room}/")), file.split("/")[0])


def imports(file):
    """Every module that a file imports, wherever it stands, by its full name; ``from a import b`` as a.b too."""
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["altprop", *file.split("/")[:-1]]
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_parts(file):
    """The parts of altprop that a file imports; '' for the package itself or a name out of it."""
    parts = {p.name.removesuffix(".py") for p in HOUSE.iterdir()}
    modules = list(imports(file))
    for module in modules:
        head, *rest = module.split(".")
        if head == "altprop" and rest and rest[0] in parts:
            yield part("/".join([*rest, ""]))
        elif head == "altprop" and (rest or not any(other.startswith("altprop.") for other in modules)):
            yield ""


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(node):
    return node.end_lineno - node.lineno + 1


def lines(file):
    return len((HOUSE / file).read_text().splitlines())


def test_the_walls_see_the_house():
    """A test of no files passes."""
    assert {"core/local.py", "rules/drtp.py", "rules/pepita/pepita.py", "__init__.py"} <= set(TREES)
    assert set(own_parts("rules/drtp.py")) == {"core"}
    assert "torch" in set(imports("core/local.py"))


@by_file
def test_imports_follow_the_plan(file):
    """A rule that reads the runner, or a core that knows a rule, can no longer be taken out by itself."""
    if part(file) == "__init__.py":
        return
    assert part(file) in MAY_IMPORT, f"{file} stands in no part of the plan"
    assert set(own_parts(file)) <= {part(file), *MAY_IMPORT[part(file)]}


@pytest.mark.parametrize("file", [file for file in TREES if part(file) == "core"])
def test_core_imports_torch_only(file):
    """The physics must be readable with torch and nothing else."""
    heads = {module.split(".")[0] for module in imports(file)}
    assert heads - set(sys.stdlib_module_names) <= {"torch", "altprop"}


@pytest.mark.parametrize("file", [file for file in TREES if part(file) == "rules" and not file.endswith("__init__.py")])
def test_no_rule_imports_another(file):
    """A rule, or the folder of a family that shares its equation, is deleted by rm and one line."""
    family = f"altprop.{'.'.join(Path(file).parts[:-1])}." if file.count("/") > 1 else "altprop.rules only"
    others = [module for module in imports(file) if module.startswith("altprop.rules")]
    assert not [module for module in others if not f"{module}.".startswith(family)]


@pytest.mark.parametrize("file", [file for file in TREES if file.startswith(("run/", "study/", "reports/", "panels/"))])
def test_no_rule_is_known_by_name_where_runs_are_made(file):
    """A new rule needs no line there: what it differs in, it says of itself."""
    words = {node.value for node in ast.walk(TREES[file]) if isinstance(node, ast.Constant)}
    assert not words & set(RULES)


@by_file
def test_files_and_functions_are_short(file):
    """300 lines a file, 60 a function."""
    assert lines(file) <= 300
    assert [f.name for f in functions(TREES[file]) if length(f) > 60] == []


def code_lines(file):
    """Lines that are neither blank, nor a comment, nor in a docstring."""
    prose = set()
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            prose |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    text = (HOUSE / file).read_text().splitlines()
    return sum(bool(line.strip()) and line.strip()[0] != "#" and n not in prose for n, line in enumerate(text, 1))


def test_core_can_be_read_before_coffee():
    """700 lines of code in all: prose, blank lines and the index of names apart."""
    files = [file for file in TREES if part(file) == "core" and not file.endswith("__init__.py")]
    assert sum(code_lines(file) for file in files) <= 700


@pytest.mark.parametrize("file", [file for file in TREES if part(file) == "rules"])
def test_rules_are_short(file):
    """120 lines a rule, of which credit has at most 25."""
    credits = [f for f in functions(TREES[file]) if f.name == "credit"]
    assert not credits or lines(file) <= 120
    assert [f.name for f in credits if length(f) > 25] == []


@pytest.mark.parametrize("file", DOCUMENTED)
def test_every_public_name_has_a_docstring(file):
    """In core, rules, searches and tasks: modules, their classes and their functions."""
    tree = TREES[file]
    bare = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ):
            bare.append(node.name)
    assert bare == []


@by_file
def test_no_bare_except(file):
    """It would swallow a keyboard interrupt and every bug."""
    handlers = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.ExceptHandler)]
    assert all(handler.type is not None for handler in handlers)


@pytest.mark.parametrize("file", [file for file in TREES if part(file) == "searches"])
def test_no_search_imports_another(file):
    """A search is deleted by rm and one line; what several share is a file of functions, or their abstract family."""
    homes = {search.__module__ for search in SEARCHES.values()}
    assert file.endswith("__init__.py") or not homes & set(imports(file))


def test_the_registry_of_searches_is_a_literal():
    """One line a search, as of the rules; no search outside of it."""
    (value,) = [n.value for n in TREES["searches/__init__.py"].body if isinstance(n, ast.AnnAssign)]
    assert {k.value: v.id for k, v in zip(value.keys, value.values, strict=True)} == {
        k: search.__name__ for k, search in SEARCHES.items()
    }
    waiting, written = [Search], set()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind) and kind.__module__.startswith("altprop."):
            written.add(kind.__name__)
    assert written == {search.__name__ for search in SEARCHES.values()}


def test_the_registry_is_a_literal():
    """One line a rule, readable without running it; no rule outside of it."""
    (value,) = [
        n.value for n in TREES["rules/__init__.py"].body if isinstance(n, ast.AnnAssign) and n.target.id == "RULES"
    ]
    assert isinstance(value, ast.Dict)
    assert {k.value: v.id for k, v in zip(value.keys, value.values, strict=True)} == {
        k: r.__name__ for k, r in RULES.items()
    }
    written, waiting = set(), [Rule]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind) and kind.__module__.startswith("altprop."):
            written.add(kind.__name__)
    assert written - {"Aligned"} == {rule.__name__ for rule in RULES.values()}  # which runs some of them on any graph


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_where_it_comes_from(name):
    """A BibTeX key, and a prose head with equations, reference, deviations and what it is confused with."""
    rule = RULES[name]
    assert issubclass(rule, Rule) and re.fullmatch(r"[a-z]+\d{4}[a-z]?", rule.reference)
    head = sys.modules[rule.__module__].__doc__
    for section in (r"delta_|\.grad \+=", "References?:", "Deviations from the papers?:", "Easily confused with:"):
        assert re.search(section, head), section
    assert rule.reference[-4:] in head and rule.reference in REFERENCES


def test_deviations_stand_with_their_rule():
    """``explain`` prints the module of a rule: what only a helper of its family says, no reader of it sees."""
    homes = {rule.__module__ for rule in RULES.values()}
    for file in (file for file in TREES if part(file) == "rules" and "rules/graph/" not in file):
        said = "Deviations" in (ast.get_docstring(TREES[file]) or "")
        assert said == (f"altprop.{file.removesuffix('.py').replace('/', '.')}" in homes), file


def test_public_names_exist():
    """__all__ lists what is there, once."""
    for module in (altprop, altprop.core, altprop.rules, altprop.searches, altprop.tasks):
        assert len(set(module.__all__)) == len(module.__all__) and all(hasattr(module, name) for name in module.__all__)
