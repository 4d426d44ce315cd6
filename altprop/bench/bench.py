"""Every rule against torch's own backpropagation as users have it, and against its floor."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altprop.backend import HAS_ONEDNN, machine, processor
from altprop.bench.cases import Case
from altprop.bench.floor import Floor, floor
from altprop.bench.timing import Times, one_thread, ratio, rounds, spread
from altprop.core import Refused, Rule, RuleWarning
from altprop.optim import in_one_pass
from altprop.rules import RULES
from altprop.tracing.compiled import Compiled
from altprop.tracing.graph import Apart, Step

LR, MOMENTUM = 1e-4, 0.9  # so small that no number grows or dies out on random labels
FLAGS = re.compile(r"\b(?:avx2|fma|avx512f|avx512_bf16|amx_bf16|amx_tile)\b")
REFERENCE = "autograd"


def bench(
    cases: Sequence[Case], count: int = 15, tell: Callable[[str], None] = lambda line: None, compiled: bool = False
) -> dict[str, Any]:
    """The result of all cases, ready for JSON: times in ms as (median, low and high quartile) over ``count`` rounds.

    Of every rule: ``ms`` of a step (zero_grad, credit, SGD with momentum as a run takes it), ``to_autograd``, its ratio
    to the step that ``loss.backward()`` and torch's own SGD take on the same net, ``floor_ms`` and ``to_floor``,
    ``products_ms`` and ``to_products`` (its floor without the optimizer), ``ways``, how many products go by which
    library; or ``refused``, why it does not work on that net.  tell: hears of each case before it is timed.  compiled:
    credit as ``compile = true`` has it; what cannot be traced is ``refused``."""
    results = []
    with one_thread(), torch.random.fork_rng(devices=[]):
        for case in cases:
            tell(f"{case.net}, batch {case.batch}")
            torch.manual_seed(0)
            results.append(_case(case, count, compiled))
    return {"machine": facts(), "rounds": count, "compiled": compiled, "cases": results}


def facts() -> dict[str, Any]:
    """What the times depend on beside the code."""
    try:
        flags = sorted(set(FLAGS.findall(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))))
    except OSError:
        flags = []
    return {
        "processor": machine(), "capability": processor()[2], "flags": flags, "cores": os.cpu_count(),
        "torch": torch.__version__, "mkl": torch.backends.mkl.is_available(), "onednn": HAS_ONEDNN, "threads": 1,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }  # fmt: skip


def _case(case: Case, count: int, compiled: bool) -> dict[str, Any]:
    x, y = case.data()
    steps, floors, refused = {REFERENCE: autograd_step(case.build(), x, y)}, {}, {}
    for name in case.rules:
        try:
            rule = make(name, case, x)
            steps[name] = rule_step(rule, x, y, compiled)
        except (Refused, Apart) as error:
            refused[name] = str(error)
            continue
        floors[name] = floor(rule, x, y, optimizer_of)
    parts = {f"floor of {name}": each.step for name, each in floors.items()}
    parts |= {f"products of {name}": each.products for name, each in floors.items()}
    times = rounds({**steps, **parts}, count)
    rows = [{"rule": n, "refused": refused[n]} if n in refused else _row(n, times, floors[n]) for n in case.rules]
    return {
        "net": case.net, "shape": list(case.shape), "batch": case.batch,
        "autograd_ms": spread(times[REFERENCE], 1e3)._asdict(), "rows": rows,
    }  # fmt: skip


def _row(name: str, times: Times, floor: Floor) -> dict[str, Any]:
    own, below, products = times[name], times[f"floor of {name}"], times[f"products of {name}"]
    return {
        "rule": name, "ms": spread(own, 1e3)._asdict(), "to_autograd": ratio(own, times[REFERENCE])._asdict(),
        "floor_ms": spread(below, 1e3)._asdict(), "products_ms": spread(products, 1e3)._asdict(),
        "to_floor": ratio(own, below)._asdict(), "to_products": ratio(own, products)._asdict(), "ways": floor.ways,
    }  # fmt: skip


def make(name: str, case: Case, x: Tensor) -> Rule:
    """That rule on the case's net, with its own defaults; raises ``Refused`` where it does not work on such a net."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuleWarning)  # of what the net lacks to learn well
        return RULES[name](case.build(), example=x[:1])


def optimizer_of(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """As a run of altprop makes it: what most users take, in one pass over memory."""
    return in_one_pass(torch.optim.SGD, parameters, lr=LR, momentum=MOMENTUM)


def autograd_step(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A step as users of torch have it."""
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    loss_function = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_function(net(x), y).backward()
        optimizer.step()

    return step


def rule_step(rule: Rule, x: Tensor, y: Tensor, compiled: bool = False) -> Callable[[], None]:
    """The same step with the rule in the place of ``backward``; raises ``Apart`` where it cannot be compiled."""
    optimizer = optimizer_of(rule.parameters())
    graph = Compiled(Step(rule, list(rule.parameters()), rule.credit, (x, y))) if compiled else None

    def step() -> None:
        optimizer.zero_grad()
        rule.credit(x, y) if graph is None else graph((x, y))
        optimizer.step()

    return step
