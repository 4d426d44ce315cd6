"""From files to pages and terminal; no rule is run here."""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """Importing this room puts it in the place of ``altprop.report``, the function of ``altprop.graph``: it answers."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from altprop.graph import report

        return report(*arguments, **named)


sys.modules[__name__].__class__ = _Room
