"""HyperNEAT: weights painted one by one in plain Python, functions by node, and a task that is learned."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from altprop import NEAT, SEARCHES, HyperNEAT, Refused
from altprop.searches import grid
from altprop.searches.hyperneat import CPPN
from altprop.searches.neat import Genome
from altprop.searches.substrate import expressed
from altprop.tasks import Boxes

SLOW = {
    "gaussian": lambda z: math.exp(-z * z),
    "sine": math.sin,
    "abs": abs,
    "linear": lambda z: z,
    "bipolar_sigmoid": lambda z: 2 / (1 + math.exp(-4.9 * z)) - 1,
}
LAYERS = [grid(2, 3), torch.tensor([[0.5, -0.5], [-1.0, 0.25], [0.0, 0.0], [0.1, 0.9]]), grid(1, 2)]
WILD = replace(CPPN, add_node=0.4, add_connection=0.6, spread=0.3, power=0.3)


def grown(layers=LAYERS, generations=8, size=12, seed=0, **arguments):
    """A search some generations on, whose fitness is luck."""
    search = HyperNEAT(layers, size=size, seed=seed, **{"settings": WILD, "dtype": torch.float64, **arguments})
    generator = torch.Generator().manual_seed(seed)
    for _ in range(generations):
        search.tell(torch.rand(size, generator=generator))
    return search


def say(genome, x):
    """What a CPPN answers to 2 d numbers, node by node: hidden nodes have functions by their numbers."""
    frame = genome.frame
    known = {**dict(enumerate(x)), frame.inputs: 1.0}
    genes = [g for g in zip(genome.source, genome.target, genome.weight, genome.enabled, strict=True) if g[3]]

    def value(node):
        if node not in known:
            z = sum(weight * value(source) for source, target, weight, _ in genes if target == node)
            hidden = node >= frame.inputs + 1 + frame.outputs
            name = frame.functions[node % len(frame.functions)] if hidden else frame.activation
            known[node] = SLOW[name](z)
        return known[node]

    return [value(node) for node in range(frame.inputs + 1, frame.inputs + 1 + frame.outputs)]


def slow_weight(w):
    """|w| up to .2 is no weight; .2 to 1 becomes 0 to 3."""
    if abs(w) <= 0.2:
        return 0.0
    return math.copysign((min(abs(w), 1.0) - 0.2) / 0.8 * 3, w)


@pytest.mark.parametrize("bias", [False, True])
def test_painted_weights_are_those_of_pairs_asked_one_by_one(bias):
    """Of twelve unlike CPPNs, three layers of places, each pair of neighbours by its own output."""
    search = grown(bias=bias)
    stack, genomes, pairs = search.ask(), search.genes.genomes(), len(LAYERS) - 1
    assert {one.frame.outputs for one in genomes} == {pairs * (1 + bias)} and len(stack.biases) == pairs * bias
    for p, one in enumerate(genomes):
        for at, (before, after) in enumerate(pairwise(LAYERS)):
            want = [[slow_weight(say(one, [*b, *a])[at]) for b in before.tolist()] for a in after.tolist()]
            torch.testing.assert_close(stack.weights[at][p], torch.tensor(want).double(), atol=1e-6, rtol=0)
            if bias:
                want = [slow_weight(say(one, [0.0, 0.0, *a])[pairs + at]) for a in after.tolist()]
                torch.testing.assert_close(stack.biases[at][p], torch.tensor(want).double(), atol=1e-6, rtol=0)
    weights = torch.cat([w.flatten() for w in stack.weights])
    assert 0 < (weights == 0).double().mean() < 0.95 and 2 < weights.abs().max() <= 3
    used = {node % 5 for one in genomes for node in one.nodes()}
    assert len(used) > 3


def test_weights_are_expressed_above_a_fifth():
    """And go from 0 to 3, whatever the CPPN says beyond 1."""
    w = torch.tensor([-2.0, -1.0, -0.6, -0.2, 0.0, 0.19, 0.2, 0.6, 1.0, 7.0])
    torch.testing.assert_close(expressed(w, 0.2, 3.0), torch.tensor([-3, -3, -1.5, 0, 0, 0, 0, 1.5, 3, 3]))


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "none"])
def test_batched_nets_are_ordinary_stacks(activation):
    """The champion leaves as Linear layers that say the same; for all, and for each its own samples."""
    search = grown(bias=True, activation=activation)
    stack, x = search.ask(), torch.rand(12, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for row, one in enumerate(search.genes.genomes()):
        net = search.painted(one, LAYERS)
        torch.testing.assert_close(stack(x)[row], net(x[row]).detach(), atol=1e-6, rtol=0)
        torch.testing.assert_close(stack(x[3])[row], net(x[3]).detach(), atol=1e-6, rtol=0)
    best = search.best()
    assert [type(module).__name__ for module in best][::2] == ["Linear"] * 2 and not best.training
    assert (best[0].in_features, best[0].out_features, best[2].out_features) == (6, 4, 2)
    best(x[0]).sum().backward()
    assert best[0].weight.grad is not None and len(stack) == 12


def test_genome_paints_a_finer_grid():
    """The same picture at another resolution: shared places have the same weights."""
    search = grown([grid(3, 3), grid(3, 3)])
    coarse, fine = search.best(), search.painted(search.champion, [grid(5, 5), grid(5, 5)])
    shared = [row * 5 + column for row in (0, 2, 4) for column in (0, 2, 4)]
    torch.testing.assert_close(fine[0].weight[shared][:, shared], coarse[0].weight)
    again = Genome.from_json(search.champion.to_json())
    assert again == search.champion and again.frame.functions == CPPN.functions
    assert json.loads(search.champion.to_json())["functions"][0] == "gaussian"


def test_node_functions_in_a_module():
    """NEAT with functions by node: the batch, the module and the loop over nodes say the same, with memory too."""
    s = replace(WILD, activation="linear")
    for memory in (False, True):
        search = NEAT(3, 2, settings=s, memory=memory, size=20, dtype=torch.float64)
        for _ in range(8):
            search.tell(torch.rand(20, generator=torch.Generator().manual_seed(2)))
        xs = torch.rand(3, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        nets = search.ask()
        want = torch.stack([nets(x) for x in xs], 1)
        for row, one in enumerate(search.genes.genomes()):
            net = one.net().double()
            got = torch.stack([net(x) for x in xs])
            torch.testing.assert_close(got, want[row], atol=1e-6, rtol=1e-6)
            if not memory:
                assert got[0, 0].tolist() == pytest.approx(say(one, xs[0, 0].tolist()), abs=1e-6)


def test_grids_are_places_from_minus_one_to_one():
    """Row by row; a single unit stands in the middle."""
    assert grid(2, 3).tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]
    assert grid(1, 1).tolist() == [[0, 0]]


def test_state_goes_on_to_the_bit():
    """And another substrate refuses it."""
    through = grown()
    resumed = HyperNEAT(LAYERS, size=12, settings=WILD, seed=9, dtype=torch.float64)
    resumed.load_state_dict(through.state_dict())
    for _ in range(3):
        a, b = through.ask(), resumed.ask()
        assert all(torch.equal(one, other) for one, other in zip(a.weights, b.weights, strict=True))
        for search in (through, resumed):
            search.tell([float(i % 7) for i in range(12)])
    others = {
        "places=": HyperNEAT([grid(1, 2)] * 3, size=12, settings=WILD),
        "least=0.2 and not 0.1": HyperNEAT(LAYERS, size=12, settings=WILD, least=0.1),
        "search='HyperNEAT' and not 'NEAT'": NEAT(4, 2, size=12, settings=WILD),
    }
    for message, search in others.items():
        with pytest.raises(Refused, match=f"the state of another search came, of .*{message}"):
            search.load_state_dict(through.state_dict())


def test_larger_box_is_found():
    """20 generations of 60 CPPNs on a field of 7 x 7: nearer than any net that always points at the same place is."""
    task = Boxes(7)
    always = max(
        float(1 - (task.middles - torch.tensor([r, c])).square().sum(1).float().mean() / 72)
        for r in range(7)
        for c in range(7)
    )
    for seed in range(1):
        search = HyperNEAT([grid(7, 7)] * 2, size=60, seed=seed)
        first = None
        for _ in range(20):
            search.tell(task.fitness(search.ask()))
            first = search.reached if first is None else first
        assert search.reached > max(first, always), (search.reached, first, always)
        net = search.best()
        top = net(task.x).argmax(1)
        d2 = (torch.stack([top // 7, top % 7], 1) - task.middles).square().sum(1).float().mean()
        assert float(1 - d2 / 72) == pytest.approx(search.reached, abs=1e-6)


def test_what_cannot_be_is_told():
    """Places, names and numbers; and it is a search of the registry."""
    assert SEARCHES["hyperneat"] is HyperNEAT and HyperNEAT(LAYERS).claims.genome == "graph"
    told = {
        r"layers of places \[\(6, 2\)\] came: give two layers or more": lambda: HyperNEAT([grid(2, 3)]),
        r"\[\(6, 2\), \(3, 1\)\] came": lambda: HyperNEAT([grid(2, 3), torch.zeros(3, 1)]),
        "activation='tanhh' came; did you mean 'tanh'": lambda: HyperNEAT(LAYERS, activation="tanhh"),
        r"functions=\('gausian', ...\) came; did you mean 'gaussian'": lambda: HyperNEAT(
            LAYERS, settings=replace(CPPN, functions=("gausian",))
        ),
        "least=1.0, largest=3.0 came: give 0 to below 1": lambda: HyperNEAT(LAYERS, least=1.0),
        r"x of shape \(5, 7\) came to 100 nets: give \(N, 6\)": lambda: HyperNEAT(LAYERS).ask()(torch.zeros(5, 7)),
        "2 layers of 2 dimensions came to a CPPN of others: give 3 layers": lambda: grown(generations=1).painted(
            grown(generations=1).champion, LAYERS[:2]
        ),
    }
    for message, act in told.items():
        with pytest.raises(Refused, match=message):
            act()
