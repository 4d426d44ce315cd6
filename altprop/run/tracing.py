"""The steps of several rules as one flat graph of operations: each is traced, and one is batched over all.

What a step reads or changes beside its batch (weights, feedback, statistics) becomes an input of the graph.  What it
draws at random becomes one too, drawn for each by itself, since each has a random state of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.func import functionalize, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from altprop.core import Rule
from altprop.measure.probe import undone

CLOSE = 1e-4  # of the norm of a gradient; what is further from that of the rule itself is another computation
ONEDNN = "mkldnn::_linear_pointwise"  # which cannot be batched


class Apart(Exception):
    """Why steps cannot be put together."""


class Traced(NamedTuple):
    """The step of one rule on one batch."""

    graph: fx.GraphModule  # (*batch, *held) -> [loss, *gradients]
    held: list[Tensor]  # what it reads or changes beside the batch
    graded: list[int]  # which of the parameters get a gradient
    values: list[Tensor]  # loss and gradients, as the rule itself has computed them


def trace(rule: Rule, parameters: Sequence[Tensor], step: Callable[..., Tensor], batch: Sequence[Tensor]) -> Traced:
    """``step(*batch)`` as a graph; what it leaves in the rule is taken back."""
    graded: list[int] = []
    values: list[Tensor] = []

    def run(*batch: Tensor) -> list[Tensor]:
        for parameter in rule.parameters():
            parameter.grad = None
        loss = step(*batch)
        graded[:] = [index for index, parameter in enumerate(parameters) if parameter.grad is not None]
        found = [loss, *(parameters[index].grad.clone() for index in graded)]  # type: ignore[union-attr]
        values[:] = found
        return found

    with undone(rule):
        graph = make_fx(run)(*batch)
        values[:] = [value.detach().clone() for value in values]
    return Traced(graph, _lifted(graph), graded, values)


def _lifted(graph: fx.GraphModule) -> list[Tensor]:
    """The tensors that the graph holds, which it takes as further inputs from now on."""
    held: dict[int, tuple[Tensor, fx.Node]] = {}
    place = _inputs(graph)[-1]
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            tensor = getattr(graph, node.target)
            if id(tensor) not in held:
                with graph.graph.inserting_after(place):
                    place = graph.graph.placeholder(f"held_{len(held)}")
                held[id(tensor)] = tensor, place
            node.replace_all_uses_with(held[id(tensor)][1])
            graph.graph.erase_node(node)
        elif isinstance(node.target, torch._ops.OpOverload) and node.target._schema.name == ONEDNN:
            with graph.graph.inserting_before(node):
                product = graph.graph.call_function(torch.ops.aten.linear.default, node.args[:3])
            node.replace_all_uses_with(product)
            graph.graph.erase_node(node)
    graph.recompile()
    return [tensor for tensor, _ in held.values()]


def _inputs(graph: fx.GraphModule) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if node.op == "placeholder"]


class Flat(NamedTuple):
    """The steps of several rules as one."""

    run: Callable[..., list[Tensor]]  # (*batch, *held, *drawn), each (rules, ...) -> [losses, *gradients]
    draw: Callable[..., list[Tensor]] | None  # (*batch, *held) of one rule -> what it draws


def flatten(traces: Sequence[Traced], batches: Sequence[Sequence[Tensor]], randoms: Sequence[Tensor]) -> Flat:
    """One graph for all; randoms: the random state that each draws from.

    Raises ``Apart`` where they do not compute the same, or where the graph has other results than each by itself."""
    first = traces[0]
    for each in traces:
        if each.graph.code != first.graph.code or [t.shape for t in each.held] != [t.shape for t in first.held]:
            raise Apart("its seeds do not compute the same")
    if "_local_scalar_dense" in first.graph.code:
        raise Apart("what it computes depends on single values")
    own = [[*batch, *(t.detach() for t in each.held)] for batch, each in zip(batches, traces, strict=True)]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        graph = make_fx(functionalize(first.graph))(*(t.clone() for t in own[0]))
        draw = _taken_out(graph)
        if draw is not None:
            own = [[*inputs, *_drawn(draw, inputs, random)] for inputs, random in zip(own, randoms, strict=True)]
        stacked = [torch.stack(parts) for parts in zip(*own, strict=True)]
        flat = make_fx(vmap(graph, randomness="error"))(*(t.clone() for t in stacked))
        _check(flat(*stacked), traces)
    return Flat(flat.forward, draw)


def _drawn(draw: Callable[..., list[Tensor]], inputs: Sequence[Tensor], random: Tensor) -> list[Tensor]:
    torch.set_rng_state(random)
    return draw(*inputs)


def _taken_out(graph: fx.GraphModule) -> Callable[..., list[Tensor]] | None:
    """Make what the graph draws at random a further input; returns what draws it, from the graph's own inputs."""
    draws = [node for node in graph.graph.nodes if _is_random(node)]
    if not draws:
        return None
    early, copies, needed = fx.Graph(), {}, set(draws)  # type: fx.Graph, dict[fx.Node, fx.Node], set[fx.Node]
    for node in reversed(graph.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    for node in graph.graph.nodes:
        if node.op == "placeholder" or node in needed:
            copies[node] = early.node_copy(node, copies.__getitem__)
    early.output([copies[node] for node in draws])
    place = _inputs(graph)[-1]
    for node in draws:
        with graph.graph.inserting_after(place):
            place = graph.graph.placeholder(f"drawn_{node.name}")
        node.replace_all_uses_with(place)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return fx.GraphModule(graph, early).forward


def _is_random(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


def _check(found: Sequence[Tensor], traces: Sequence[Traced]) -> None:
    for values, *wanted in zip(found, *(each.values for each in traces), strict=True):
        for value, want in zip(values, wanted, strict=True):
            if want.isfinite().all() and not (value - want).norm() <= CLOSE * want.norm() + CLOSE**2:
                raise Apart("put together it has other results than by itself")
