"""NEAT's mutations of structure: hand-made genomes, and grown ones against a plain search."""

from dataclasses import replace

import numpy as np
import pytest
from neat_helpers import FRAME, drawn, genome, luck

from altprop.searches.neat import CANONICAL, NEAT_PYTHON, Genes
from altprop.searches.neat.history import History
from altprop.searches.neat.plan import find
from altprop.searches.neat.structure import Mutator, closes


def mutated(way, one, s, history, generator=None):
    """A genome after one mutation of its structure."""
    mutator, row = Mutator(Genes.of([one]), s, history, generator or luck()), np.array([0])
    getattr(mutator, way)(row)
    return Genes.of([one]).put(row, mutator.genes).genome(0)


def pairs(one):
    return list(zip(one.source, one.target, strict=True))


def leads(one, source, target):
    """Whether a way of genes, disabled or not, goes from one node to another; by a plain search."""
    found = [source]
    for node in found:
        found += {other for start, other in pairs(one) if start == node} - set(found)
    return target in found


def test_same_mutation_of_one_generation_is_the_same_innovation():
    """Two genomes that split the same gene get the same node and genes; a later generation others, unless told."""
    history = History(FRAME.fixed)
    first = [history.gene(0, 4), history.gene(1, 4)]
    assert first == [0, 1] and history.gene(0, 4) == 0
    one, other = (
        mutated("add_node", genome([history.gene(0, 4)], [0.7]), CANONICAL, history, luck(seed)) for seed in range(2)
    )
    assert one == other and one.innovation == [0, 2, 3] and one.nodes() == [5]
    assert (one.source, one.target) == ([0, 0, 5], [4, 5, 4])
    assert one.weight == [0.7, 1.0, 0.7] and one.enabled == [False, True, True]
    history.forget()
    late = mutated("add_node", genome([0], [0.7]), CANONICAL, history)
    assert late.innovation == [0, 4, 5] and late.nodes() == [6]


def test_gene_split_twice_has_two_nodes():
    """Enabled again and split again, where numbers live for the whole run: one node twice would join itself."""
    history, one = History(FRAME.fixed), genome([0])
    history.gene(0, 4)
    for _ in range(2):
        one.enabled = [True, *[False] * (len(one.weight) - 1)]
        one = mutated("add_node", one, CANONICAL, history)
    assert one.nodes() == [5, 6] and len(set(one.innovation)) == 5
    again = mutated("add_node", genome([0]), CANONICAL, history)
    assert again.nodes() == [5] and again.innovation == one.innovation[:3]


def test_new_connections_join_what_was_apart_and_close_no_cycle():
    """Until there are no more: all of the triangle.  With memory every pair, a node and itself too."""
    for memory in (False, True):
        frame = FRAME._replace(memory=memory)
        one, history, generator = genome([0, 1, 2], frame=frame, disabled=[1]), History(7), luck()
        one.source, one.target = [0, 5, 6], [5, 6, 4]
        history.next_gene = 3
        for _ in range(60):
            one = mutated("add_connection", one, replace(CANONICAL, tries=500), history, generator)
        assert len(set(pairs(one))) == len(one.source) == (21 if memory else 15)  # 3 * 7, or 3 * 4 and 3
        assert all(target > FRAME.inputs for target in one.target) and one.innovation == [*range(len(one.source))]


def test_cycles_are_those_of_a_plain_search():
    """Of forty grown genomes, every pair of ends at once; a node and itself is one."""
    genes = drawn().genes
    nodes, genomes = find(genes), genes.genomes()
    M = nodes.there.shape[1]
    joined = np.zeros((40, M, M), bool)
    joined[np.arange(40)[:, None], nodes.source, nodes.target] = True
    ends = np.stack(np.meshgrid(range(M), range(M))).reshape(2, 1, -1).repeat(40, 1)
    found = closes(joined, *ends)
    for row, one in enumerate(genomes):
        for ours, source, target in zip(found[row], *ends[:, row], strict=True):
            if nodes.there[row, source] and nodes.there[row, target] and target > genes.frame.inputs:
                assert ours == leads(one, *nodes.number[row, [target, source]])
    assert 0 < found.mean() < 1


@pytest.mark.parametrize("bias", ["input", "node"])
def test_tries_decide_whether_a_connection_is_found(bias):
    """Input, bias and output into the output, alike likely: one of three is new; no bias where it is a node's."""
    frame = FRAME._replace(inputs=1)
    one = genome([0], frame=frame)
    for tries in (1, 3):
        mutator = Mutator(Genes.of([one] * 9000), replace(CANONICAL, bias=bias, tries=tries), History(3), luck())
        mutator.add_connection(np.arange(9000))
        grown = mutator.genes.there.sum(1) == 2
        assert (mutator.genes.source[grown, 1] == 1).all() and (mutator.genes.target[grown, 1] == 2).all()
        assert grown.mean() == pytest.approx(0 if bias == "node" else 1 - (2 / 3) ** tries, abs=0.02)


def test_only_the_rows_that_are_named_change():
    """Of grown genomes, whichever way; no gene is twice, and where something was possible it was done."""
    genes, rows = drawn(replace(NEAT_PYTHON, tries=9)).genes, np.arange(3, 40, 4)
    before, other = genes.genomes(), np.setdiff1d(np.arange(40), rows)
    genes_more = {"add_node": 3, "delete_connection": -1}
    for way in ("add_node", "delete_node", "add_connection", "delete_connection"):
        mutator = Mutator(genes.rows(np.arange(40)), replace(NEAT_PYTHON, tries=99), History(10_000), luck())
        mutator.history.next_gene = 10_000
        getattr(mutator, way)(rows)
        after = genes.put(np.arange(40), mutator.genes).genomes()
        assert all(before[row] == after[row] for row in other) and sum(before[row] != after[row] for row in rows) > 5
        for row in rows:
            one, now = before[row], after[row]
            assert now.innovation == sorted(now.innovation) and len(set(pairs(now))) == len(now.source)
            free = [on for on, source in zip(one.enabled, one.source, strict=True) if source != 3]
            if way == "add_connection":
                for pair in set(pairs(now)) - set(pairs(one)):
                    assert pair[0] != 3 and pair[1] > 3 and not leads(one, *pair[::-1])
            elif way != "delete_node" and (any(free) if way == "add_node" else free):
                assert len(now.source) - len(one.source) == genes_more[way]
    assert len(genes.put(np.array([], int), genes.rows(np.array([], int)))) == 40


def test_lost_nodes_take_their_genes_along():
    """neat-python's deletions leave inputs, outputs and the biases of nodes that stay."""
    search, generator = drawn(replace(NEAT_PYTHON, delete_node=0.0, delete_connection=0.0, tries=9)), luck()
    before = max(search.genes.genomes(), key=lambda g: len(g.nodes()))
    one = mutated("delete_node", before, NEAT_PYTHON, search.history, generator)
    (gone,) = set(before.nodes()) - set(one.nodes())
    kept = [at for at in range(len(before.weight)) if gone not in (before.source[at], before.target[at])]
    assert one.innovation == [before.innovation[at] for at in kept] and one.weight == [before.weight[at] for at in kept]
    for _ in range(100):
        one = mutated("delete_connection", one, NEAT_PYTHON, search.history, generator)
    assert set(one.source) == {3} and set(one.target) >= {4, 5}
    for way in ("delete_connection", "add_node"):
        assert one == mutated(way, one, NEAT_PYTHON, search.history, generator)
