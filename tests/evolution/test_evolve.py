"""A run of a search against the same search in a plain loop, and what it leaves."""

import json

import pytest
import torch
from run_helpers import CLASSES, same_bits, toy_file, toy_tensors
from torch import nn

import altprop
from altprop.evolution.champion import Alone
from altprop.evolution.evaluation import STREAM
from altprop.evolution.evolving import AGAIN
from altprop.limits import Problem
from altprop.reports.page import write_report
from altprop.searches import CMAES, GA, NEAT
from altprop.tasks import XOR, Sphere, Supervised, Task

SMALL = {"generations": 4, "seed": 2}


def timeless(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_vector_search_against_a_plain_loop():
    task, told = Sphere(3), []
    search = CMAES(task.origin(torch.Generator().manual_seed(2)), sigma=0.3, seed=2)
    for _ in range(4):
        search.tell(task.fitness(search.ask()))
        told.append(search.reached)
    run = altprop.evolve("cma_es", "sphere", task_arguments={"n": 3}, arguments={"sigma": 0.3}, **SMALL)
    assert [row["best"] for row in run.metrics] == told
    assert torch.equal(run.net(torch.ones(1, 1))[0], search.best())
    assert run.fitness == pytest.approx(-float(search.best().square().sum()), rel=1e-6)


def test_search_of_graphs_against_a_plain_loop():
    search = NEAT(2, 1, size=30, seed=2)
    for _ in range(4):
        search.tell(XOR().fitness(search.ask()))
    run = altprop.evolve("neat", "xor", arguments={"size": 30}, **SMALL)
    assert run.genome == search.best().to_json()
    x = torch.rand(5, 2)
    assert torch.equal(run.net(x), search.best().net()(x)) and torch.equal(run.model(x), run.net(x))


def test_data_against_a_plain_loop():
    """The batch of generation g is drawn by a generator of its own, the same for all individuals; who is fittest on it
    is asked again by ten draws, always the same, and the champion is who does best on those."""
    x, y = toy_tensors()
    net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, CLASSES))
    search, best = GA(net, example=x[:1], size=10, seed=2), (-torch.inf, None)
    task = Supervised(x, y, CLASSES, batch=4)
    for generation in range(4):
        f = task.fitness(population := search.ask(), torch.Generator().manual_seed(2 * 1_000_003 + generation + STREAM))
        fittest = search.genome.individual(population.genomes[f.argmax()])
        again = [
            -float(nn.functional.cross_entropy(fittest(x[rows]), y[rows]).detach())
            for rows in (torch.randperm(60, generator=torch.Generator().manual_seed(AGAIN + k))[:4] for k in range(10))
        ]
        best = max(best, (sum(again) / 10, fittest), key=lambda one: one[0])
        search.tell(f)
    data = {"train": (x, y), "test": (x, y)}
    run = altprop.evolve("ga", data=data, net=net, arguments={"size": 10}, batch=4, scale="none", **SMALL)
    assert run.fitness == pytest.approx(best[0], rel=1e-5)
    assert same_bits(run.net.state_dict(), best[1].state_dict())
    right = (best[1](x).argmax(1) == y).double().mean()
    assert run.metrics[-1]["test_accuracy"] == pytest.approx(float(right))
    assert [*run.model.predict(x[:3])] == [str(int(label)) for label in best[1](x[:3]).argmax(1)]


class Shifted(Sphere):
    """The luck of a generation is far larger than what sets its individuals apart."""

    solved = torch.inf

    def fitness(self, population, generator):
        return super().fitness(population) + 1000 * torch.randn((), generator=generator)


def test_luck_of_a_generation_chooses_no_champion():
    task, unlucky = Shifted(3), 0
    for seed in range(8):
        start = task.origin(torch.Generator().manual_seed(seed))
        search, fittest, told = GA(start, size=6, elite=0, power=2.0, seed=seed), [], []
        for generation in range(4):
            drawn = torch.Generator().manual_seed(seed * 1_000_003 + generation + STREAM)
            f = task.fitness(population := search.ask(), drawn)
            fittest.append(population.genomes[f.argmax()])
            told.append(float(f.max()))
            search.tell(f)
        run = altprop.evolve("ga", task, arguments={"size": 6, "elite": 0, "power": 2.0}, generations=4, seed=seed)
        best = min(range(4), key=lambda at: float(fittest[at].square().sum()))
        assert torch.equal(run.net.vector, fittest[best])
        unlucky += best > 0 and told[best] < min(told[:best])
    assert unlucky, "no champion had bad luck, so that nothing was shown"


@pytest.mark.parametrize(
    ("search", "asked"),
    [
        ("cma_es", {"task": "sphere"}),
        ("ga", {"task": "onemax"}),
        ("neat", {"task": "xor"}),
        ("mu_plus_lambda", {"task": "xor"}),
        ("gp", {"task": "symbolic_regression"}),
        ("hyperneat", {"task": "boxes", "task_arguments": {"n": 7}, "arguments": {"size": 10}}),
    ],
)
def test_what_is_left_is_read_back(search, asked, tmp_path):
    run = altprop.evolve(search, **asked, out=tmp_path / "run", **SMALL)
    loaded = altprop.load(tmp_path / "run")
    assert same_bits(loaded.net.state_dict(), run.net.state_dict()) and loaded.genome == run.genome
    assert loaded.metrics == run.metrics and loaded.recipe == run.recipe and loaded.fitness == run.fitness
    assert timeless(altprop.evolve(search, **asked, **SMALL).metrics) == timeless(run.metrics)
    page = write_report(tmp_path / "run").read_text()
    assert "best so far" in page and ("Picture: the net of the champion" in page) == (search in ("neat", "hyperneat"))


def test_champion_is_trained_on_by_a_rule(tmp_path):
    data = toy_file(tmp_path)
    run = altprop.evolve("ga", data=data, net="6-8-3", arguments={"size": 5}, out=tmp_path / "run", generations=1)
    result = altprop.fit("dfa", altprop.load(tmp_path / "run").net, data=data, epochs=20, batch=8)
    assert result.metrics[-1]["test_loss"] < 0.5 * run.metrics[-1]["test_loss"]


@pytest.mark.parametrize("search", ["ga", "neat"])
def test_champion_leaves_as_a_file(search, tmp_path):
    """torch's own reader runs it without altprop."""
    from altprop.export.bundle import export

    altprop.evolve(search, "xor", out=tmp_path / "run", **SMALL)
    program = torch.export.load(export(tmp_path / "run", "pt2")).module()
    x = torch.rand(3, 2)
    assert torch.allclose(program(x), altprop.load(tmp_path / "run").net(x), atol=1e-6)


def test_graphs_on_data_see_flat_samples():
    run = altprop.evolve("neat", data="digits", arguments={"size": 4}, generations=1)
    assert run.model(torch.rand(3, 1, 8, 8)).shape == (3, 10) and run.net(torch.rand(3, 64)).shape == (3, 10)


def test_task_that_is_solved_ends_the_run():
    run = altprop.evolve("ga", "onemax", task_arguments={"n": 10}, generations=100)
    assert run.fitness == 10 and len(run.metrics) < 100
    assert all(row["best"] < 10 for row in run.metrics[:-1])


class Told(Task):
    """What individuals are told of, and asked: the sum of their answers to noise of the generation."""

    inputs, outputs = (2,), 1

    def fitness(self, population, generator):
        population.reset()
        return population(torch.rand(4, 2, generator=generator)).mean((1, 2))

    def told(self, individual):
        return {"at zero": float(individual(torch.zeros(1, 2)).sum())}


def test_row_tells_the_spread_and_what_the_champion_does():
    told = []
    run = altprop.evolve("neat", Told(), arguments={"size": 9}, report=told.append, **SMALL)
    assert told == run.metrics and run.recipe.task == "custom"
    last = run.metrics[-1]
    assert last["told"]["at zero"] == pytest.approx(float(run.net(torch.zeros(1, 2)).sum().detach()))
    spread = last["fitness"]
    assert spread["lower"] <= spread["median"] <= spread["upper"] <= last["best"] and spread["std"] >= 0
    assert {"species", "genes", "hidden"} == last["watch"].keys() and last["evaluations"] == 4 * 9


def test_a_search_at_work_is_a_trainee():
    """All that the loop of a run may ask of whatever learns, by hand."""
    from altprop.evolution.build import prepare
    from altprop.evolution.recipe import make_search_recipe
    from altprop.run.trainee import Trainee

    recipe = make_search_recipe(search="ga", task="sphere", generations=3)
    one, other = prepare(recipe), prepare(recipe)
    trainees: list[Trainee] = [one, other]
    costs = [trainees[0].step() for _ in range(2)]
    assert costs[1] <= costs[0] and costs[1] == -trainees[0].row()["best"]
    trainees[1].load(trainees[0].state())
    assert trainees[0].step() == trainees[1].step()
    assert torch.equal(one(torch.ones(2, 1)), other(torch.ones(2, 1)))


def test_alone_takes_both_shapes():
    net = nn.Linear(3, 2)
    x = torch.rand(4, 3)
    assert torch.equal(Alone(net, 1)(x), Alone(net, 1)(x[None])) and Alone(net, 1)(x).shape == (1, 4, 2)


class Faulty(Sphere):
    """Raises for individuals whose first number is above 0, and says nan for those whose second one is."""

    def fitness(self, population, generator=None):
        x = population(torch.ones(1, 1))[:, 0]
        if (x[:, 0] > 0).any():
            raise ZeroDivisionError("above 0")
        return torch.where(x[:, 1] > 0, torch.nan, -x.square().sum(1))


@pytest.mark.filterwarnings("ignore::altprop.core.RuleWarning")
def test_fitness_that_fails_is_counted_and_ends_nothing():
    search = GA(torch.full((2,), -1.0), size=40, seed=0)
    population = search.ask()
    bad = ((population.genomes[:, 0] > 0) | (population.genomes[:, 1] > 0)).sum()
    task = Faulty(2)
    task.origin = lambda generator: torch.full((2,), -1.0)
    run = altprop.evolve("ga", task, arguments={"size": 40}, generations=1)
    assert 0 < run.metrics[0]["failed"] == int(bad) < 40 and run.fitness > -3
    assert run.search.failed == int(bad)


REFUSED = {
    "neither task nor data": (["neat"], {}, "neither task nor data came: give search 'neat' one of them"),
    "both": (["neat", "xor"], {"data": "digits"}, "task and data came together"),
    "unknown search": (["nea", "xor"], {}, "unknown search 'nea'; did you mean 'neat'?"),
    "unknown task": (["neat", "xo"], {}, "unknown task 'xo'; did you mean 'xor'?"),
    "unknown key": (["neat", "xor"], {"epochs": 3}, "a search has no recipe key 'epochs'"),
    "unknown argument": (["cma_es", "sphere"], {"arguments": {"sigm": 1}}, "no argument 'sigm'; did you mean 'sigma'?"),
    "kind of argument": (["cma_es", "sphere"], {"arguments": {"sigma": "a"}}, "argument sigma='a' of search 'cma_es'"),
    "argument of a task": (["cma_es", "sphere"], {"task_arguments": {"n": 1.5}}, "argument n=1.5 of task 'sphere'"),
    "setting of neat": (["neat", "xor"], {"arguments": {"add_nod": 1}}, "NEAT has no argument 'add_nod'"),
    "kind of setting": (["neat", "xor"], {"arguments": {"add_node": "x"}}, "add_node='x' came: give a number to NEAT"),
    "net for graphs": (["neat", "xor"], {"net": "2-3-1"}, "net came for search 'neat', which grows nets of its own"),
    "net for vectors": (["cma_es", "sphere"], {"net": "1-3-1"}, "net came for task 'sphere', which asks for vectors"),
    "bits": (["cma_es", "onemax"], {}, "CMAES was given bits"),
    "no generation": (["neat", "xor"], {"generations": 0}, "generations = 0 came"),
}


@pytest.mark.parametrize(("given", "settings", "said"), REFUSED.values(), ids=REFUSED)
def test_what_no_run_can_be_made_of_is_refused(given, settings, said, tmp_path):
    with pytest.raises(Problem, match=r".") as error:
        altprop.evolve(*given, out=tmp_path / "run", **settings)
    assert said in str(error.value) and len(str(error.value)) <= 290
    assert not (tmp_path / "run").exists()


def test_search_is_no_rule():
    with pytest.raises(Problem, match="'neat' is a search, no rule"):
        altprop.fit("neat")


def test_names_of_rules_and_searches_are_apart():
    """``altprop train NAME`` has to know which."""
    assert not altprop.RULES.keys() & altprop.SEARCHES.keys()


def test_recipe_is_read_back(tmp_path):
    from altprop.evolution.recipe import make_search_recipe, read_search_recipe

    recipe = make_search_recipe(
        search="neat", task="double_pole", task_arguments={"steps": 5}, arguments={"power": 1.0}, seed=3, parts=4
    )
    (tmp_path / "recipe.toml").write_text(recipe.toml())
    assert read_search_recipe(tmp_path / "recipe.toml") == recipe
    assert read_search_recipe(tmp_path / "recipe.toml", arguments={"spread": 2.0}).arguments == {
        "power": 1.0,
        "spread": 2.0,
    }


def test_champion_is_asked_anew(tmp_path):
    from altprop.evolution.experiment import FRESH, evaluate_search

    altprop.evolve("ga", data=toy_file(tmp_path), net="6-4-3", batch=20, out=tmp_path / "run", **SMALL)
    told = evaluate_search(tmp_path / "run", times=3)
    x, y = toy_tensors()
    net = altprop.load(tmp_path / "run").net
    task = Supervised(x, y, CLASSES, batch=20)
    fitness = [float(task.fitness(Alone(net, 1), torch.Generator().manual_seed(FRESH + k))) for k in range(3)]
    assert told["fitness"] == pytest.approx(sum(fitness) / 3, rel=1e-5)
    assert told["test_accuracy"] == altprop.load(tmp_path / "run").metrics[-1]["test_accuracy"]
    assert json.loads(json.dumps(told)) == told
