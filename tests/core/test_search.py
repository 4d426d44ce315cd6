"""A toy search through the seam: a random hill climber on a parabola of two variables.  The oracle is its top."""

from collections.abc import Mapping
from typing import get_type_hints

import pytest
import torch

from altprop.core import Search, SearchClaims
from altprop.run.trainee import Trainee
from altprop.tasks import Task

TOP = torch.tensor([1.5, -0.5])


class Points:
    """P points (P, C), each of which answers itself whatever it is asked."""

    def __init__(self, points):
        self.points = points

    def __len__(self):
        return len(self.points)

    def __call__(self, x):
        return self.points[:, None].expand(-1, x.shape[-2], -1)

    def reset(self):
        pass


class Climber(Search):
    """Random hill climbing (an example): the best so far, and P - 1 others around it."""

    claims = SearchClaims(genome="vector")

    def __init__(self, seed, size=8):
        self.generator, self.size = torch.Generator().manual_seed(seed), size
        self.point, self.reached, self.asked = torch.zeros(2), torch.tensor(-torch.inf), None

    def ask(self):
        steps = torch.randn(self.size - 1, 2, generator=self.generator) * 0.3
        self.asked = torch.cat([self.point[None], self.point + steps])
        return Points(self.asked)

    def tell(self, fitness):
        if fitness.max() > self.reached:
            self.point, self.reached = self.asked[fitness.argmax()], fitness.max()

    def best(self):
        return self.point

    def state_dict(self):
        return {"point": self.point, "reached": self.reached, "drawn": self.generator.get_state()}

    def load_state_dict(self, state):
        self.point, self.reached = state["point"], state["reached"]
        self.generator.set_state(state["drawn"])


class Parabola(Task):
    """Height of a point below a top in two dimensions."""

    inputs, outputs = (1,), 2

    def fitness(self, population, generator):
        answers = population(torch.rand(1, 1, generator=generator))[:, 0]  # (P, 2)
        return -(answers - TOP).square().sum(1)


class Climb:
    """A learner of a search, as the loop of a run would see it."""

    def __init__(self, search, task):
        self.search, self.task, self.order = search, task, torch.Generator().manual_seed(0)

    def step(self):
        fitness = self.task.fitness(self.search.ask(), self.order)
        self.search.tell(fitness)
        return -float(fitness.max())

    def row(self):
        return {"best": self.search.best().tolist()}

    def state(self):
        return {**self.search.state_dict(), "order": self.order.get_state()}

    def load(self, state):
        self.search.load_state_dict(state)
        self.order.set_state(state["order"])

    def __call__(self, x):
        return self.search.best().expand(len(x), -1)


def test_climber_finds_the_top():
    """By ask, tell and best alone; what it costs never rises."""
    learner = Climb(Climber(seed=0), Parabola())
    costs = [learner.step() for _ in range(200)]
    assert costs == sorted(costs, reverse=True) and costs[-1] < 1e-3
    torch.testing.assert_close(learner(torch.zeros(3, 1)), TOP.expand(3, 2), atol=0.05, rtol=0)


def test_population_is_one_callable():
    """(N, *in) for all, or (P, N, *in) for each its own, gives (P, N, C)."""
    population = Climber(seed=0, size=5).ask()
    assert len(population) == 5
    assert population(torch.rand(4, 1)).shape == population(torch.rand(5, 4, 1)).shape == (5, 4, 2)


def test_state_goes_on_to_the_bit():
    """What a search draws next is part of its state."""
    through, stopped = (Climb(Climber(seed=3), Parabola()) for _ in range(2))
    for _ in range(5):
        through.step(), stopped.step()
    resumed = Climb(Climber(seed=99), Parabola())
    resumed.load({key: value.clone() for key, value in stopped.state().items()})
    assert [resumed.step() for _ in range(5)] == [through.step() for _ in range(5)]
    assert torch.equal(resumed.search.best(), through.search.best())


def test_interfaces_cannot_be_made():
    """A search without tell, or a task without fitness, fails when it is made and not after a night."""

    class Deaf(Climber):
        tell = Search.tell

    with pytest.raises(TypeError, match="abstract"):
        Deaf(seed=0)
    with pytest.raises(TypeError, match="fitness"):
        Task()


def test_trainee_is_what_the_toy_has():
    """Every method of the protocol, by name."""
    wanted = {name for name in vars(Trainee) if not name.startswith("_")} | {"__call__"}
    assert wanted == {"step", "row", "state", "load", "__call__"} and all(hasattr(Climb, name) for name in wanted)
    assert get_type_hints(Trainee.load)["state"] == Mapping[str, torch.Tensor]
