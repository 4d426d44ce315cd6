"""One thread a process: several run side by side, and threads that wait for each other cost more than they give.

``--rules file.py``: rules from outside, which every suite over the registry then takes beside the package's own."""

import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--rules", action="append", default=[], help="a file of rules to test beside the package's")


def pytest_configure(config):
    from altprop import RULES, Rule

    for path in config.getoption("--rules"):
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == spec.name]
        RULES.update({kind.__name__.lower(): kind for kind in kinds if issubclass(kind, Rule)})


@pytest.fixture
def registry_kept():
    """Each test begins and ends with the rules of the package alone."""
    from altprop.registry import RULES, discover, import_rules

    before = dict(RULES)
    yield
    for cached in (discover, import_rules):
        cached.cache_clear()
    RULES.clear()
    RULES.update(before)
