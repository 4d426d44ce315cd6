"""NEAT: alignment, distance, numbers and crossover of hand-made genomes, sharing by the formula, and XOR."""

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from neat_helpers import FRAME, WILD, drawn, genome, luck, slow_distance

from altprop.core import Refused, RuleWarning, Search
from altprop.searches import GA, SEARCHES
from altprop.searches.neat import CANONICAL, NEAT, NEAT_PYTHON, Genes
from altprop.searches.neat.crossover import align, cross
from altprop.searches.neat.distance import distance
from altprop.searches.neat.mutation import mutate_weights
from altprop.searches.neat.reproduction import reproduce
from altprop.searches.neat.sharing import share, spawn
from altprop.searches.neat.species import Species, speciate

ONE, OTHER = (1, 2, 3, 4, 5, 8), (1, 2, 3, 4, 5, 6, 7, 9, 10)  # of the paper's figure 4
XOR = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([0.0, 1, 1, 0])
BUDGET = 150  # generations of 150 genomes, in which 9 of 10 seeds must solve XOR


def numbers(genes, mask):
    return [row[there].tolist() for row, there in zip(genes.innovation, mask, strict=True)]


def species_of(sizes, **fields):
    """Species whose members are the rows one after the other."""
    ends = np.cumsum([0, *sizes])
    rows = [np.arange(a, b) for a, b in pairwise(ends)]
    return [Species(n, genome([0]), members, **fields) for n, members in enumerate(rows)]


def test_alignment_of_the_paper_s_example():
    """Which genes match, are disjoint and are excess, of either parent; other rows of other widths change nothing."""
    a, b = Genes.of([genome(ONE), genome([0, 3])]), Genes.of([genome(OTHER), genome([3])])
    ours, theirs = align(a, b), align(b, a)
    assert numbers(a, ours.matching) == [[1, 2, 3, 4, 5], [3]] == numbers(b, theirs.matching)
    assert numbers(a, ours.disjoint) == [[8], [0]] and numbers(a, ours.excess) == [[], []]
    assert numbers(b, theirs.disjoint) == [[6, 7], []] and numbers(b, theirs.excess) == [[9, 10], []]


def test_distance_of_the_paper_s_example():
    """E = 2, D = 3, five matching genes .2 apart: N is 1 for genomes below 20 genes, and 9 where none is small."""
    a, b = Genes.of([genome(ONE)]), genome(OTHER, [0.7] * 9)
    s = replace(CANONICAL, excess=10.0)
    assert distance(a, b, s) == pytest.approx([20 + 3 + 0.4 * 0.2])
    assert distance(a, b, replace(s, small=9)) == pytest.approx([(20 + 3) / 9 + 0.4 * 0.2])
    assert distance(a, b, replace(s, small=10)) == pytest.approx([23.08])


@pytest.mark.parametrize(
    "s", [CANONICAL, replace(CANONICAL, small=5), NEAT_PYTHON], ids=["small", "long", "neat_python"]
)
def test_distance_is_that_of_the_formula_symmetric_and_zero_to_itself(s):
    """Of forty grown genomes, gene by gene."""
    s = replace(s, excess=3.0, disjoint=2.0)
    genes = drawn(replace(WILD if s.way == "canonical" else NEAT_PYTHON, threshold=1.0)).genes
    genomes = genes.genomes()
    D = np.stack([distance(genes, other, s) for other in genomes], 1)
    assert np.array_equal(np.diag(D), np.zeros(40)) and (D > 0).any()
    np.testing.assert_allclose(D, D.T, rtol=0, atol=1e-12)
    slow = [[slow_distance(one, other, s) for other in genomes[:8]] for one in genomes]
    np.testing.assert_allclose(D[:, :8], slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize("remember", ["generation", "run"])
def test_numbers_are_the_same_for_the_same_ends(remember):
    """In a search, among genes that are new in a generation; for the whole run nowhere else."""
    search = drawn(replace(WILD, remember=remember), generations=6)
    before = search.history.next_gene
    search.tell(torch.rand(40, generator=torch.Generator().manual_seed(1)))
    ends = {}
    genes = [
        gene for one in search.genes.genomes() for gene in zip(one.innovation, one.source, one.target, strict=True)
    ]
    for number, *pair in genes:
        if number >= before or remember == "run":
            ends.setdefault(tuple(pair), set()).add(number)
    assert max(number for number, *_ in genes) >= before and all(len(found) == 1 for found in ends.values())
    for one in search.genes.genomes():
        assert one.innovation == sorted(set(one.innovation))
        assert len(set(zip(one.source, one.target, strict=True))) == len(one.source)


def test_disabled_in_either_parent_is_disabled_three_times_in_four():
    """1e4 draws of each case; a gene that no parent has disabled stays, and one of the fitter alone keeps its flag."""
    off = {
        "fitter": (genome([1, 2, 3], disabled=[1, 3]), genome([1, 2])),
        "other": (genome([1, 2]), genome([1], disabled=[1])),
    }
    off["both"] = genome([1, 2], disabled=[1]), genome([1], disabled=[1])
    for fitter, other in off.values():
        parents = Genes.of([fitter] * 10_000), Genes.of([other] * 10_000)
        child = cross(*parents, 0.75, luck())
        assert 1 - child.enabled[:, 0].mean() == pytest.approx(0.75, rel=0.02)
        assert child.enabled[:, 1].all() and not child.enabled[:, 2:].any()


def test_child_has_the_fitter_s_structure_and_matching_genes_of_either():
    """Half of each; what only the other parent has is lost."""
    fitter, other = genome(OTHER, range(9)), genome(ONE, range(10, 16))
    child = cross(Genes.of([fitter] * 4000), Genes.of([other] * 4000), 0.75, luck())
    assert (child.innovation == OTHER).all()
    of_other = child.weight >= 10
    np.testing.assert_allclose(of_other[:, :5].mean(0), 0.5, atol=0.04)
    assert (child.weight[:, 5:] == range(5, 9)).all()
    assert (child.weight[:, :5] == np.where(of_other[:, :5], range(10, 15), range(5))).all()
    assert abs(np.corrcoef(of_other[:, 0], of_other[:, 1])[0, 1]) < 0.1


@pytest.mark.parametrize("tie", ["random", "second"])
def test_fitter_parent_gives_the_structure(tie):
    """Whichever it is; among equals either, or the second."""
    genes, members = Genes.of([genome(ONE), genome(OTHER)]), np.array([0, 1])
    s = replace(CANONICAL, crossover=1.0, survival=1.0, interspecies=0.0, elitism=0, tie=tie)
    for fitness, long in (((1.0, 2.0), 0.75), ((2.0, 1.0), 0.25), ((1.0, 1.0), 0.5)):
        some = Genes.of([*genes.genomes() * 1000])
        species = [Species(0, genome([0]), np.arange(2000))]
        children, copied = reproduce(some, species, np.tile(fitness, 1000), s, luck())
        assert not copied.any() and len(members) == 2
        # of two drawn at random, both are the shorter one in a quarter of all cases
        assert (children.there.sum(1) == 9).mean() == pytest.approx(long, abs=0.05)


def test_shared_fitness_of_a_species_is_the_mean_of_its_members():
    """f'_i = f_i / |species|; below zero all are raised by the lowest."""
    f, species = np.array([4.0, 2, 3, 1, 6]), species_of([2, 3])
    offers, alive = share(species, f, CANONICAL)
    assert offers == pytest.approx([3, 10 / 3]) and alive.all()
    assert share(species, f - 4, CANONICAL)[0] == pytest.approx([2, 7 / 3])
    assert share(species, f, NEAT_PYTHON)[0] == pytest.approx([(3 - 1) / 5, (10 / 3 - 1) / 5])
    assert share(species, f / 10, NEAT_PYTHON)[0] == pytest.approx([0.2, 7 / 30])


def test_offspring_are_in_proportion_and_p_in_all():
    """The largest rest is rounded up; nothing to share is shared alike."""
    sizes, all_of_them = np.array([5, 5]), np.array([True, True])
    assert spawn(np.array([1.0, 2.0]), sizes, all_of_them, 10, CANONICAL).tolist() == [3, 7]
    assert spawn(np.zeros(2), sizes, all_of_them, 10, CANONICAL).tolist() == [5, 5]
    assert spawn(np.zeros(2), sizes, np.array([False, True]), 10, CANONICAL).tolist() == [0, 10]
    # halfway from 5 to 2, the least, and from 5 to 10: 3 (3.5 to the even 4, less 5: -2) and 8 (2.5 to 2: 7), of 10
    assert spawn(np.array([0.0, 1.0]), sizes, all_of_them, 10, NEAT_PYTHON).tolist() == [3, 7]


def test_stagnant_species_have_no_offspring_but_for_the_best():
    """15 generations without progress; the two best are kept."""
    f = np.arange(8.0)
    species = species_of([2, 2, 2, 2], stale=14)
    for one in species:
        one.best = 100.0 - one.number
        one.note(f)
    assert [one.stale for one in species] == [15] * 4
    assert share(species, f, CANONICAL)[1].tolist() == [True, True, False, False]
    species[3].stale = 14
    assert share(species, f, CANONICAL, refocus=True)[1].tolist() == [True, True, False, False]
    offers, alive = share(species, f, CANONICAL)
    assert alive.tolist() == [True, True, False, True] and offers[2] == 0 < offers[3]
    assert share(species, f, replace(CANONICAL, kept=0))[1].tolist() == [False, False, False, True]
    species[3].best = -1.0
    species[3].note(f)
    assert (species[3].stale, species[3].best) == (0, 7.0)


def test_champion_of_a_large_species_is_copied_and_parents_are_the_fittest_fifth():
    """Of more than five members, not of five; all others come of one parent in five, or three in eleven."""
    genes = Genes.of([genome([row], [row]) for row in range(16)])
    f = np.arange(16.0) % 10
    s, parents = replace(CANONICAL, interspecies=0.0), set()
    for seed in range(20):
        children, copied = reproduce(genes, species_of([5, 11]), f, s, luck(seed))
        assert copied.sum() == 1 and children.weight[copied].item() == 9
        parents |= set(children.weight[~copied].ravel().tolist())
    assert parents == {4, 9, 8, 7}
    mixed, _ = reproduce(genes, species_of([5, 11]), f, replace(CANONICAL, interspecies=1.0, crossover=1.0), luck())
    first = spawn(*share(species_of([5, 11]), f, CANONICAL)[:1], np.array([5, 11]), np.ones(2, bool), 16, CANONICAL)[0]
    assert set(mixed.weight[:first].ravel()) & {7, 8, 9}


def test_champion_goes_through_a_generation_unchanged():
    """Weights, flags and structure, whatever becomes of the others."""
    s = replace(WILD, threshold=1e9, perturb=0.0, fresh=1.0, genomes=1.0, add_node=1.0)
    search = drawn(s, generations=2)
    search.tell(torch.arange(40.0))
    best = search.best()
    assert search.genes.genomes().count(best) == 1 and search.watch()["best"] == 39


def test_first_species_that_is_near_enough_or_the_nearest():
    """Of two representatives within the threshold; who is far from both founds a third, which takes its like."""
    genes = Genes.of([genome([0], [w]) for w in (0.0, 4.0, 50.0, 51.0)])
    here = [Species(3, genome([0], [w])) for w in (2.0, 4.5, 900.0)]
    first = speciate(genes, here, replace(CANONICAL, threshold=1.5), 7)
    assert [(one.number, one.members.tolist()) for one in first] == [(3, [0, 1]), (7, [2, 3])]
    assert first[1].representative.weight == [50.0]
    s = replace(NEAT_PYTHON, threshold=2.0)
    here = [Species(n, genome([0], [w])) for n, w in ((3, 0.2), (4, 4.5))]
    nearest = speciate(Genes.of([genome([0], [w]) for w in (0.0, 4.0, 3.0, 50.0)]), here, s, 7)
    assert [(one.number, one.members.tolist()) for one in nearest] == [(3, [0]), (4, [1, 2]), (7, [3])]
    assert [one.representative.weight for one in nearest] == [[0.0], [4.0], [50.0]]
    here = [Species(n, genome([0]), best=1.0) for n in range(3)]
    speciate(Genes.of([genome([0], [w]) for w in (0.5, 1.0)]), here, s, 7)  # three species, two genomes
    assert [one.representative.weight for one in here] == [[0.5], [1.0], [0.5]]


@pytest.mark.parametrize("settings", ["canonical", "neat_python"])
def test_every_genome_is_in_one_species_near_its_representative(settings):
    """Generation after generation; no number is given twice."""
    search, seen = drawn(replace(WILD if settings == "canonical" else NEAT_PYTHON, threshold=1.0)), set()
    for _ in range(4):
        rows = np.sort(np.concatenate([one.members for one in search.species]))
        assert np.array_equal(rows, np.arange(40)) and len(search.species) > 1
        for one in search.species:
            assert (distance(search.genes.rows(one.members), one.representative, search.settings) < 1.0).all()
        seen |= {one.number for one in search.species}
        assert max(seen) < search.born and len({one.number for one in search.species}) == len(search.species)
        search.tell(torch.rand(40, generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("name", ["canonical", "neat_python"])
def test_weights_move_at_the_rates_of_the_settings(name):
    """Perturbed, fresh and left alone, by genome and gene; biases of nodes by rates of their own."""
    s = {"canonical": CANONICAL, "neat_python": NEAT_PYTHON}[name]
    s = replace(s, genomes=0.8, perturb=0.5, fresh=0.2, perturb_bias=0.3, fresh_bias=0.1, limit=1e4, spread=1.0)
    one = genome(range(5), [1000.0] * 5)
    one.source[4] = FRAME.inputs
    moved = mutate_weights(Genes.of([one] * 20_000), s, luck()).weight
    near, new = (np.abs(moved - 1000) < 20) & (moved != 1000), np.abs(moved) < 20
    of_node = s.bias == "node"
    for at, rates in ((slice(4), (0.5, 0.2)), (slice(4, 5), (0.3, 0.1) if of_node else (0.5, 0.2))):
        assert (near[:, at].mean(), new[:, at].mean()) == pytest.approx([0.8 * rate for rate in rates], abs=0.015)
    assert (moved[:, :4] == 1000).all(1).mean() == pytest.approx(0.2 + 0.8 * 0.3**4, abs=0.015)
    steps, drawn_new = (moved - 1000)[near], moved[new]
    if name == "canonical":
        assert np.abs(steps).max() <= 2.5 and steps.std() == pytest.approx(2.5 / 3**0.5, rel=0.03)
        assert np.abs(drawn_new).max() <= 1 and drawn_new.std() == pytest.approx(1 / 3**0.5, rel=0.03)
    else:
        assert steps.std() == pytest.approx(0.5, rel=0.03) and drawn_new.std() == pytest.approx(1, rel=0.03)
    assert np.abs(mutate_weights(Genes.of([one]), replace(s, limit=3.0), luck()).weight).max() == 3


def test_flags_flip_at_their_rates_but_never_a_node_s_bias():
    """Enabled genes are disabled, and disabled ones enabled."""
    one = genome(range(3), disabled=[1])
    one.source[2] = FRAME.inputs
    flags = mutate_weights(Genes.of([one] * 10_000), replace(NEAT_PYTHON, enable=0.3, disable=0.1), luck()).enabled
    np.testing.assert_allclose(flags.mean(0), [0.9, 0.3, 1.0], atol=0.02)


def test_start_is_minimal():
    """Every input and the bias to every output, one number an edge, no hidden node."""
    search = NEAT(3, 2, size=20)
    one = search.genes.genome(0)
    assert sorted(zip(one.target, one.source, strict=True)) == [(t, s) for t in (4, 5) for s in range(4)]
    assert one.innovation == list(range(8)) and (search.genes.innovation == one.innovation).all()
    assert len(np.unique(search.genes.weight)) == 160 and search.watch()["hidden"] == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_fitness_that_is_no_number_is_the_worst_and_counted(bad):
    """It ends nothing, and no such genome has a child while others have any fitness."""
    s = replace(CANONICAL, survival=0.5, interspecies=0.0, threshold=1e9, genomes=0.0, add_node=0.0, add_connection=0.0)
    search, fitness = NEAT(1, 1, size=40, settings=s), torch.tensor([bad, -1.0]).repeat(20)
    marked = search.genes.weight[:, 0].copy()
    with pytest.warns(RuleWarning, match="20 of 40 fitnesses in generation 1 are NaN or infinite") as caught:
        search.tell(fitness)
    assert caught[0].filename == __file__ and len(caught) == 1 and search.failed == 20 == search.watch()["failed"]
    assert search.reached == -1 and search.best().weight[0] == marked[1]
    assert set(search.genes.weight[:, 0]) <= set(marked[1::2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.tell([bad] * 40)
    assert search.watch()["failed"] == 60 and search.reached == -1
    with pytest.raises(Refused, match="tell one generation first"):
        NEAT(1, 1).best()


@pytest.mark.parametrize("settings", ["canonical", "neat_python"])
@pytest.mark.parametrize("memory", [False, True])
def test_state_goes_on_to_the_bit(settings, memory):
    """Innovation history, species and their progress, generator and champion; what is saved is tensors."""
    s = replace({"canonical": WILD, "neat_python": NEAT_PYTHON}[settings], remember="run", threshold=1.5)
    through = drawn(s, memory=memory)
    saved = {key: value.clone() for key, value in through.state_dict().items()}
    resumed = NEAT(3, 2, settings=s, size=40, seed=99, memory=memory)
    resumed.load_state_dict(saved)
    x, fitness = torch.rand(2, 3), torch.rand(6, 40, generator=torch.Generator().manual_seed(3))
    for f in fitness:
        assert torch.equal(resumed.ask()(x), through.ask()(x))
        for search in (resumed, through):
            search.tell(f)
        one, other = resumed.state_dict(), through.state_dict()
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert resumed.best() == through.best() and resumed.watch() == through.watch()
    assert all(torch.equal(value, saved[key]) for key, value in saved.items()) and len(saved["rest"]) > 500


def test_state_of_another_search_is_refused():
    """Other nets, another size, other settings: what differs is told, and nothing has changed."""
    state = NEAT(3, 2, size=40).state_dict()
    others = {
        r"inputs=3 and not 2: begin NEAT with the same": NEAT(2, 2, size=40),
        r"outputs=2 and not 1": NEAT(3, 1, size=40),
        r"memory=False and not True": NEAT(3, 2, size=40, memory=True),
        r"size=40 and not 30": NEAT(3, 2, size=30),
        r"activation='steep_sigmoid' and not 'tanh'": NEAT(3, 2, size=40, activation="tanh"),
        r"threshold=3.0 and not 2.0": NEAT(3, 2, size=40, settings=replace(CANONICAL, threshold=2.0)),
    }
    for message, search in others.items():
        before = search.state_dict()
        with pytest.raises(Refused, match=f"the state of another search came, of .*{message}"):
            search.load_state_dict(state)
        assert all(torch.equal(value, before[key]) for key, value in search.state_dict().items())
    with pytest.raises(Refused, match=r"the state of another search came, which differs in .*champion"):
        NEAT(3, 2).load_state_dict(GA(torch.zeros(3)).state_dict())


def test_counts_are_those_of_every_search():
    """A caller that knows no more than that it is a search."""
    search, heights = NEAT(2, 1, size=10), [-3.0, -1.0, -2.0]
    assert (search.generation, search.evaluations, search.failed, search.reached) == (0, 0, 0, -np.inf)
    for height in heights:
        search.tell([height] * 10)
    assert (search.generation, search.evaluations, search.failed, search.reached) == (3, 30, 0, -1)
    other = NEAT(2, 1, size=10, seed=1)
    other.load_state_dict(search.state_dict())
    assert (other.generation, other.evaluations, other.failed, other.reached) == (3, 30, 0, -1)


def test_search_is_refocused_once_where_nothing_gets_better():
    """After as many generations as are set: the two best species alone go on, and the next time is as long after."""
    s = replace(CANONICAL, refocus=3, threshold=0.3, spread=2.0, stagnation=99, add_node=0.0, add_connection=0.0)
    s, counts = replace(s, genomes=0.0, interspecies=0.0, crossover=0.0), []
    search = NEAT(3, 2, size=60, settings=s)
    for _ in range(8):
        search.tell(torch.ones(60))
        counts.append(search.stale)
    assert counts == [0, 1, 2, 3, 0, 1, 2, 3]
    assert len(search.species) == 2 < len(drawn(replace(s, refocus=None), generations=8).species)


def test_seed_decides_and_ask_changes_nothing():
    """Its own generator: the global ones stay where they are."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, other, third = (drawn(seed=seed) for seed in (4, 4, 5))
    one.ask(), one.ask()
    same = [torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)]
    assert all(same) and not np.array_equal(one.genes.weight, third.genes.weight)
    assert torch.equal(torch.get_rng_state(), torch_state) and np.array_equal(np.random.get_state()[1], numpy_state)


def test_it_is_a_search_with_what_it_claims():
    """By name, with a graph as genome."""
    assert SEARCHES["neat"] is NEAT and issubclass(NEAT, Search)
    assert (
        NEAT(2, 1).claims.genome == "graph" and not NEAT(2, 1).claims.memory and NEAT(2, 1, memory=True).claims.memory
    )


def test_what_cannot_be_is_told():
    """Names, sizes and shapes."""
    with pytest.raises(Refused, match=r"settings='canonic' came; did you mean 'canonical'"):
        NEAT(2, 1, settings="canonic")
    with pytest.raises(Refused, match=r"activation='tan' came; did you mean 'tanh'"):
        NEAT(2, 1, activation="tan")
    with pytest.raises(Refused, match="0 inputs, 1 outputs and a size of 150 came"):
        NEAT(0, 1)
    with pytest.raises(
        Refused, match=r"fitness of shape \(3,\) came for 150 individuals: give one number each, \(150,\)"
    ):
        NEAT(2, 1).tell(torch.zeros(3))


def solves(seed):
    """Generations until some net has all four answers on the right side of .5; None where the budget ends before."""
    (x, t), search = XOR, NEAT(2, 1, seed=seed)
    for generation in range(1, BUDGET + 1):
        y = search.ask()(x)[..., 0]  # (P, 4)
        search.tell((4 - (y - t).abs().sum(1)).square())
        if ((y > 0.5) == (t > 0.5)).all(1).any():
            return generation
    return None


def test_xor_is_solved():
    """The budget is 150 genomes and at most 150 generations, of the paper's settings, with fitness (4 - sum |y - t|)^2;
    solved is what has all four answers on the right side of .5, which no net without a hidden node can have."""
    generations = [solves(seed) for seed in range(3)]
    assert None not in generations and min(generations) > 1, generations
