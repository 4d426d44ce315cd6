"""One individual by itself: a tree an output, that answers, is written as Python, and is read again."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from altprop.limits import Refused, shown
from altprop.searches.gp.forest import Forest
from altprop.searches.gp.language import CONSTANT, FIRST, Language
from altprop.searches.gp.population import Programs


class Program:
    """C trees, roots (C,), of one language.  A call is x (N, I) -> (N, C), in float64 where x is, else in float32."""

    def __init__(self, forest: Forest, roots: Tensor) -> None:
        self.forest, self.roots = forest.gather(roots)
        self.language = forest.language

    def __call__(self, x: Tensor) -> Tensor:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return Programs(self.forest, self.roots[None], dtype, x.device)(x)[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and str(self) == str(other) and self.language.told() == other.language.told()

    def __hash__(self) -> int:
        return hash(str(self))

    def __len__(self) -> int:
        """Nodes of all trees."""
        return int(self.forest.counts[self.roots, -1].sum())

    def height(self) -> int:
        """Of its highest tree; 0 where there are leaves only."""
        return int(self.forest.height[self.roots].max())

    def nodes(self) -> Iterator[tuple[int, float]]:
        """Symbol and value of every node of every tree, in the order in which one reads."""
        symbols, values, children = (column.tolist() for column in self.forest.columns()[:3])
        waiting = self.roots.tolist()[::-1]
        while waiting:
            row = waiting.pop()
            yield symbols[row], values[row]
            waiting += [child for child in reversed(children[row]) if child]

    def __str__(self) -> str:
        """As Python writes it, one call a primitive: ``add(mul(x0, x0), x0)``."""
        said: list[str] = []
        for symbol, value in list(self.nodes())[::-1]:
            arity = int(self.language.arity[symbol])
            below = ", ".join(said.pop() for _ in range(arity))
            name = repr(value) if symbol == CONSTANT else self.language.names[symbol]
            said.append(f"{name}({below})" if arity else name)
        return ", ".join(reversed(said))

    def to_json(self) -> str:
        """Its code, as text that says what it is; ``search.read`` gives it back."""
        return json.dumps({"kind": "gp", "code": self.to_python()}, indent=1)

    def to_python(self) -> str:
        """A file of plain Python that needs nothing else: ``f(x0, x1, ...)`` for one sample, a number or C of them."""
        used = {symbol for symbol, _ in self.nodes()}
        lines = ["import math", ""]
        for symbol, one in enumerate(self.language.primitives, self.language.first):
            if symbol in used:
                given = ", ".join("abcdefghijklmnopqrstuvwxyz"[: len(one.arguments)])
                lines += ["", f"def {one.name}({given}):", f"    return {one.python}", ""]
        inputs = ", ".join(f"x{i}" for i in range(len(self.language.inputs)))
        return "\n".join([*lines, "", f"def f({inputs}):", f"    return {self}", ""])

    @classmethod
    def read(cls, text: str, language: Language) -> Program:
        """Back from ``str`` or ``to_python``.  Raises ``Refused`` for what is no program of that language."""
        try:
            tree = ast.parse(text)
            last = tree.body[-1]
            said: Any = last.body[-1] if isinstance(last, ast.FunctionDef) else last
            trees = said.value.elts if isinstance(said.value, ast.Tuple) else [said.value]
            reader = _Reader(language)
            roots = torch.tensor([reader.row(one, language.output) for one in trees])
        except (SyntaxError, AttributeError, IndexError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Refused(f"{shown(text)} came as a program ({error}): give what str or to_python wrote") from error
        return cls(reader.forest, roots)

    def net(self) -> nn.Module:
        """An ordinary module, (N, I) -> (N, C), whose parameters are the constants."""
        from altprop.searches.gp.module import ProgramNet  # which reads this file

        return ProgramNet(self)


class _Reader:
    """From the syntax tree of Python to rows of a forest."""

    def __init__(self, language: Language) -> None:
        self.forest = Forest.empty(language)
        self.names = {name: symbol for symbol, name in enumerate(language.names) if symbol >= FIRST}

    def row(self, node: ast.expr, kind: str) -> int:
        """The row of a node that must give that type."""
        language = self.forest.language
        name, given, value = self.parts(node)
        symbol = CONSTANT if name is None else self.names[name]
        wanted = [language.types[k] for k in language.wanted[symbol].tolist() if k >= 0]
        made = language.types[int(language.made[symbol])]
        if made != kind or len(given) != len(wanted):
            raise ValueError(f"{name or value} gives {made} of {len(wanted)}, and {kind} of {len(given)} is wanted")
        children = torch.zeros(1, language.width, dtype=torch.int64)
        for j, (argument, of) in enumerate(zip(given, wanted, strict=True)):
            children[0, j] = self.row(argument, of)
        number = torch.tensor([value], dtype=torch.float64)
        self.forest, rows = self.forest.add(torch.tensor([symbol]), number, children)
        return int(rows)

    def parts(self, node: ast.expr) -> tuple[str | None, list[ast.expr], float]:
        """A name, none for a constant; its arguments; its value."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return node.func.id, node.args, 0.0
        if isinstance(node, ast.Name):
            return node.id, [], 0.0
        return None, [], float(ast.literal_eval(node))
