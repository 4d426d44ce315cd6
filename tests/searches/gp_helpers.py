"""Programs as nested lists, and what may come of two of them by plain loops over places."""

import ast
import copy
from collections import Counter

import torch

from altprop.searches.gp import GP
from altprop.searches.gp.primitives import NUMBER, PRIMITIVES

EVERYTHING = tuple(PRIMITIVES)
TYPED = {"inputs": ("number", "number", "truth"), "primitives": EVERYTHING}


def nested(text):
    """``add(x0, 1.0)`` -> ["add", "x0", "1.0"]; a leaf is a string."""

    def of(node):
        return [node.func.id, *map(of, node.args)] if isinstance(node, ast.Call) else ast.unparse(node)

    return of(ast.parse(text, mode="eval").body)


def said(tree):
    return tree if isinstance(tree, str) else f"{tree[0]}({', '.join(map(said, tree[1:]))})"


def places(tree):
    """Every place, root first in the order in which one reads: the ways to them."""
    below = [] if isinstance(tree, str) else [(i, *way) for i, child in enumerate(tree[1:], 1) for way in places(child)]
    return [(), *below]


def at(tree, way):
    return at(tree[way[0]], way[1:]) if way else tree


def changed(tree, way, new):
    """A copy with another subtree there."""
    if not way:
        return new
    tree = copy.copy(tree)
    tree[way[0]] = changed(tree[way[0]], way[1:], new)
    return tree


def height(tree):
    return 0 if isinstance(tree, str) else 1 + max(map(height, tree[1:]))


def kind(tree, inputs=(NUMBER,) * 9):
    """The type of what a tree gives; asserts that every argument below has the type that is wanted."""
    if isinstance(tree, str):
        return inputs[int(tree[1:])] if tree[0] == "x" else NUMBER
    one = PRIMITIVES[tree[0]]
    assert tuple(kind(child, inputs) for child in tree[1:]) == one.arguments
    return one.result


def swaps(a, b, inputs=(NUMBER,) * 9):
    """Every child pair of one-point crossover, with its probability."""
    found, ways = Counter(), places(a)[1:]
    for way in ways:
        of = kind(at(a, way), inputs)
        others = [other for other in places(b)[1:] if kind(at(b, other), inputs) == of]
        if not others:
            found[said(a), said(b)] += 1 / len(ways)
        for other in others:
            pair = said(changed(a, way, at(b, other))), said(changed(b, other, at(a, way)))
            found[pair] += 1 / len(ways) / len(others)
    return found or Counter({(said(a), said(b)): 1})


def rows(search, texts):
    """A forest that holds these programs, and the roots (n,)."""
    programs = [search.read(text) for text in texts]
    forest, roots = programs[0].forest, [programs[0].roots]
    for program in programs[1:]:
        shift = len(forest) - 1
        symbol, value, children, _, _ = program.forest.columns()
        for row in range(1, len(program.forest)):
            moved = torch.where(children[row] > 0, children[row] + shift, 0)
            forest, _ = forest.add(symbol[[row]], value[[row]], moved[None])
        roots.append(program.roots + shift)
    return forest, torch.cat(roots)


def texts(search, forest, roots):
    """What the trees at these rows say; a row's children stand above it."""
    names, known = search.language.names, [""]
    symbols, values, children = (column.tolist() for column in forest.columns()[:3])
    for symbol, value, below in list(zip(symbols, values, children, strict=True))[1:]:
        given = [known[child] for child in below if child]
        known.append(f"{names[symbol]}({', '.join(given)})" if given else names[symbol] or repr(value))
    return [known[root] for root in roots.tolist()]


def play(search, generations, task):
    for _ in range(generations):
        search.tell(task(search.ask()))
    return search


def luck(seed=0):
    """Fitness that is drawn."""
    generator = torch.Generator().manual_seed(seed)
    return lambda population: torch.rand(len(population), generator=generator)


def grown(generations=8, size=60, seed=0, **arguments):
    """A search some generations on, whose fitness is luck."""
    return play(GP(arguments.pop("inputs", 2), size=size, seed=seed, **arguments), generations, luck(seed))
