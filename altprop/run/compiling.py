"""``compile = true``: credit by a compiled graph, wherever a step can be traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from altprop.core import Rule, Weighted
from altprop.limits import Notice, shorten
from altprop.tracing.compiled import Compiled
from altprop.tracing.graph import Step

Take = Callable[[Tensor, Any], Tensor]


def as_tensors(x: Tensor, y: Any) -> list[Tensor]:
    """A batch as the inputs of a graph: x, and its labels where there are any."""
    return [x, *(() if y is None else (y.y, y.w) if isinstance(y, Weighted) else (y,))]


def as_labels(parts: Sequence[Tensor]) -> Any:
    """What stands behind x in ``as_tensors``, as a step takes it."""
    return None if not parts else Weighted(*parts) if len(parts) == 2 else parts[0]


class Compiling:
    """What one turn of a run makes of a batch: traced and compiled with the first of ``size`` samples, and as it is
    written where that fails, which is told.  A shorter one is never compiled, wherever a run goes on."""

    def __init__(self, rule: Rule, parameters: Sequence[nn.Parameter], take: Take, size: int, streaming: bool) -> None:
        self.rule, self.parameters, self.take, self.size = rule, parameters, take, size
        self.compiled: Compiled | None = None
        self.fresh = True
        if streaming:
            self._tell("each layer is stepped as soon as it can be")

    def __call__(self, x: Tensor, y: Any) -> Tensor:
        batch = as_tensors(x, y)
        if self.fresh and len(x) == self.size:
            self.fresh, self.compiled = False, self._compiled(batch)
        return self.take(x, y) if self.compiled is None else self.compiled(batch)

    def _compiled(self, batch: Sequence[Tensor]) -> Compiled | None:
        try:
            return Compiled(Step(self.rule, self.parameters, lambda x, *y: self.take(x, as_labels(y)), batch))
        except Exception as error:  # whatever torch cannot trace or compile can be stepped as it is written
            self._tell(shorten(str(error).strip().partition("\n")[0] or type(error).__name__, 160))
            return None

    def _tell(self, why: str) -> None:
        what = f"compile came, but the steps of {type(self.rule).__name__} are not compiled"
        warnings.warn(Notice(f"{what}: {why}"), stacklevel=3)
