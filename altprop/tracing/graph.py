"""A step of a rule as one flat graph of operations.

What a step reads or changes beside its batch (weights, feedback, statistics) becomes an input of the graph.  What it
draws at random becomes one too, so that whoever runs the graph draws the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from altprop.core import Rule
from altprop.measure.probe import undone

CLOSE = 1e-4  # of the norm of a gradient; what is further from that of the rule itself is another computation
MOST = 500  # operations of a step; each takes some milliseconds to trace
ONEDNN = "mkldnn::_linear_pointwise"  # which nothing can follow


class Apart(Exception):
    """Why steps cannot be put together."""


class _Counter(TorchDispatchMode):
    """Counts what is computed under it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


class Step(NamedTuple):
    """What one rule does with one batch."""

    rule: Rule
    parameters: Sequence[Tensor]  # that an optimizer steps
    take: Callable[..., Tensor]  # (*batch) -> loss; fills the gradients
    batch: Sequence[Tensor]

    def __call__(self, *batch: Tensor) -> list[Tensor]:
        """[loss, *gradients] of the parameters that get one."""
        for parameter in self.rule.parameters():
            parameter.grad = None
        loss = self.plainly(*batch)
        return [loss, *(parameter.grad.clone() for parameter in self.parameters if parameter.grad is not None)]

    def plainly(self, *batch: Tensor) -> Tensor:
        """The loss, with no graph."""
        with same_buffers(self.rule):
            return self.take(*batch)

    def observed(self) -> tuple[list[Tensor], list[int]]:
        """The same of its batch, and which parameters those are; what it leaves in the rule is taken back."""
        with undone(self.rule), _Counter() as counter:
            values = [value.clone() for value in self(*self.batch)]
            if counter.operations > MOST:
                what = f"its step takes {counter.operations} operations, more than {MOST}"
                raise Apart(f"{what}, so that tracing would cost more than it saves")
            return values, [index for index, each in enumerate(self.parameters) if each.grad is not None]

    def named(self) -> dict[str, Tensor]:
        return {**dict(self.rule.named_parameters()), **dict(self.rule.named_buffers())}

    def trace(self) -> tuple[fx.GraphModule, list[Tensor]]:
        """A graph of (*batch, *held) -> [loss, *gradients], and what it reads or changes beside the batch."""
        with undone(self.rule):
            graph = make_fx(lambda *batch: self(*batch))(*self.batch)
        return graph, _lifted(graph)


@contextmanager
def same_buffers(rule: Rule) -> Iterator[None]:
    """Buffers that the rule replaces by others in here are back afterwards, with the numbers of those, so that a graph
    sees them change."""
    before = {name: dict(module.named_buffers(recurse=False)) for name, module in rule.named_modules()}
    yield
    for place, buffers in before.items():
        module = rule.get_submodule(place)
        for name, buffer in buffers.items():
            found = module.get_buffer(name)
            if found is not buffer:
                module.register_buffer(name, buffer.copy_(found), name not in module._non_persistent_buffers_set)


class Functional(NamedTuple):
    """A step as a graph of functions."""

    graph: fx.GraphModule  # (*batch, *held, *drawn) -> [loss, *gradients]
    held: list[Tensor]
    draw: Callable[..., list[Tensor]] | None  # (*batch, *held) -> what it draws


def functional(step: Step) -> Functional:
    """The graph of a step, under ``torch.no_grad``."""
    single, held = step.trace()
    graph = make_fx(functionalize(single))(*(t.detach().clone() for t in (*step.batch, *held)))
    _without_copies(graph)
    return Functional(graph, held, _taken_out(graph))


def drawing(random: Tensor, function: Callable[..., Any], *arguments: Tensor) -> Any:
    """What the function returns where torch's generator is in that state."""
    torch.set_rng_state(random)
    return function(*arguments)


def is_near(value: Tensor, wanted: Tensor) -> bool:
    """Whether they differ by rounding; numbers that are not finite are compared with nothing."""
    within = CLOSE * wanted.norm() + CLOSE**2
    return bool((value - wanted).norm() <= within) or not bool(wanted.isfinite().all())


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


def _without_copies(graph: fx.GraphModule) -> None:
    """What ``copy`` returns is its source in the shape and dtype of the other; torch would batch it in a loop.  What
    nothing else can reach needs no ``clone``, since a graph of functions changes nothing in place."""
    aten = torch.ops.aten
    for node in [node for node in graph.graph.nodes if node.target is aten.clone.default]:
        made = node.args[0].target
        if isinstance(made, torch._ops.OpOverload) and all(each.alias_info is None for each in made._schema.returns):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    for node in [node for node in graph.graph.nodes if node.target is aten.copy.default]:
        with graph.graph.inserting_before(node):
            source = graph.graph.call_function(aten.type_as.default, (node.args[1], node.args[0]))
            node.replace_all_uses_with(graph.graph.call_function(aten.expand_as.default, (source, node.args[0])))
        graph.graph.erase_node(node)
    graph.recompile()


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
