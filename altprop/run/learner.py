"""From a recipe to something that learns: data, net, rule, optimizers and schedule, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from altprop.core import Layer, Refused, Rule, layers
from altprop.core.layer import is_dense
from altprop.data import DATASETS, Dataset, TableEncoding, as_input, load
from altprop.graph import KINDS as ALIGNMENTS
from altprop.graph import Aligned
from altprop.limits import shorten
from altprop.nets import build
from altprop.rules import RULES
from altprop.run.checks import check_batch, check_domain, check_readout
from altprop.run.inputs import augmentation, check_square, preprocessed, suited_data, weigh
from altprop.run.machine import check_room, check_threads, find_device, worth_threads
from altprop.run.optimizers import find_schedule, make_optimizers, streams
from altprop.run.phases import Turn, find_turns, parameters_of, spelled
from altprop.run.readout import SOLVED
from altprop.run.recipe import Recipe, RunError, as_signature, rule_arguments
from altprop.suits import RATES

SMALL = 5000  # training samples; below this many an epoch is so short that more of them are the better default


@dataclass
class Learner:
    """A rule at work: everything a run needs, built, and standing in one of its turns."""

    recipe: Recipe
    data: Dataset
    net: nn.Module
    rule: Rule
    turns: list[Turn]
    order: torch.Generator  # of the training samples, and of what augmentation does to them
    augment: Callable[[Tensor, torch.Generator], Tensor]
    plastic: frozenset[nn.Parameter]  # what may learn, when it is its turn
    before: int = 0  # epochs of the turns before
    planned: int = 0  # epochs of the whole run
    solve: Callable[[], None] | None = None  # in place of all batches, where what learns is computed
    scratch: Path | None = None  # a folder for what does not fit into memory
    at: Learner | None = None  # what is at work in the turn under way: itself, or a head on top of it

    def __post_init__(self) -> None:
        self.planned = self.planned or sum(turn.epochs for turn in self.turns)
        self.stand(0)

    def stand(self, index: int) -> None:
        """Take the turn of that number: its optimizers and schedule, anew."""
        self.turn = self.turns[index]
        self.before = self.before if index == 0 else sum(turn.epochs for turn in self.turns[:index])
        self.let_all_learn()
        parts = [
            (own, parameters_of(phase.moves)) for phase, own in zip(self.turn.phases, self.turn.recipes, strict=True)
        ]
        self.streaming = streams(self.turn.recipe, self.rule)
        self.steppers = make_optimizers(self.rule, parts, self.streaming)
        self.schedule = find_schedule(self.turn.recipe.schedule, self.turn.epochs)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return list(self.steppers.values())

    @property
    def rate(self) -> float | None:
        """That of the first thing that is stepped."""
        return None if self.solve else self.optimizers[0].param_groups[0]["lr"]

    @property
    def reads(self) -> bool:
        """Whether the output means something: the last layer has learned, or learns in this turn."""
        reached = self.turns[: self.turns.index(self.turn) + 1]
        last = set(self.rule.layers[-1].synapse.parameters())
        return not last or any(last & turn.moved for turn in reached)

    @property
    def samples(self) -> tuple[Tensor, Tensor]:
        """(x, y) of an epoch: phases without labels see the unlabelled samples, where there are any."""
        x = self.data.x_unlabelled
        if x is None or self.turn.labels:
            return self.data.x_train, self.data.y_train
        return x, self.data.y_train.new_zeros(len(x), *self.data.y_train.shape[1:])

    @property
    def weights(self) -> Tensor | None:
        """(N,): what each of ``samples`` counts, where they have labels to be taught by."""
        return self.data.weights if self.samples[0] is self.data.x_train else None

    def enter(self, epoch: int) -> None:
        """Set modes, what learns and the learning rates of an epoch of the turn, counted from 0."""
        moved = self.turn.moved
        for parameter in self.plastic:
            parameter.requires_grad_(parameter in moved)
        self.rule.eval()
        self.rule.training = True
        for module in self.turn.moves:
            module.train()
        self.anneal(epoch)

    def let_all_learn(self) -> None:
        for parameter in self.plastic:
            parameter.requires_grad_()

    def hand_back(self) -> None:
        """Rule and net as they are used: in eval mode, no gradients left over, a net that the run built not frozen."""
        self.let_all_learn()
        self.rule.eval()
        self.rule.zero_grad(set_to_none=True)
        if self.recipe.net != "custom":
            self.net.requires_grad_()

    def anneal(self, epoch: float) -> None:
        """Set the learning rate of an epoch of the turn, counted from 0, or of a moment in it."""
        factor = self.schedule(epoch)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def step(self, x: Tensor, y: Tensor) -> float:
        """One batch: credit, then the optimizer's step unless the loss is not finite; with ``stream`` each layer's step
        as soon as it can.  Returns the loss."""
        labels = y if self.turn.labels else None
        if self.streaming:
            return self.turn.step(x, labels, ready=self._update).item()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self.turn.step(x, labels).item()
        if isfinite(loss):  # else the weights are left as they are, so that the layer that broke can be told
            for optimizer in self.optimizers:
                optimizer.step()
        return loss

    def _update(self, layer: Layer) -> None:
        if layer in self.steppers:
            self.steppers[layer].step()
            self.steppers[layer].zero_grad()


def prepare(
    recipe: Recipe, data: Dataset | None = None, net: nn.Module | None = None, resident: bool = True,
    cuts: Sequence[Layer] | None = None,
) -> Learner:  # fmt: skip
    """Build what the recipe names; ``data`` and ``net`` stand in for those of the recipe.

    cuts: the layers of a net that is no chain.
    resident: whether the data are moved to the device at once; else batch by batch, and nothing is measured on them.

    Raises ``RunError``, ``DataError``, ``NetError`` or ``Refused``, each one line that says what to do."""
    device = find_device(recipe.device)
    check_threads(recipe.threads)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    data = load_data(recipe) if data is None else data
    recipe = resolve(recipe, data, custom_net=net is not None)
    if RULES[recipe.rule].claims.labels or not recipe.readout.after:
        data = replace(data, x_unlabelled=None)  # which nobody will look at
    data = data.to(device) if resident else data
    check_domain(recipe.rule, data)
    if net is None:
        check_square(recipe, data)
        net = build_net(recipe, data.shape, data.outputs)
    net, data = net.to(device), suited_data(data, net)
    rule = build_rule(recipe, net, as_input(data.x_train[:1].to(device)), cuts)
    if rule.classes != data.outputs:
        raise RunError(f"the net has {rule.classes} outputs, but the data has {data.outputs}: end it in {data.outputs}")
    data = weigh(data, recipe, rule)
    _freeze(recipe, rule)
    check_readout(recipe, rule, data)
    turns = find_turns(recipe, rule)
    for turn in turns:
        check_batch(turn.recipe, net)
    check_room(rule, min(recipe.batch, len(data.x_train)))
    if recipe.threads is None and device.type == "cpu":
        torch.set_num_threads(worth_threads(rule, min(recipe.batch, len(data.x_train))))
    torch.manual_seed(recipe.seed)  # of dropout
    order = torch.Generator().manual_seed(recipe.seed)
    augment = augmentation(recipe, data)
    plastic = frozenset(parameter for parameter in rule.parameters() if parameter.requires_grad)
    return Learner(spelled(recipe, turns), data, net, rule, turns, order, augment, plastic)


def load_data(recipe: Recipe, table: TableEncoding | None = None) -> Dataset:
    """The data that the recipe names, split, scaled and whitened as it says; with the columns of ``table``, if there
    is one, in their order."""
    data = load(
        recipe.data, data_dir=recipe.data_dir, label=recipe.label, val=recipe.val, seed=recipe.seed, task=recipe.task,
        encoding=recipe.encoding, categories=recipe.categories, missing=recipe.missing, table=table,
    )  # fmt: skip
    return preprocessed(data, recipe)


def resolve(recipe: Recipe, data: Dataset, custom_net: bool = False) -> Recipe:
    """The recipe with everything decided that was left to rule and data."""
    suits = RULES[recipe.rule].suits
    multihot = data.multihot
    loss = recipe.loss or ("cross_entropy" if data.classes else "binary_cross_entropy" if multihot else "mse")
    if not data.classes and loss != "mse" and not (multihot and loss == "binary_cross_entropy"):
        raise RunError(f"loss '{loss}' came for targets that are no classes: leave it out, or give --loss mse")
    bounded = bool(data.classes) or loss == "binary_cross_entropy"  # the error, and with it the rate that fits
    optimizer = recipe.optimizer or suits.optimizer
    net = data.net or f"{prod(data.shape)}-256-{data.outputs}"
    if suits.norms:
        first, *hidden, last = net.split("-")
        # No phase moves the statistics of a norm before a readout that learns after the layers below.
        top = [suits.norm_of_readout] if suits.norm_of_readout and not recipe.readout.after else []
        net = "-".join([first, *(f"{suits.norms}-{part}" for part in hidden), *top, last])
    named = recipe.data in DATASETS or recipe.data == "custom"
    standardised = data.target_scaling is not None
    absolute = recipe.data if named else _absolute(recipe.data)  # since a run may be read from elsewhere
    return recipe.with_(
        data=recipe.data if named else absolute,
        loss=loss,
        net="custom" if custom_net else net if recipe.net is None else recipe.net,
        init=recipe.init or suits.init,
        optimizer=optimizer,
        act="custom" if custom_net else suits.activation if recipe.act in (None, "auto") else recipe.act,
        scale=recipe.scale or data.scale,
        target_scale=recipe.target_scale or (None if data.classes else "standard" if standardised else "none"),
        lr=recipe.lr or RATES[optimizer] or suits.rate(bounded, standardised),
        readout=_resolved_readout(recipe, bounded),
        epochs=recipe.epochs or (60 if len(data.x_train) < SMALL else 10),
    )


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:  # no home, links that go in circles, a zero byte
        raise RunError(f"no data can be at {shorten(path, 120)} ({shorten(error, 80)}): check the path") from error


def _resolved_readout(recipe: Recipe, classes: bool) -> dict[str, Any]:
    """Its table with optimizer and rate, empty where nothing reads out."""
    head: Any = recipe.readout.model_dump()
    if recipe.readout.by not in SOLVED:
        head["optimizer"] = head["optimizer"] or ("sgd" if classes else "adam")
        rate = RULES[recipe.rule].suits.lr_readout * (1 if classes else 0.03)  # whose error is not bounded
        head["lr"] = head["lr"] or RATES[head["optimizer"]] or rate
    beside = not RULES[recipe.rule].claims.labels and recipe.arguments.get("readout") is not False
    return head if recipe.readout.after or beside else {}


def build_net(recipe: Recipe, shape: tuple[int, ...], outputs: int) -> nn.Module:
    if recipe.net is None or recipe.net == "custom":
        raise RunError("the run was trained on a net given from Python: give it again, as altprop.load(run, net=net)")
    options = {"dropout": recipe.dropout, "bias": recipe.bias, "init": recipe.init, "seed": recipe.seed}
    return build(recipe.net, shape, outputs, act=recipe.act or "relu", **options)  # type: ignore[arg-type]


def build_rule(recipe: Recipe, net: nn.Module, example: Tensor, cuts: Sequence[Layer] | None = None) -> Rule:
    """The rule on that net; its feedback is drawn from the recipe's seed unless the arguments give another."""
    arguments = as_signature(recipe.rule, recipe.arguments)
    if "seed" in rule_arguments(recipe.rule):
        arguments.setdefault("seed", recipe.seed)
    given: dict[str, Any] = {"example": example, "loss": recipe.loss or "cross_entropy", "cuts": cuts}
    try:
        if recipe.rule in ALIGNMENTS and has_blocks(layers(net) if cuts is None else cuts):
            return Aligned(net, align=recipe.rule, **given, **arguments)
        return RULES[recipe.rule](net, **given, **arguments)
    except TypeError as error:
        raise Refused(f"rule '{recipe.rule}' does not take {recipe.arguments}: {error}") from error


def has_blocks(cuts: Sequence[Layer]) -> bool:
    """Whether a layer above the first is neither Linear nor a convolution, so that feedback has to reach into it."""
    return any(not is_dense(layer.synapse) for layer in cuts[1:])


def _freeze(recipe: Recipe, rule: Rule) -> None:
    if recipe.freeze >= len(rule.layers):
        raise RunError(f"freeze = {recipe.freeze} came for a net of {len(rule.layers)} layers: leave one that learns")
    for layer in rule.layers[: recipe.freeze]:
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
