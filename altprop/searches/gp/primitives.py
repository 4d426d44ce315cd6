"""What a program may compute: functions of numbers and truths, each in torch, and the same in plain Python.

A protected function has a value where mathematics has none: a / 0 is 1, log 0 is 0, and log of a number below 0 is that
of its size.  Numbers that overflow are infinite, and what is nothing then (inf - inf) is NaN."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from altprop.limits import Refused, nearest, shown

NUMBER, TRUTH = "number", "truth"


class Primitive(NamedTuple):
    """One function with types.  Tensors of the type "truth" are bool, those of every other type are floats, and types
    of your own keep apart what should not be mixed."""

    name: str
    function: Callable[..., Tensor]  # of tensors of one shape, entry by entry
    python: str  # an expression in a, b, c ..., that gives the same for one number each; math may be read
    arguments: tuple[str, ...] = (NUMBER, NUMBER)
    result: str = NUMBER


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 1 where b is 0 (Koza 1992)."""
    return torch.where(b == 0, 1, a / b)


def log(a: Tensor) -> Tensor:
    """log |a|, and 0 where a is 0 (Koza 1992)."""
    return torch.where(a == 0, 0, a.abs().log())


ONE, TWO, TRUTHS = (NUMBER,), (NUMBER, NUMBER), (TRUTH, TRUTH)
WAVE = "math.{}(a) if math.isfinite(a) else math.nan"
PRIMITIVES: dict[str, Primitive] = {
    one.name: one
    for one in (
        Primitive("add", torch.add, "a + b"),
        Primitive("sub", torch.sub, "a - b"),
        Primitive("mul", torch.mul, "a * b"),
        Primitive("div", divide, "a / b if b != 0 else 1.0"),
        Primitive("neg", torch.neg, "-a", ONE),
        Primitive("cos", torch.cos, WAVE.format("cos"), ONE),
        Primitive("sin", torch.sin, WAVE.format("sin"), ONE),
        Primitive("tanh", torch.tanh, "math.tanh(a)", ONE),
        Primitive("exp", torch.exp, "math.exp(a) if not a > 709.78 else math.inf", ONE),
        Primitive("log", log, "math.log(abs(a)) if a != 0 else 0.0", ONE),
        Primitive("less", torch.lt, "a < b", TWO, TRUTH),
        Primitive("and_", torch.logical_and, "a and b", TRUTHS, TRUTH),
        Primitive("or_", torch.logical_or, "a or b", TRUTHS, TRUTH),
        Primitive("not_", torch.logical_not, "not a", (TRUTH,), TRUTH),
        Primitive("if_", torch.where, "b if a else c", (TRUTH, NUMBER, NUMBER)),
    )
}
USUAL = ("add", "sub", "mul", "div", "neg", "cos", "sin")  # of symbolic regression, as in DEAP's example


def chosen(primitives: tuple[str | Primitive, ...]) -> list[Primitive]:
    """By name, or as they are.  Raises ``Refused`` for unknown names, and for primitives that Python could not name."""
    found: list[Primitive] = []
    for one in primitives:
        if not isinstance(one, Primitive):
            if one not in PRIMITIVES:
                raise Refused(f"the primitive {shown(one)} came{nearest(str(one), PRIMITIVES)}")
            one = PRIMITIVES[one]
        taken = one.name in {other.name for other in found} or re.fullmatch(r"x\d+|f|math", one.name)
        if taken or not one.name.isidentifier() or keyword.iskeyword(one.name):
            what = f"a primitive of the name {shown(one.name)} came"
            raise Refused(f"{what}: give each a name of its own that Python takes, and that is not x0, f or math")
        if not 1 <= len(one.arguments) <= 26:
            raise Refused(f"the primitive {one.name} of {len(one.arguments)} arguments came: give it 1 to 26")
        found.append(one)
    return found
