"""From a recipe to a search at work: the task, what the search begins from, and the search, all from one seed."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import nn

from altprop.core import Refused, SearchClaims
from altprop.data import Dataset, as_input
from altprop.evolution.evaluation import Evaluator
from altprop.evolution.evolving import Evolving
from altprop.evolution.recipe import CUSTOM, SearchRecipe
from altprop.nets import build
from altprop.run.build import resolve
from altprop.run.inputs import load_data, suited_data
from altprop.run.recipe import Recipe, RunError
from altprop.run.values import make_recipe
from altprop.searches import SEARCHES
from altprop.searches.ground import Ground
from altprop.tasks import Supervised, Task, named

HIDDEN = 16  # units of the net that a control task gets where none is given
PARTS = 8  # of a generation that processes share
OF_NETS = ("net", "act", "init")  # keys for searches of the parameters of a net


def prepare(
    recipe: SearchRecipe, task: Task | None = None, net: nn.Module | None = None, data: Dataset | None = None,
    shared: bool = False,
) -> Evolving:  # fmt: skip
    """Build what the recipe names; ``task``, ``net`` and ``data`` stand in for those of the recipe.

    shared: whether processes evaluate, so that a generation comes in parts.  Raises one-line errors."""
    kind = SEARCHES[recipe.search]
    vector = genome_of(recipe.search) == "vector"
    if recipe.data is not None:
        recipe, data = _with_data(recipe, data, net is not None)
        task = labelled(recipe, data.x_train, data, vector, batch=recipe.batch)
        unseen = labelled(recipe, data.x_test, data, vector)
    else:
        task, unseen = task or make_task(recipe), None
    recipe = replaced(recipe, task, net, vector, shared)
    start = first = None
    if vector:
        start = net if net is not None else task.origin(torch.Generator().manual_seed(recipe.seed))
        start = build_net(recipe, task.inputs, task.outputs) if start is None else start
        first = torch.zeros(1, *task.inputs) if isinstance(start, nn.Module) else None
    ground = Ground(prod(task.inputs), task.outputs, recipe.seed, start, first)
    try:
        search = kind.on(ground, **recipe.arguments)  # type: ignore[attr-defined]
    except TypeError as error:
        raise Refused(f"search '{recipe.search}' does not take {recipe.arguments}: {error}") from error
    evaluator = Evaluator(task, recipe.seed, recipe.parts or 1)
    return Evolving(recipe, search, task, evaluator, unseen, data)


def genome_of(search: str) -> str:
    """What the individuals of a search are written in: vector, graph or tree."""
    claims: SearchClaims = SEARCHES[search].claims
    return claims.genome


def make_task(recipe: SearchRecipe) -> Task:
    """The task that a recipe names; raises ``RunError`` for one that came from Python."""
    if recipe.task in (None, CUSTOM):
        raise RunError("the run's task was given from Python: give it again, as task=...")
    return named(str(recipe.task), **recipe.task_arguments)


def labelled(recipe: SearchRecipe, x: Any, data: Dataset, vector: bool, batch: int | None = None) -> Supervised:
    """The training or the test part of data as a task."""
    y = data.y_train if x is data.x_train else data.y_test
    loss = recipe.loss or "cross_entropy"
    return Supervised(as_input(x, torch.float32), y, data.outputs, loss=loss, batch=batch, flat=not vector)


def replaced(recipe: SearchRecipe, task: Task, net: nn.Module | None, vector: bool, shared: bool) -> SearchRecipe:
    """The recipe with all decided that was left to task and search; raises ``RunError`` for what they cannot have."""
    given = next((key for key in OF_NETS if getattr(recipe, key) is not None), None)
    if given is not None and not vector:
        what = f"{given} came for search '{recipe.search}', which grows nets of its own"
        raise RunError(f"{what}: leave it out, or take a search of parameters such as 'cma_es'")
    nets = vector and net is None and task.origin(torch.Generator()) is None
    if given is not None and not nets and net is None:
        raise RunError(f"{given} came for task '{recipe.task}', which asks for vectors, not nets: leave it out")
    spec = f"{prod(task.inputs)}-{HIDDEN}-{task.outputs}"
    decided = {"net": recipe.net or spec, "act": recipe.act or "tanh", "init": recipe.init or "he_uniform"}
    if net is not None:
        decided = {"net": CUSTOM}
    return recipe.with_(
        **(decided if nets or net is not None else {}),
        parts=recipe.parts or (PARTS if shared else 1), threads=recipe.threads or 1,
    )  # fmt: skip


def build_net(recipe: SearchRecipe, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The net that a search of parameters begins from."""
    if recipe.net is None or recipe.net == CUSTOM:
        raise RunError("the run's net was given from Python: give it again, as net=...")
    options: dict[str, Any] = {"bias": recipe.bias, "init": recipe.init, "seed": recipe.seed}
    return build(recipe.net, shape, outputs, act=recipe.act or "tanh", **options)


def inner_recipe(recipe: SearchRecipe) -> Recipe:
    """What the recipe says of data, as the rooms of data and nets take it."""
    keys = ("data", "data_dir", "label", "scale", "loss", "net", "act", "init", "bias", "seed")
    return make_recipe(**{key: getattr(recipe, key) for key in keys})


def _with_data(recipe: SearchRecipe, data: Dataset | None, custom_net: bool) -> tuple[SearchRecipe, Dataset]:
    inner = inner_recipe(recipe)
    data = load_data(inner) if data is None else data
    data = replace(data, x_unlabelled=None)
    inner = resolve(inner, data, custom_net=custom_net)
    vector = genome_of(recipe.search) == "vector" and not custom_net
    net = recipe.net or data.net or f"{prod(data.shape)}-{HIDDEN}-{data.outputs}"
    told = {"net": net if vector else recipe.net, "data": inner.data, "scale": inner.scale, "loss": inner.loss}
    return recipe.with_(**told), suited_data(data, nn.Identity())
