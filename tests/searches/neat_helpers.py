"""Genomes made by hand and by luck, and what a net says by a plain loop over its nodes."""

import math
from dataclasses import replace

import numpy as np

from altprop.searches.neat import CANONICAL, NEAT, Frame, Genome

FRAME = Frame(inputs=3, outputs=1, memory=False, activation="steep_sigmoid")
SLOPES = {"steep_sigmoid": 4.9, "clipped_sigmoid": 5.0}
WILD = replace(CANONICAL, spread=1.0, power=0.5, limit=2.0, add_node=0.4, add_connection=0.6, enable=0.1, disable=0.05)


def genome(numbers, weights=None, disabled=(), frame=FRAME):
    """Genes of these innovation numbers, whose ends do not matter."""
    n = len(numbers)
    weights = [0.5] * n if weights is None else list(weights)
    ends = [0] * n, [frame.inputs + 1] * n
    return Genome(frame, list(numbers), *ends, weights, [number not in disabled for number in numbers])


def luck(seed=0):
    return np.random.default_rng(seed)


def drawn(settings=WILD, seed=0, size=40, generations=12, inputs=3, outputs=2, **arguments):
    """A search some generations on, whose fitness is luck."""
    import torch

    search = NEAT(inputs, outputs, settings=settings, size=size, seed=seed, **arguments)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(generations):
        search.ask()
        search.tell(torch.rand(size, generator=generator))
    return search


def sigmoid(z, activation):
    slope = SLOPES[activation]
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, slope * z))))


def enabled(one):
    rows = zip(one.source, one.target, one.weight, one.enabled, strict=True)
    return [(source, target, weight) for source, target, weight, on in rows if on]


def outputs(frame):
    return range(frame.inputs + 1, frame.inputs + 1 + frame.outputs)


def say(one, x):
    """A feed-forward genome on one sample, node by node, as the definition has it."""
    frame, genes = one.frame, enabled(one)
    known = {**dict(enumerate(x)), frame.inputs: 1.0}

    def value(node):
        if node not in known:
            z = sum(weight * value(source) for source, target, weight in genes if target == node)
            known[node] = sigmoid(z, frame.activation)
        return known[node]

    return [value(node) for node in outputs(frame)]


def say_in_time(one, xs):
    """A genome with memory on a sequence: all nodes at once, from what they said before."""
    frame, genes, said = one.frame, enabled(one), {}
    nodes, answers = {*outputs(frame), *one.source, *one.target} - set(range(frame.inputs + 1)), []
    for x in xs:
        before = {**said, **dict(enumerate(x)), frame.inputs: 1.0}
        for node in nodes:
            z = sum(weight * before.get(source, 0.0) for source, target, weight in genes if target == node)
            said[node] = sigmoid(z, frame.activation)
        answers.append([said[node] for node in outputs(frame)])
    return answers


def apart(one, other, s, kept=lambda source: True):
    """E, D, differences of weights, flags that differ, and N, gene by gene."""
    a, b = (
        {
            n: (w, on)
            for n, source, w, on in zip(g.innovation, g.source, g.weight, g.enabled, strict=True)
            if kept(source)
        }
        for g in (one, other)
    )
    shorter = min(max(a, default=-1), max(b, default=-1))
    alone = a.keys() ^ b.keys()
    excess = sum(n > shorter for n in alone)
    both = [(a[n], b[n]) for n in a.keys() & b.keys()]
    flags = sum(on != other_on for (_, on), (_, other_on) in both)
    return excess, len(alone) - excess, [abs(w - v) for (w, _), (v, _) in both], flags, max(len(a), len(b))


def slow_distance(one, other, s):
    """Compatibility by the formulas, without tables."""
    if s.way == "canonical":
        E, D, gaps, _, N = apart(one, other, s)
        N = 1 if max(N, s.small - 1) < s.small else N
        return s.excess * E / N + s.disjoint * D / N + s.difference * (np.mean(gaps) if gaps else 0)
    total, bias = 0, one.frame.inputs
    for kept in (lambda source: source == bias, lambda source: source != bias):
        E, D, gaps, flags, N = apart(one, other, s, kept)
        total += (s.excess * E + s.disjoint * D + s.difference * (sum(gaps) + flags)) / max(N, 1)
    return total
