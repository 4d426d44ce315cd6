"""The papers' tables: every row is a recipe that builds, and a verdict says what the finished runs say."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from reproduce_helpers import places, pretend, row
from run_helpers import run_cli
from scipy import stats

from altprop.data import DATASETS, Dataset
from altprop.evolution.build import prepare
from altprop.evolution.recipe import SearchRecipe
from altprop.run import build, inputs
from altprop.run.directory.files import read_toml
from altprop.run.head import take
from altprop.run.recipe import RunError
from altprop.study import papers
from altprop.study.papers import RECIPES, RESULTS, rows, status
from altprop.study.reproduce import missing

ROWS = rows()
WITH_RECIPE = [each for each in ROWS if each.recipe]
TABLE1 = [f"{net}-{data}" for net in ("fc", "conv") for data in ("mnist", "cifar10", "cifar100")]
HEAVY = {"100x240", "conv64", "conv128", "resnet56"}  # too large to build in a moment
MINI = """
title = "Two rows that share a base"
published_runs = 4
[base.digits]
data = "digits"
net = "64-8-10"
lr = 0.05
minutes = 6
[row]
a = { base = "digits", rule = "bp", published = 97.0, published_std = 0.5 }
b = { base = "digits", rule = "pepita", arguments = { sign = -1 }, note = "as the code has it" }
"""


def sample():
    """One row of each table, rule, arguments and kind of net."""
    kinds = {}
    for each in WITH_RECIPE:
        recipe = each.recipe
        if isinstance(recipe, SearchRecipe):
            continue
        shape = (recipe.net[:5], recipe.freeze, recipe.whiten, recipe.augment, recipe.optimizer)
        if not any(word in each.id + recipe.net for word in HEAVY):
            kinds.setdefault((each.table, recipe.rule, str(recipe.arguments), shape), each)
    return list(kinds.values())


def stand_in(name, **options):
    """Four samples of noise in the shape of a published data set."""
    entry, generator = DATASETS[name], torch.Generator().manual_seed(0)
    x, y = torch.rand(4, *entry.shape, generator=generator), torch.arange(4)
    return Dataset(name, x, y, x, y, tuple(map(str, range(entry.outputs))))


def searched():
    """One row of each search and its settings."""
    found = {(row.table, str(row.recipe.arguments)): row for row in WITH_RECIPE if isinstance(row.recipe, SearchRecipe)}
    return list(found.values())


@pytest.mark.parametrize("each", searched(), ids=lambda each: each.id)
def test_a_recipe_of_a_search_builds(each):
    """And its individuals answer what the task asks."""
    if "-v" in str(each.recipe.task):
        pytest.importorskip("gymnasium")
    evolving = prepare(each.recipe)
    x = torch.zeros(2, *evolving.task.inputs)
    assert evolving.search.ask()(x).shape[1:] == (2, evolving.task.outputs)


@pytest.mark.parametrize("each", sample(), ids=lambda each: each.id)
def test_a_recipe_builds_and_learns_from_a_batch(each, monkeypatch):
    """A key, net or argument that the rule or the data refuse would show only after hours in the queue."""
    monkeypatch.setattr(inputs, "load", stand_in)
    built = build.prepare(each.recipe)
    before = [p.detach().clone() for p in built.net.parameters()]
    for index in range(min(len(built.turns), 8)):  # rounds in turns come by the hundred, all alike
        at = take(built, index)
        at.enter(0)
        x = at.data.x_train.to(built.data.x_train.dtype)  # of features, which may be kept in half the bits
        assert np.isfinite(at.solve() or 0 if at.solve else at.step(x, at.data.y_train))
    assert any(not torch.equal(p, old) for p, old in zip(built.net.parameters(), before, strict=True))


def test_ids_of_table_1():
    """A renamed row would leave the ids that others ask for."""
    wanted = {f"pepita/table1/{cell}-{rule}" for cell in TABLE1 for rule in ("bp", "fa", "drtp", "pepita")}
    assert {each.id for each in ROWS if each.id.startswith("pepita/table1/")} == wanted


def test_every_row_names_what_a_reader_needs():
    """Two rows of one id, a row without net, a deviation without a mean, a folder without its README."""
    assert len({each.id for each in ROWS}) == len(ROWS)
    for each in ROWS:
        searched = isinstance(each.recipe, SearchRecipe) and (each.recipe.task or each.recipe.data)
        assert searched or (each.recipe.net if each.recipe else each.method and each.published), each.id
        assert each.minutes >= 0 and each.needs in (("cpu", "gpu") if each.recipe else ("recipe",)), each.id
        assert each.published_std is None or each.published is not None, each.id
    for paper in {each.paper for each in ROWS}:
        assert f"altprop reproduce {paper}" in (RECIPES / paper / "README.md").read_text()


def test_rows_are_found_by_paper_table_and_row(tmp_path):
    """A prefix of a name that takes its neighbours along."""
    where = places(
        tmp_path, {"p/t": MINI, "p/t2": '[row]\naa = { net = "64-10" }', "pp/t": '[row]\na = { net = "64-10" }'}
    )
    find = lambda *targets: [each.id for each in rows(targets, where.recipes)]  # noqa: E731
    assert find("p/t") == find("p/t/") == ["p/t/a", "p/t/b"] and find("p/t/a") == ["p/t/a"]
    assert find("p/t2", "pp") == ["p/t2/aa", "pp/t/a"] and len(find()) == 4
    with pytest.raises(RunError, match="no recipe for 'p/t/aa'"):
        find("p/t/aa")


def test_status_is_one_object_in_percent(tmp_path, capsys):
    """A key that is gone, a fraction where percent are expected, or something that is not JSON."""
    where = places(tmp_path)
    pretend(where, "pepita/table1/fc-mnist-bp", [[0.9, 0.95, 0.98], [0.9, 0.95, 0.99]])
    answer = run_cli(capsys, "reproduce", "pepita", "--status", "--json", "--results", where.results).json
    found = {each["id"]: each for each in answer["rows"]}
    assert set(found) == {each.id for each in ROWS if each.paper == "pepita"}
    for each in found.values():
        assert all(type(each[key]) is str for key in ("id", "paper", "table", "rule", "data", "net", "verdict"))
        assert all(isinstance(each[key], float | None) for key in ("published", "published_std", "mean", "std"))
        assert type(each["n"]) is int
    one = found["pepita/table1/fc-mnist-bp"]
    assert (one["paper"], one["table"], one["rule"], one["n"]) == ("pepita", "table1", "bp", 2)
    assert one["mean"] == pytest.approx(98.5) and one["std"] == pytest.approx(0.5**0.5)
    assert one["published"] == 98.63 and one["verdict"] == "consistent"  # two seeds, a wide interval
    other = found["pepita/table1/fc-mnist-fa"]
    assert (other["mean"], other["std"], other["n"], other["verdict"]) == (None, None, 0, "not run")


def test_hash_knows_what_decides_the_numbers_and_nothing_else(tmp_path):
    """A hash that moved with the seed would run everything anew; one blind to lr would count another experiment."""
    base = 'net = "64-10", rule = "pepita", lr = 0.1'
    same = ["seed = 3", 'device = "cuda"', "threads = 4", 'data_dir = "elsewhere"', "measure = false", "momentum = 0.9",
            "val = 0.0", 'data = "digits"', "minutes = 9", "published = 3.0", 'needs = "gpu"']  # fmt: skip
    other = ["epochs = 3", "momentum = 0.8", "arguments = { sign = -1 }", "dropout = 0.1", "bias = false", "val = 0.1",
             'data = "mnist"', 'init = "torch"', "batch = 32", 'schedule = "linear"', 'act = "tanh"', 'loss = "mse"',
             "weight_decay = 0.1", "freeze = 1", 'whiten = "pca"', "stream = true", "nesterov = true"]  # fmt: skip
    changed = ['net = "64-9-10", rule = "pepita", lr = 0.1', 'net = "64-10", rule = "bp", lr = 0.1',
               'net = "64-10", rule = "pepita", lr = 0.2']  # fmt: skip
    lines = [base, *(f"{base}, {more}" for more in same + other), *changed]
    text = "[row]\n" + "".join(f"r{k} = {{ {line} }}\n" for k, line in enumerate(lines))
    hashes = [each.hash for each in rows((), places(tmp_path, {"p/t": text}).recipes)]
    assert set(hashes[: len(same) + 1]) == {hashes[0]}
    assert len(set(hashes[len(same) :])) == 1 + len(other) + len(changed)


def test_a_result_of_another_recipe_is_not_counted(tmp_path):
    """A rate that was changed since: the old run must be made anew, not be shown as the new one."""
    where = places(tmp_path, {"p/t": MINI})
    pretend(where, "p/t/a", [[0.97], [0.98]])
    (tmp_path / "recipes" / "p" / "t.toml").write_text(MINI.replace("lr = 0.05", "lr = 0.06"))
    assert status(row(where, "p/t/a"), where.results)["n"] == 0
    assert [job.seed for job in missing(["p/t/a"], 2, where)] == [0, 1]


def test_slowness_is_fitted_to_the_runs_of_table_1(tmp_path):
    """A slowness of the wrong runs, without chance at epoch 0, or of more than 60 epochs."""
    where = places(tmp_path)
    x = np.arange(61)
    y = np.append(0.5 * x / (2 + x), [0.9] * 40)
    y[0] = 0.1  # the chance of ten classes
    pretend(where, "pepita/table1/fc-cifar10-bp", [y[1:].tolist()])
    slow = row(where, "pepita/slowness/fc-cifar10-bp")
    grid = np.linspace(0.01, 4, 40001)[:, None]
    fit = y[:61].max() * x / (grid + x)
    best = float(grid[((fit - y[:61]) ** 2).sum(1).argmin(), 0])
    found = status(slow, where.results)
    assert found["n"] == 1 and found["rule"] == "bp" and found["net"] == "3072-1024-10"
    assert found["mean"] == pytest.approx(best, abs=2e-4)
    assert found["verdict"] == "above" and found["published"] == 0.659
    for each in ROWS:
        if each.table == "slowness":
            assert each.runs_of == each.id.replace("slowness", "table1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('c = { runs_of = "p/t/z" }', ("p/t/z", "there is p/t/a")),
        ('c = { runs_of = "p/t/d" }\nd = { runs_of = "p/t/a" }', ("p/t/d", "none of its own")),
        ('c = { rule = "bp", quantity = "slownes" }', ("slownes", "did you mean 'slowness'")),
        ('c = { rule = "pepitta" }', ("pepitta", "did you mean 'pepita'", "t.toml")),
        ('c = { base = "digit" }', ("t.toml", "digit")),
    ],
)
def test_a_wrong_table_says_where(tmp_path, line, words):
    """A typo in a recipe that would show as a traceback, or as a run of something else."""
    where = places(tmp_path, {"p/t": MINI + line})
    with pytest.raises(RunError) as refused:
        rows((), where.recipes)
    assert all(word in str(refused.value) for word in words), refused.value


def test_page_of_results_says_what_the_files_say(tmp_path):
    """A number under the wrong row, a row left out, a machine or a note forgotten, an order that changes."""
    page = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generate.py"))["published"]
    where = places(tmp_path, {"p/t": MINI, "p/s": '[row]\nc = { net = "64-10", runs_of = "p/t/b" }'})
    pretend(where, "p/t/a", [[0.97], [0.98]])
    text = page(where.recipes, where.results)
    assert text == page(where.recipes, where.results)
    half = np.hypot(stats.t(1).isf(0.025) * 0.5, 1.96 * 0.5 / 2)
    assert (
        f"| a | bp | 97.00 ± 0.50 | 97.50 ± 0.71 (2) | +0.50 [{0.5 - half:+.2f}, {0.5 + half:+.2f}] | consistent |"
        in text
    )
    assert "| b | pepita | - | - | - | not run |" in text and "| c | pepita | - | - | - | not run |" in text
    assert "- b: as the code has it" in text and "- 2 runs: abacus, 1 thread, cpu; torch 2" in text
    assert text.index("## p/s") < text.index("## p/t") and "3 rows have a recipe, 1 of them a run" in text


def test_accuracy_by_depth_is_that_of_the_rows(tmp_path):
    """A row's accuracy at another depth, under another rule, or an epoch that was not the last."""
    module = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generate.py"))
    net = '{ rule = "bp", net = "64-10", data = "digits" }'
    table = f"[row]\nbp-1 = {net}\nbp-2 = {net[:-1]}, lr = 0.5 }}\nhard_wta-1 = {net[:-1]}, lr = 0.25 }}"
    where = places(tmp_path, {"softhebb/cifar10": table})
    pretend(where, "softhebb/cifar10/bp-1", [[0.1, 0.5], [0.1, 0.6]])
    pretend(where, "softhebb/cifar10/bp-2", [[0.25]])
    pretend(where, "softhebb/cifar10/hard_wta-1", [[0.75]])
    curves = module["depth_curves"](where.recipes, where.results)
    assert curves == {"bp": [{1: 50.0, 2: 25.0}, {1: 60.0}], "hard_wta": [{1: 75.0}]}
    assert "](depth.svg)" in module["published"](where.recipes, where.results)


def test_page_of_precision_says_what_two_comparisons_say(tmp_path):
    """A difference of the wrong sign or scale, a scatter that is not told, a rule that failed in one of them, and two
    that differ in more."""
    module = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generate.py"))
    reached = {
        "f": {"bp": [0.97, 0.98], "drtp": [0.95, 0.96], "kp": [0.9, 0.94], "fa": [0.9, 0.9]},
        "b": {"bp": [0.9712, 0.9814], "drtp": [0.9402, 0.9498], "kp": [0.93, 0.93], "fa": [], "es": [0.5, 0.5]},
    }
    for name, rules in reached.items():
        rows = []
        for rule, seeds in rules.items():
            mean, std = (np.mean(seeds), np.std(seeds, ddof=1)) if seeds else (None, None)
            rows.append({"rule": rule, "n": len(seeds), "test_accuracy_mean": mean, "test_accuracy_std": std})
            for seed, accuracy in zip((4, 5), seeds, strict=False):
                (run := tmp_path / name / f"{rule}-seed{seed}").mkdir(parents=True)
                (run / "recipe.toml").write_text("val = 0.2\n" + 'precision = "bf16"\n' * (name == "b"))
                (run / "environment.json").write_text(json.dumps({"cpu": "abacus", "threads": 1, "torch": "2"}))
                lines = [{"epoch": 1, "test_accuracy": 0.1}, {"epoch": 2, "test_accuracy": accuracy}]
                (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        told = {"data": "digits.npz", "net": "64-10", "epochs": 2, "seeds": [4, 5], "reference": "bp", "rows": rows}
        (tmp_path / name / "comparison.json").write_text(json.dumps(told))
    module["record_precision"]([tmp_path / "f", tmp_path / "b"], tmp_path)
    text = module["precision"](tmp_path)
    interval = stats.ttest_1samp([-0.98, -1.02], 0).confidence_interval()
    assert f"| drtp | 95.50 ± 0.71 | 94.50 ± 0.68 | -1.00 [{interval.low:+.2f}, {interval.high:+.2f}] |\n" in text
    assert "| bp | 97.50 ± 0.71 | 97.63 ± 0.72 | +0.13 [" in text and "| kp | 92.00 ± 2.83 | 93.00 ± 0.00 |" in text
    assert "| fa | 90.00 ± 0.00 | - | - |\n" in text
    assert "2 of 3 rules lie within 0.5 points of their float32, or within the scatter of their seeds" in text
    assert "; beyond: drtp -1.00." in text
    assert "Epochs 2 of 80 % of the training part, seeds 4, 5; abacus, 1 thread" in text
    with pytest.raises(SystemExit, match="are no comparisons by float32 and by bf16 of the same recipe"):
        module["record_precision"]([tmp_path / "b", tmp_path / "f"], tmp_path)


def test_a_result_in_the_repository_is_small_and_whole():
    """A run that somebody cannot judge: without its recipe, machine or curve, or as large as a checkpoint."""
    for path in sorted(Path(__file__).parents[2].glob("results/*/*/*/seed*.json")):
        run = json.loads(path.read_text())
        assert path.stat().st_size < 50_000 and f"seed{run['seed']}" == path.stem
        curve = "best" if "search" in run["recipe"] else "loss"
        assert {"recipe", "recipe_hash", "seconds", "environment", "test_accuracy", curve} <= run.keys(), path
        assert {"torch", "altprop", "cpu", "threads", "device"} <= run["environment"].keys(), path


def test_a_published_number_without_a_recipe(tmp_path):
    """A comparison that left out what is not here yet would flatter what is; and nothing must try to run it."""
    table = '[row]\na = { method = "Burstprop", published = 79.9 }\nb = { rule = "bp", net = "64-10", data = "digits" }'
    where = places(tmp_path, {"p/t": table})
    a, b = rows((), where.recipes)
    assert a.recipe is None and [job.row.id for job in missing((), 1, where)] == ["p/t/b"]
    said = status(a, where.results)
    assert (said["rule"], said["published"], said["verdict"], said["needs"]) == (
        "Burstprop", 79.9, "not run", "recipe",
    )  # fmt: skip
    assert a.hash != b.hash
    both = '[row]\na = { method = "Burstprop", rule = "bp", published = 79.9 }'
    with pytest.raises(RunError, match=r"method names what has no recipe, but rule came"):
        rows((), places(tmp_path / "both", {"p/t": both}).recipes)


def test_results_of_former_spellings_are_still_theirs():
    """A row whose recipe is spelled otherwise now would be run again, at the cost of hours."""
    files = RESULTS.glob("*/*/*/seed*.json")
    old = [path for path in files if "rates" in json.loads(path.read_text())["recipe"]]
    owners = {each.id: each for each in rows()}
    for path in old:
        owner = owners[str(path.parent.relative_to(RESULTS))]
        assert owner.results(RESULTS)[int(path.stem.removeprefix("seed"))]["recipe_hash"] != owner.hash
    assert old


def test_an_installed_package_reads_what_it_carries(tmp_path, monkeypatch):
    """The wheel's results count beside one's own in ./results, where new ones go; another folder stands for itself."""
    carried, own = places(tmp_path / "wheel"), places(tmp_path / "here")
    id = "pepita/table1/fc-mnist-pepita"
    pretend(carried, id, [[0.5], [0.6]])
    pretend(own, id, [[0.7]])
    found = row(own, id)
    monkeypatch.setattr(papers, "CARRIED", carried.results)
    monkeypatch.setattr(papers, "RESULTS", own.results)
    runs = found.results(own.results)
    assert {seed: run["test_accuracy"] for seed, run in runs.items()} == {0: [0.7], 1: [0.6]}
    assert found.results(tmp_path / "elsewhere") == {}


def test_the_wheel_carries_recipes_and_results():
    """What pyproject.toml puts into it is what the package looks for in it."""
    given = read_toml(RECIPES.parent / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]
    assert given["wheel"]["force-include"] == {"recipes": "altprop/recipes", "results": "altprop/results"}
    assert {"recipes", "results"} <= set(given["sdist"]["include"]) and papers.CARRIED == papers.RESULTS
