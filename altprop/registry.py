"""Rules from outside: by ``register``, by the entry points of an installed package, or from a file (``--import``)."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import warnings
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from altprop.core import Refused, Rule, RuleWarning
from altprop.limits import shorten, shown
from altprop.rules import RULES

GROUP = "altprop.rules"  # of entry points: mine = "package.module:MyRule"
NAME = re.compile(r"[a-z][a-z0-9_]*")
IMPORTED = "imported_"  # begins the names of modules that come from files
SAYS = ("family", "claims", "reference")  # of itself, as attributes of the class


def register(rule: type[Rule], name: str) -> type[Rule]:
    """Make ``rule`` known as ``name`` to ``fit``, recipes and the command line, in this process; returns it.

    Raises ``Refused`` for what is no rule that could run, and for a name that another rule has; the same rule may come
    again, and so may its new definition, as of a notebook's cell that is run twice."""
    if not (inspect.isclass(rule) and issubclass(rule, Rule)):
        raise Refused(f"register({shown(rule)}, ...) came: give a class that inherits from altprop.Rule")
    kind = shorten(rule.__name__, 60)
    if inspect.isabstract(rule):
        missing = ", ".join(sorted(rule.__abstractmethods__))
        raise Refused(f"{kind} is abstract: write its {shorten(missing, 100)}, or register a class that has all of it")
    unsaid = [key for key in SAYS if not hasattr(rule, key)]
    if unsaid:
        raise Refused(f"{kind} does not say its {', '.join(unsaid)}: set each as an attribute of the class")
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise Refused(f"{shown(name)} came as the name of {kind}: give small letters, digits and _, such as 'my_rule'")
    known = RULES.get(name, rule)
    if (known.__module__, known.__qualname__) != (rule.__module__, rule.__qualname__):
        what = f"the name '{shorten(name, 60)}' came for {kind}, but {known.__module__}.{known.__qualname__} has it"
        raise Refused(f"{what}: give another name")
    RULES[name] = rule
    return rule


@cache
def discover() -> None:
    """Register the rules of installed packages, once; one that cannot be had is told in one line, and left out."""
    for entry in entry_points(group=GROUP):
        try:
            register(entry.load(), entry.name)
        except Exception as error:  # whatever a package of others may raise
            what = f"rule '{entry.name}' of {entry.value} cannot be had ({_said(error)})"
            warnings.warn(f"{what}: mend or uninstall its package", RuleWarning, stacklevel=2)


def is_known(name: str) -> bool:
    """Whether there is a rule of that name, in the packages that are installed too."""
    if name not in RULES:
        discover()
    return name in RULES


@cache
def import_rules(path: Path) -> None:
    """Run a file, once, and register its concrete rules by their class's name in small letters, unless the file itself
    has registered them by another.  Raises ``Refused``."""
    module = IMPORTED + re.sub(r"\W", "_", str(path.resolve()))  # by which pickle and explain find it
    spec = importlib.util.spec_from_file_location(module, path) if path.suffix == ".py" else None
    if spec is None or spec.loader is None or not path.is_file():
        raise Refused(f"--import {shorten(path, 120)} came: give a file of Python, .py, that defines rules")
    before, sys.modules[module] = len(RULES), importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[module])
    except Exception as error:  # whatever the file may raise
        del sys.modules[module]
        raise Refused(f"--import {shorten(path, 100)} failed ({_said(error)}): mend the file") from error
    for kind in list(vars(sys.modules[module]).values()):
        if _is_rule_of(kind, module) and kind not in RULES.values():
            register(kind, kind.__name__.lower())
    if len(RULES) == before:
        raise Refused(f"--import {shorten(path, 120)} brought no rule: give a file with a subclass of altprop.Rule")


def imported() -> list[Path]:
    """The files that registered rules come from, for a process that begins without them."""
    modules = dict.fromkeys(kind.__module__ for kind in RULES.values() if kind.__module__.startswith(IMPORTED))
    return [Path(str(sys.modules[module].__file__)) for module in modules]


def _is_rule_of(kind: object, module: str) -> bool:
    own = inspect.isclass(kind) and issubclass(kind, Rule) and kind.__module__ == module
    return own and not inspect.isabstract(kind)


def _said(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}", 100)
