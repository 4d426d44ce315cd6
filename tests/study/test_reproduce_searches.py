"""A paper's table of searches: what is run, kept and told of it, against the runs themselves."""

import json

import pytest

import altprop
from altprop.evolution.experiment import evaluate_search
from altprop.study.papers import rows, status
from altprop.study.reproduce import Places, missing, reproduce

TABLE = """
title = "toys"

[base.ga]
search = "ga"
task = "onemax"
task_arguments = { n = 12 }
generations = 20
arguments = { size = 10 }

[row]
few = { base = "ga", quantity = "evaluations", published = 100 }
few-solved = { base = "ga", runs_of = "toys/bits/few", quantity = "solved", published = 100 }
short = { base = "ga", generations = 1, quantity = "solved", published = 0 }

[row.data]
search = "ga"
data = "digits"
net = "64-4-10"
arguments = { size = 4 }
generations = 2
batch = 50
quantity = "fitness"
"""


@pytest.fixture
def places(tmp_path):
    (tmp_path / "recipes" / "toys").mkdir(parents=True)
    (tmp_path / "recipes" / "toys" / "bits.toml").write_text(TABLE)
    return Places(tmp_path / "results", tmp_path / "runs", recipes=tmp_path / "recipes")


def test_rows_are_run_once_and_told_by_their_quantities(places):
    said = []
    assert len(missing([], 2, places)) == 6  # a row that reads another's has no runs of its own
    told = {row["id"].rpartition("/")[2]: row for row in reproduce([], seeds=2, places=places, tell=said.append)}
    own = [
        altprop.evolve("ga", "onemax", task_arguments={"n": 12}, generations=20, arguments={"size": 10}, seed=s)
        for s in (0, 1)
    ]
    assert told["few"]["mean"] == pytest.approx(sum(run.metrics[-1]["evaluations"] for run in own) / 2)
    assert told["few-solved"]["mean"] == 50.0 * sum(run.fitness == 12 for run in own)
    assert (told["short"]["mean"], told["short"]["verdict"]) == (0.0, "reproduced")
    assert any("solved after" in line for line in said) and any(
        "not solved after 10 evaluations" in line for line in said
    )
    assert not missing([], 2, places)


def test_champion_is_asked_anew_for_its_fitness(places):
    reproduce(["toys/bits/data"], seeds=1, places=places, tell=lambda line: None)
    (file,) = places.results.rglob("seed0.json")
    kept = json.loads(file.read_text())
    (run,) = (path.parent for path in places.runs.rglob("task.json"))
    assert kept["fitness"] == pytest.approx(evaluate_search(run)["fitness"])
    assert kept["fitness"] != altprop.load(run).fitness and len(kept["test_accuracy"]) == 2
    (row,) = rows(["toys/bits/data"], places.recipes)
    assert status(row, places.results)["mean"] == pytest.approx(kept["fitness"])
