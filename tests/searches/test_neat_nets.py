"""Nets of genomes: the padded batch, the champion's module and JSON, against a plain loop over nodes."""

import copy
import json

import pytest
import torch
from neat_helpers import WILD, drawn, say, say_in_time

from altprop.core import Refused
from altprop.searches.neat import NEAT_PYTHON, Genome, population

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
precise = pytest.mark.parametrize("dtype", TOLERANCE)
GROWN = {  # neat-python's steps, of the size of the others
    "canonical": WILD,
    "neat_python": NEAT_PYTHON.__class__(**{**vars(NEAT_PYTHON), "limit": 2.0, "tries": 9}),
}


def samples(*shape, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)


@precise
@pytest.mark.parametrize("settings", GROWN)
@pytest.mark.parametrize("small", [0, 10**9])
def test_padded_batch_is_the_loop_over_nodes(settings, dtype, small, monkeypatch):
    """Columns, depths and padding of forty unlike nets, by sums and by matrices; a node out of its order would read
    what is not there yet."""
    monkeypatch.setattr(population, "SMALL", small)
    search = drawn(GROWN[settings], dtype=dtype)
    x, genomes = samples(5, 3, dtype=dtype), search.genes.genomes()
    y = search.ask()(x)
    assert y.dtype == dtype and len({len(one.nodes()) for one in genomes}) > 3
    assert len(search.ask().blocks) >= 3
    want = torch.tensor([[say(one, row) for row in x.tolist()] for one in genomes], dtype=torch.float64)
    torch.testing.assert_close(y.double(), want, atol=TOLERANCE[dtype], rtol=0)


@precise
def test_padded_batch_with_memory_is_the_loop_in_time(dtype):
    """Every node reads the step before, itself too, and reset forgets."""
    search = drawn(memory=True, dtype=dtype)
    xs, nets, genomes = samples(6, 2, 3, dtype=dtype), search.ask(), search.genes.genomes()
    assert any(source == target for one in genomes for source, target in zip(one.source, one.target, strict=True))
    want = [[say_in_time(one, xs[:, n].tolist()) for n in range(2)] for one in genomes]
    want = torch.tensor(want, dtype=torch.float64)
    for _ in range(2):
        y = torch.stack([nets(x) for x in xs], 2)  # (P, N, T, C)
        torch.testing.assert_close(y.double(), want, atol=TOLERANCE[dtype], rtol=0)
        nets.reset()


@pytest.mark.parametrize("memory", [False, True])
def test_each_may_have_its_own_samples(memory):
    """(P, N, in) where all rows are alike is (N, in)."""
    search = drawn(memory=memory, generations=4)
    x = samples(7, 3, dtype=torch.float32)
    nets = search.ask()
    y = nets(x)
    nets.reset()
    assert len(nets) == 40 and y.shape == (40, 7, 2) and torch.equal(nets(x.expand(40, -1, -1)), y)
    nets.reset()
    own = torch.stack([x.roll(shift, 0) for shift in range(40)])
    turned = torch.stack([row.roll(-shift, 0) for shift, row in enumerate(nets(own))])
    torch.testing.assert_close(turned, y, atol=1e-6, rtol=0)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("settings", GROWN)
def test_champion_is_an_ordinary_module(settings, memory):
    """It answers as in the population, after JSON as well; it pickles, and autograd trains it."""
    search = drawn(GROWN[settings], memory=memory)
    xs, nets = samples(3, 4, 3, dtype=torch.float32), search.ask()
    want = torch.stack([nets(x) for x in xs], 1)
    for row, one in enumerate(search.genes.genomes()[:10]):
        net, again = one.net(), copy.deepcopy(Genome.from_json(one.to_json()).net())
        assert isinstance(net, torch.nn.Module) and Genome.from_json(one.to_json()) == one
        for _ in range(2):
            y = torch.stack([net(x) for x in xs])
            torch.testing.assert_close(y, want[row], atol=2e-6, rtol=0)
            net.reset()
        assert torch.equal(torch.stack([again(x) for x in xs]), y)
    y.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_json_names_every_gene():
    """For others to read."""
    one = drawn(generations=3).best()
    told = json.loads(one.to_json())
    assert (told["inputs"], told["outputs"], told["memory"]) == (3, 2, False)
    assert set(told["genes"][0]) == {"innovation", "source", "target", "weight", "enabled"}
    assert [gene["weight"] for gene in told["genes"]] == one.weight


@pytest.mark.parametrize(
    "change",
    [{"kind": "ga"}, {"inputs": 0}, {"activation": "sin"}, {"genes": [{"innovation": 1}]}, {"genes": 3}],
)
def test_what_is_no_genome_is_refused(change):
    """Of a file that someone edited."""
    told = {**json.loads(drawn(generations=1).best().to_json()), **change}
    with pytest.raises(Refused, match="came as a genome: give what to_json wrote"):
        Genome.from_json(json.dumps(told))
    with pytest.raises(Refused, match="came as a genome"):
        Genome.from_json("{")


def test_gene_into_an_input_is_refused():
    """It would write over what the world says."""
    told = json.loads(drawn(generations=1).best().to_json())
    told["genes"][0]["target"] = 3
    with pytest.raises(Refused, match="came as a genome"):
        Genome.from_json(json.dumps(told))


def test_cycle_without_memory_is_refused():
    """Its depth has no end."""
    one = drawn(generations=1).best()
    for column, values in zip(one.columns(), ([99, 100], [4, 5], [5, 4], [1.0, 1.0], [True, True]), strict=True):
        column += values
    with pytest.raises(Refused, match=r"a genome with a cycle came.*give memory=True"):
        one.net()


def test_shapes_are_told():
    """A batch of another width, or of another number of nets, or with memory of another size."""
    search = drawn(generations=1, memory=True)
    nets = search.ask()
    for shape in ((3,), (5, 4), (39, 5, 3), (1, 1, 5, 3)):
        with pytest.raises(Refused, match=r"came to 40 nets: give \(N, 3\), or \(40, N, 3\)"):
            nets(torch.zeros(shape))
    nets(torch.zeros(5, 3))
    with pytest.raises(Refused, match=r"4 samples came after 5: .*until reset\(\)"):
        nets(torch.zeros(4, 3))
