"""Environments of Gymnasium, against single ones that are played one after the other in a plain loop.

The claim of CartPole-v1, stated before it is run: NEAT with the paper's settings, 150 genomes, 3 episodes an evaluation
and at most 40 generations; solved is a champion of a generation whose mean return over 100 fresh episodes is 475."""

import copy
import pickle
import sys

import numpy as np
import pytest
import torch

from altprop import GA, NEAT, Refused
from altprop.tasks import TASKS, XOR, Gym, lanes, named

gymnasium = pytest.importorskip("gymnasium", reason="the extra [control] is not installed")
BUDGET = 40  # generations of 150 genomes
WIDTHS = {"CartPole-v1": (4, 2), "Acrobot-v1": (6, 3), "MountainCar-v0": (2, 3), "Pendulum-v1": (3, 1)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def seeds(count, seed=0):
    return torch.randint(2**31 - 1, (count,), generator=generator(seed)).tolist()


class Lines:
    """Individuals that answer a weighted sum of what they see; those whose weights are nan answer nan."""

    def __init__(self, weights):
        self.weights, self.asked, self.forgot = weights, [], 0  # (P, I, C)

    def __len__(self):
        return len(self.weights)

    def __call__(self, x):
        self.asked.append(x)
        return x @ self.weights

    def reset(self):
        self.forgot += 1


def lines(name, P=4, seed=1):
    return Lines(torch.randn(P, *WIDTHS[name], generator=generator(seed)))


def slow_return(name, weights, seed, see=lambda x: x):
    """One individual, one episode, one environment."""
    env = gymnasium.make(name)
    x, _ = env.reset(seed=seed)
    total, space = 0.0, env.action_space
    while True:
        y = torch.from_numpy(see(x)) @ weights
        if isinstance(space, gymnasium.spaces.Discrete):
            action = int(y.argmax())
        else:
            action = space.low + (np.tanh(y.double().numpy()) + 1) / 2 * (space.high - space.low)
            action = action.astype(np.float32)
        x, reward, terminated, truncated, _ = env.step(action)
        total += reward
        if terminated or truncated:
            return total


@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1"])
def test_fitness_is_the_mean_return_of_single_environments(name):
    """All individuals have the same episodes, and what is over is not counted on; a second episode would add to it."""
    population = lines(name, P=3)
    if name == "Acrobot-v1":  # one that swings up: torque with the speed of the second joint
        population.weights[0] = 0
        population.weights[0, 5] = torch.tensor([-1.0, 0.0, 1.0])
    got = Gym(name, episodes=2).fitness(population, generator(5))
    want = [np.mean([slow_return(name, w, seed) for seed in seeds(2, 5)]) for w in population.weights]
    assert got.tolist() == pytest.approx(want, rel=1e-4) and len(set(want)) > 1 and population.forgot == 1


def test_lanes_of_arrays_are_single_environments(monkeypatch):
    """The native vector and plain ones: the same returns by the same seeds, of individuals that last unlike long."""
    native = Gym("CartPole-v1", episodes=3)
    fast = native.fitness(lines("CartPole-v1", 20), generator())
    assert type(native._lanes) is lanes.NativeLanes
    monkeypatch.setattr(lanes, "NATIVE", ())
    plain = Gym("CartPole-v1", episodes=3)
    slow = plain.fitness(lines("CartPole-v1", 20), generator())
    assert type(plain._lanes) is lanes.PlainLanes
    assert torch.equal(fast, slow) and len(set(fast.tolist())) > 5 and fast.max() < 500


def test_seed_decides_and_others_are_other_episodes():
    """Whatever was played before, and however many there are beside."""
    task, population = Gym("CartPole-v1"), lines("CartPole-v1", 8)
    one = task.fitness(population, generator(3))
    assert not torch.equal(task.fitness(population, generator(4)), one)
    assert torch.equal(task.fitness(population, generator(3)), one)
    assert torch.equal(task.fitness(Lines(population.weights[:2]), generator(3)), one[:2])


def test_what_is_over_rests():
    """A plain environment that has ended is not stepped again; the others go on."""
    task, population = Gym("Acrobot-v1", episodes=1, steps=12), lines("Acrobot-v1", 2)
    steps = np.zeros(2, int)
    task.fitness(population, generator())
    for at, lane in enumerate(task._lanes.lanes):

        def step(action, at=at, inner=lane.step):
            steps[at] += 1
            x, reward, _, _, more = inner(action)
            return x, reward, False, at == 0 and steps[0] == 5, more

        lane.step = step
    assert task.fitness(population, generator()).tolist() == [-5, -12] and steps.tolist() == [5, 12]


def test_observations_are_scaled_where_asked():
    """Bounds that are finite go to -1 and 1; a cart's speed has none."""
    raw, scaled = lines("CartPole-v1", 1), lines("CartPole-v1", 1)
    Gym("CartPole-v1", steps=1).fitness(raw, generator())
    Gym("CartPole-v1", steps=1, scaled=True).fitness(scaled, generator())
    by = raw.asked[0] / scaled.asked[0]
    torch.testing.assert_close(by, torch.tensor([4.8, 1, 0.41887903, 1]).expand(1, 3, 4))
    high, low = np.array([0.6, 0.07], np.float32), np.array([-1.2, -0.07], np.float32)
    task = Gym("MountainCar-v0", scaled=True)
    np.testing.assert_allclose(task._shown(np.stack([low, high])), [[-1, -1], [1, 1]], atol=1e-6)


def test_actions_of_a_box_fill_its_bounds():
    """By each way; and of a discrete space the largest output."""
    y = torch.tensor([[-50.0], [0.0], [0.5], [50.0]])
    want = {"tanh": [-2, 0, 2 * np.tanh(0.5), 2], "clip": [-2, 0, 1, 2], "unit": [-2, -2, 0, 2]}
    for squash, actions in want.items():
        got = Gym("Pendulum-v1", squash=squash).actions(y)
        assert got.dtype == np.float32 and got.ravel().tolist() == pytest.approx(actions)
    assert Gym("Acrobot-v1").actions(torch.eye(3)[[2, 0, 1]]).tolist() == [2, 0, 1]


def test_discrete_observations_are_one_hot():
    """As many inputs as there are levels."""
    task, population = Gym("FrozenLake-v1", steps=3), Lines(torch.zeros(2, 16, 4))
    task.fitness(population, generator())
    assert task.inputs == (16,) and population.asked[0].tolist() == [[[1.0] + [0.0] * 15] * 3] * 2


def test_an_individual_that_answers_no_number_has_none():
    """It ends nothing for the others."""
    population = lines("CartPole-v1", 4)
    want = Gym("CartPole-v1").fitness(population, generator())
    population.weights[2] = torch.nan
    got = Gym("CartPole-v1").fitness(population, generator())
    assert got[2].isnan() and torch.equal(got[[0, 1, 3]], want[[0, 1, 3]])


def test_score_is_the_mean_of_fresh_episodes():
    """Of one net, and the task goes on as before."""
    net = torch.nn.Linear(4, 2)
    want = [slow_return("CartPole-v1", net.weight.detach().T, seed) for seed in seeds(7, 2)]
    net.bias.data.zero_()
    assert Gym("CartPole-v1").score(net, 7, seed=2) == pytest.approx(np.mean(want), rel=1e-6)
    assert (Gym("CartPole-v1").solved, Gym("Acrobot-v1").solved, Gym("Pendulum-v1").solved) == (475, -100, np.inf)


@pytest.mark.parametrize("name", WIDTHS)
def test_a_task_of_its_id_goes_elsewhere(name):
    """By name, and to another process with what it asks; environments stay here."""
    task = named(name, episodes=1, steps=5)
    assert isinstance(task, Gym) and (task.inputs, task.outputs) == ((WIDTHS[name][0],), WIDTHS[name][1])
    want = task.fitness(lines(name), generator())
    for other in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert other._lanes is None and torch.equal(other.fitness(lines(name), generator()), want)
    assert isinstance(named("xor"), XOR) and TASKS["gym"] is Gym


def test_what_cannot_be_is_told(monkeypatch):
    """Names, spaces, numbers, and the extra that is missing."""
    told = {
        r"environment='CartPol-v1' came; did you mean 'CartPole-v1'": lambda: Gym("CartPol-v1"),
        r"environment='CartPole-v7' came": lambda: named("CartPole-v7"),
        r"unknown task 'cartpole'; did you mean 'CartPole-v1'\?": lambda: named("cartpole"),
        r"squash='tan' came; did you mean 'tanh'": lambda: Gym("Pendulum-v1", squash="tan"),
        "episodes=0, steps=None came: give 1 or more": lambda: Gym(episodes=0),
        r"cannot be made \(.*unexpected keyword argument 'wind'.*look at its settings": lambda: Gym(
            "CartPole-v1", wind=3
        ),
        "Blackjack-v1 shows a Tuple: give an environment": lambda: Gym("Blackjack-v1", steps=9),
        r"wants 2 outputs, and nets answered 3: give nets of \(4,\) inputs and 2 outputs": lambda: Gym().fitness(
            Lines(torch.zeros(2, 4, 3)), generator()
        ),
    }
    for message, act in told.items():
        with pytest.raises(Refused, match=message):
            act()
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(Refused, match=r"control tasks need Gymnasium: pip install 'altprop\[control\]'"):
        named("CartPole-v1")


def test_episodes_without_end_are_refused(monkeypatch):
    """And spaces without bounds."""
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))

    class Endless(gymnasium.Env):
        observation_space, action_space = space, gymnasium.spaces.Discrete(2)

    gymnasium.register("Endless-v0", Endless)
    gymnasium.register("Boundless-v0", type("Boundless", (Endless,), {"action_space": space}), max_episode_steps=3)
    try:
        with pytest.raises(Refused, match="Endless-v0 has episodes without end: give steps=1000"):
            Gym("Endless-v0")
        with pytest.raises(Refused, match="Boundless-v0 takes a Box without bounds"):
            Gym("Boundless-v0")
    finally:
        del gymnasium.registry["Endless-v0"], gymnasium.registry["Boundless-v0"]


def solves(seed):
    """Generations until a champion's mean return over 100 fresh episodes is 475; None where the budget ends before."""
    task, search, drawn = Gym("CartPole-v1"), NEAT(4, 2, seed=seed), generator(seed)
    for generation in range(1, BUDGET + 1):
        fitness = task.fitness(search.ask(), drawn)
        champion = search.genes.genome(int(fitness.argmax()))
        search.tell(fitness)
        if fitness.max() >= task.solved and task.score(champion.net(), 100, seed=1000 + seed) >= task.solved:
            return generation
    return None


def test_neat_solves_cart_pole():
    """One seed of the ten of the claim."""
    assert solves(0) is not None


def test_genetic_algorithm_solves_cart_pole():
    """Of the weights of an ordinary net, in 10 generations of 40."""
    torch.manual_seed(0)
    task, drawn = Gym("CartPole-v1"), generator(1)
    search = GA(torch.nn.Linear(4, 2), example=torch.zeros(1, 4), size=40)
    for _ in range(10):
        search.tell(task.fitness(search.ask(), drawn))
        if search.reached >= 475 and task.score(search.best()) >= 475:
            return
    raise AssertionError(f"reached {search.reached}")


@pytest.mark.parametrize("name", ["LunarLander-v3", "BipedalWalker-v3"])
def test_box2d_is_played_where_it_is_installed(name):
    """Each step by itself, as others."""
    pytest.importorskip("Box2D")
    task = Gym(name, episodes=1, steps=20)
    population = Lines(torch.randn(3, *task.inputs, task.outputs, generator=generator()))
    got = task.fitness(population, generator())
    assert got.isfinite().all() and len(set(got.tolist())) > 1
    assert torch.equal(task.fitness(population, generator()), got)
