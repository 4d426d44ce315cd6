"""What a run is made of: the phases of its rule, each with the settings that the recipe's tables give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from altprop.core import Phase, Rule
from altprop.limits import nearest, shorten
from altprop.run.optimizers import find_schedule
from altprop.run.readout import READOUT
from altprop.run.recipe import Recipe, RunError
from altprop.suits import RATES

OF_THE_FIRST = ("batch", "schedule")  # of phases beside each other: how their batches come


@dataclass(frozen=True, eq=False)
class Turn:
    """Phases that learn beside each other, batch by batch; mostly there is one."""

    phases: tuple[Phase, ...]
    recipes: tuple[Recipe, ...]  # one for each: the run's, with the settings of its own
    epochs: int
    head: bool  # whether what learns is the last layer, on top of what has learned
    name: str
    recipe: Recipe  # that of the first, which says how batches come
    step: Callable[..., Tensor]  # that of the first, which teaches all
    labels: bool  # whether any is given them
    moves: tuple[nn.Module, ...]
    moved: frozenset[nn.Parameter]


def _turn(phases: tuple[Phase, ...], recipes: tuple[Recipe, ...], epochs: int, head: bool) -> Turn:
    moves = tuple(module for phase in phases for module in phase.moves)
    return Turn(
        phases, recipes, epochs, head, name=" + ".join(phase.name for phase in phases), recipe=recipes[0],
        step=phases[0].step, labels=any(phase.labels for phase in phases), moves=moves,
        moved=frozenset(parameters_of(moves)),
    )  # fmt: skip


def parameters_of(modules: Sequence[nn.Module]) -> set[nn.Parameter]:
    return {parameter for module in modules for parameter in module.parameters()}


def find_turns(recipe: Recipe, rule: Rule) -> tuple[Recipe, list[Turn]]:
    """The turns of a run, in their order, and the recipe with their epochs written down, where there are several.

    Raises ``RunError`` for tables of phases that the rule does not have."""
    phases, turns = rule.phases(), []  # type: list[Phase], list[Turn]
    _check_names(recipe, [phase.name for phase in phases])
    for phase in phases:
        given, head = _given(recipe, phase), phase.name == READOUT and recipe.readout.after
        own = _with_settings(recipe, phase, given)
        wanted = phase.epochs if given.get("epochs") is None else given["epochs"]
        if wanted == 0 and not head:
            continue
        alone = head or given.get("epochs") is not None or not given.get("beside", True)
        if phase.beside and turns and not alone:
            _check_beside(phase, turns[-1], given)
            last = turns[-1]
            turns[-1] = _turn((*last.phases, phase), (*last.recipes, own), last.epochs, last.head)
            continue
        epochs = (recipe.readout.epochs or 1) if head else wanted or recipe.epochs or 1
        find_schedule(own.schedule, epochs)  # what would fail after hours fails now
        turns.append(_turn((phase,), (own,), epochs, head))
    if not turns:
        raise RunError(f"no phase of rule '{recipe.rule}' has epochs, so that nothing learns: give one some")
    for turn in turns:
        _check_batch(turn.recipe, rule.net)
    return (recipe if len(turns) == 1 else _spelled(recipe, turns)), turns


def _spelled(recipe: Recipe, turns: Sequence[Turn]) -> Recipe:
    own = [turn for turn in turns if not turn.head]
    tables = [table.given() | {"name": table.name} for table in recipe.phase]
    known = {table["name"] for table in tables if "epochs" in table}
    added = [{"name": t.phases[0].name, "epochs": t.epochs} for t in own if t.phases[0].name not in known]
    return recipe.with_(phase=[*tables, *added])


def _check_names(recipe: Recipe, names: list[str]) -> None:
    for table in recipe.phase:
        if not any(table.meets(name) for name in names):
            what = f"rule '{recipe.rule}' has no phase '{shorten(table.name, 60)}' with these arguments and this net"
            raise RunError(f"{what}{nearest(table.name, names)}")


def _check_beside(phase: Phase, turn: Turn, given: dict[str, Any]) -> None:
    idle = [key for key in OF_THE_FIRST if key in given]
    if idle:
        what = f"{idle[0]} came for phase '{phase.name}', which learns in the batches of '{turn.phases[0].name}'"
        raise RunError(f"{what}: leave it out, or give it epochs of its own")


def _check_batch(recipe: Recipe, net: nn.Module) -> None:
    if recipe.batch == 1 and any(isinstance(module, nn.BatchNorm1d) for module in net.modules()):
        what = "batch = 1 came, but BatchNorm1d has no statistics of one sample"
        raise RunError(f"{what}: give a larger batch, or a net without norm and --scale standard")


def _given(recipe: Recipe, phase: Phase) -> dict[str, Any]:
    """What the tables say of it, the later one first."""
    return {key: value for table in recipe.phase if table.meets(phase.name) for key, value in table.given().items()}


def _with_settings(recipe: Recipe, phase: Phase, given: dict[str, Any]) -> Recipe:
    """The recipe as it is for one phase."""
    if phase.name == READOUT and recipe.readout.optimizer is not None:
        head = recipe.readout
        settings: dict[str, Any] = {key: getattr(head, key) for key in ("optimizer", "momentum", "weight_decay")}
        return recipe.with_(**settings, lr=head.lr or recipe.lr, nesterov=False)
    settings = {key: value for key, value in given.items() if key not in ("epochs", "beside")}
    if "optimizer" in settings:
        settings.setdefault("lr", RATES[settings["optimizer"]] or recipe.lr)
    return recipe.with_(**settings) if settings else recipe
