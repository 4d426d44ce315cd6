"""Where the memory of a step lies, and what its layers compute and move; beside backpropagation as torch offers it.

Memory is that of one step by parts: parameters, feedback, gradients, the optimizer's state (SGD with momentum), and
the most that activities, signals and what else is made on the way hold at one time.  Backpropagation stands there three
times: as ``loss.backward()``; with hidden layers recomputed on the way down, the root of their number at a time
(``torch.utils.checkpoint``); and with gradients accumulated over ``PARTS`` parts of the batch, of which another stands
beside while it is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from altprop.bench import ledger
from altprop.bench.bench import facts, make, optimizer_of
from altprop.bench.cases import Case
from altprop.bench.timing import one_thread
from altprop.bench.traffic import ELSEWHERE, Traffic, by_hand, measured
from altprop.core import Layer, Refused, Rule
from altprop.measure import held, peak_activation_bytes, peak_bytes, state_bytes

PARTS = 4  # of a batch
Loss = Callable[[nn.Module, Rule, Tensor, Tensor], None]


def profile(name: str, case: Case, depths: Sequence[int] = ()) -> dict[str, Any]:
    """Of that rule on that net, ready for JSON: ``memory``, rows of bytes by part, and ``layers``, multiply-adds a
    sample and bytes a batch; each with what the ledger says, None where shapes and claims do not tell.

    depths: ``by_depth`` has the memory of nets of so many layers, the last hidden one repeated.
    Raises ``Refused`` where the rule does not work on the net."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y = case.data()
        rule = make(name, case, x)
        result = {
            "rule": name, "net": case.net, "shape": list(case.shape), "batch": case.batch,
            "memory": _memory(name, case), "layers": _layers(rule, x, y), "machine": facts(),
        }  # fmt: skip
        if depths:
            deep = {depth: _memory(name, case._replace(net=deepened(case.net, depth))) for depth in depths}
            result["by_depth"] = [{"depth": depth, "memory": rows} for depth, rows in deep.items()]
        return result


def deepened(net: str, depth: int) -> str:
    """The spec of so many layers: its last hidden one stands as often as it takes.  Raises ``Refused``."""
    first, *hidden, last = net.split("-")
    if not hidden or not all(part.isdecimal() for part in (first, *hidden)):
        raise Refused(f"--depths came for net '{net}': give one of widths with a hidden layer, such as 784-1024-10")
    if depth < 2:
        raise Refused(f"--depths {depth} came: a net has at least 2 layers, one of them hidden")
    return "-".join([first, *(hidden + [hidden[-1]] * depth)[: depth - 1], last])


def _memory(name: str, case: Case) -> list[dict[str, Any]]:
    x, y = case.data()
    rule = make(name, case, x)
    own = peak_activation_bytes(rule, x, y)
    rows = [_row(name, rule, lambda: rule.credit(x, y), own, ledger.activations(rule, len(x)), held(rule).feedback)]
    for what, backward in BACKWARD.items():
        twin = make(name, case, x)
        step = _bound(backward, twin, x, y)
        peak = peak_bytes(step, twin.net.parameters())
        told = ledger.autograd_activations(twin, len(x)) if what == AUTOGRAD else None
        rows.append(_row(what, twin, step, peak, told, 0))
    return rows


def _row(
    what: str, rule: Rule, step: Callable[[], Any], activations: int, told: int | None, feedback: int
) -> dict[str, Any]:
    """With the gradients of one step, and what the optimizer keeps after it."""
    optimizer = optimizer_of(rule.parameters())
    optimizer.zero_grad()
    step()
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in rule.parameters() if p.grad is not None)
    optimizer.step()
    parts = {
        "parameters": held(rule).parameters, "feedback": feedback, "gradients": gradients,
        "optimizer": state_bytes(optimizer), "activations": activations,
    }  # fmt: skip
    return {"of": what, **parts, "total": sum(parts.values()), "activations_ledger": told}


def _layers(rule: Rule, x: Tensor, y: Tensor) -> list[dict[str, Any]]:
    found, told = measured(rule, x, y), by_hand(rule, len(x)) or {}
    rows = []
    for name, traffic in found.items():
        hand = told.get(name)
        if name != ELSEWHERE or traffic.multiply_adds:
            rows.append({"layer": name, **_spelled(traffic, len(x), ""), **_spelled(hand, len(x), "_ledger")})
    return rows


def _spelled(traffic: Traffic | None, samples: int, suffix: str) -> dict[str, float | None]:
    adds, moved = (None, None) if traffic is None else (traffic.multiply_adds / samples, traffic.bytes)
    return {f"multiply_adds{suffix}": adds, f"bytes_moved{suffix}": moved}


def _bound(backward: Loss, rule: Rule, x: Tensor, y: Tensor) -> Callable[[], None]:
    return lambda: backward(rule.net, rule, x, y)


def _plain(net: nn.Module, rule: Rule, x: Tensor, y: Tensor) -> None:
    nn.functional.cross_entropy(net(x), y).backward()


def _checkpointed(net: nn.Module, rule: Rule, x: Tensor, y: Tensor) -> None:
    *hidden, last = rule.layers
    size = max(1, isqrt(len(hidden)))
    for start in range(0, len(hidden), size):
        x = checkpoint(_run, hidden[start : start + size], x, use_reentrant=False)
    nn.functional.cross_entropy(last(x), y).backward()


def _run(layers: Sequence[Layer], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _accumulated(net: nn.Module, rule: Rule, x: Tensor, y: Tensor) -> None:
    for part, labels in zip(x.chunk(PARTS), y.chunk(PARTS), strict=True):  # the mean of the whole batch
        (nn.functional.cross_entropy(net(part), labels, reduction="sum") / len(x)).backward()


AUTOGRAD = "autograd"
BACKWARD: dict[str, Loss] = {
    AUTOGRAD: _plain, "autograd, checkpointed": _checkpointed, f"autograd, {PARTS} parts": _accumulated
}  # fmt: skip
