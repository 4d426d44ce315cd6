"""What the tests of the papers' tables share: a recipes folder of one's own, and result files made up."""

import json

from altprop.study.papers import rows
from altprop.study.reproduce import Places

ENVIRONMENT = {"altprop": "0", "torch": "2", "python": "3", "cpu": "abacus", "cores": 1, "threads": 1, "device": "cpu"}


def places(folder, recipes=None, **others):
    """Places below ``folder``, with ``recipes`` {"paper/table": TOML} or those of the repository."""
    for name, text in (recipes or {}).items():
        path = folder / "recipes" / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    given = {"recipes": folder / "recipes"} if recipes else {}
    return Places(results=folder / "results", runs=folder / "runs", **given, **others)


def row(where, id):
    (found,) = rows([id], where.recipes)
    return found


def pretend(where, id, curves, **changes):
    """A result file for each curve of test accuracy, in fractions, seeds from 0."""
    for seed, curve in enumerate(curves):
        path = row(where, id).result_path(seed, where.results)
        path.parent.mkdir(parents=True, exist_ok=True)
        run = {"recipe_hash": row(where, id).hash, "seed": seed, "seconds": 60.0, "classes": 10}
        path.write_text(json.dumps({**run, "test_accuracy": curve, "environment": ENVIRONMENT, **changes}))
