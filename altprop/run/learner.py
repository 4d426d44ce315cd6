"""From a recipe to something that learns: data, net, rule, optimizers and schedule, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from altprop.core import Layer, Refused, Rule, layers
from altprop.core.layer import is_dense
from altprop.data import AUGMENTATIONS, DATASETS, Dataset, as_float, load
from altprop.measure import fit_whitening
from altprop.nets import build
from altprop.optim import RATES
from altprop.rules import RULES
from altprop.rules.graph import KINDS as ALIGNMENTS
from altprop.rules.graph import Aligned
from altprop.run.optimizers import find_schedule, make_optimizers, streams
from altprop.run.readout import SOLVED, SUITS
from altprop.run.recipe import Recipe, RunError, nearest, rule_arguments

SMALL = 5000  # training samples; below this many an epoch is so short that more of them are the better default


@dataclass
class Learner:
    """Everything a run needs, built."""

    recipe: Recipe
    data: Dataset
    net: nn.Module
    rule: Rule
    optimizers: list[torch.optim.Optimizer]  # one, or with ``stream`` one for each layer
    schedule: Callable[[float], float]  # epoch from 0 -> factor of the learning rate
    order: torch.Generator  # of the training samples, and of what augmentation does to them
    augment: Callable[[Tensor, torch.Generator], Tensor]
    still: Sequence[nn.Module] = ()  # modules in eval mode: what they say, statistics too, stays as it is
    turn: int = 0  # the layer that learns, where they learn one after another
    plastic: frozenset[nn.Parameter] = frozenset()  # those of the layers that may learn, when it is their turn

    @property
    def hidden(self) -> list[Layer]:
        """The layers below the readout, if it learns after them, or else none."""
        return self.rule.layers[:-1] if self.recipe.readout.after else []

    @property
    def samples(self) -> tuple[Tensor, Tensor]:
        """(x, y) of an epoch: layers that learn before the readout and without labels see the unlabelled samples,
        where there are any."""
        x = self.data.x_unlabelled
        if x is None or not self.hidden or self.rule.claims.labels:
            return self.data.x_train, self.data.y_train
        return x, self.data.y_train.new_zeros(len(x), *self.data.y_train.shape[1:])

    @property
    def epochs(self) -> int:
        """Those of the recipe, once a layer where layers learn one after another."""
        return (self.recipe.epochs or 0) * (len(self.hidden) if self.recipe.layerwise else 1)

    def enter(self, epoch: int) -> None:
        """Set train mode, the layers that learn and the learning rate of an epoch, counted from 0."""
        self.rule.train()
        if self.hidden and not self.recipe.layerwise:
            self.let_learn(self.hidden)
        elif self.recipe.layerwise:
            self.turn = epoch // (self.recipe.epochs or 1)
            self.let_learn(self.hidden[self.turn : self.turn + 1])
            below = [layer for layer in self.hidden[: self.turn] if self.plastic & set(layer.synapse.parameters())]
            # A norm behind the last of them stands before the layer that learns.
            self.still = [part for layer in below for part in (layer.inlet, layer.synapse)]
            self.still += [layer.activation for layer in below[:-1]]
        for module in self.still:
            module.eval()
        self.anneal(epoch)

    def let_learn(self, layers: Sequence[Layer]) -> None:
        """These layers alone, and of them what was not frozen from the start."""
        turn = {parameter for layer in layers for parameter in layer.synapse.parameters()}
        for parameter in (parameter for layer in self.rule.layers for parameter in layer.synapse.parameters()):
            parameter.requires_grad_(parameter in turn and parameter in self.plastic)

    def anneal(self, epoch: float) -> None:
        """Set the learning rate of an epoch, counted from 0, or of a moment in it."""
        factor = self.schedule(epoch % (self.recipe.epochs or 1))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def step(self, x: Tensor, y: Tensor) -> float:
        """One batch: credit, then the optimizer's step unless the loss is not finite; with ``stream`` each layer's step
        as soon as it can.  Returns the loss."""
        if streams(self.recipe, self.rule):
            labels: Any = None if self.hidden and not self.rule.claims.labels else y
            return self.rule.credit(x, labels, ready=self._update).item()
        self.optimizers[0].zero_grad()
        loss = self.rule.credit(x, y).item()
        if isfinite(loss):  # else the weights are left as they are, so that the layer that broke can be told
            self.optimizers[0].step()
        return loss

    def _update(self, layer: Layer) -> None:
        optimizer = self.optimizers[self.rule.layers.index(layer)]
        optimizer.step()
        optimizer.zero_grad()


def prepare(
    recipe: Recipe, data: Dataset | None = None, net: nn.Module | None = None, resident: bool = True
) -> Learner:
    """Build what the recipe names; ``data`` and ``net`` stand in for those of the recipe.

    resident: whether the data are moved to the device at once; else batch by batch, and nothing is measured on them.

    Raises ``RunError``, ``DataError``, ``NetError`` or ``Refused``, each one line that says what to do."""
    device = find_device(recipe.device)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    data = load_data(recipe) if data is None else data
    recipe = resolve(recipe, data, custom_net=net is not None)
    if RULES[recipe.rule].claims.labels or not recipe.readout.after:
        data = replace(data, x_unlabelled=None)  # which nobody will look at
    data = data.to(device) if resident else data
    net = build_net(recipe, data.shape, data.outputs) if net is None else net
    net = net.to(device)
    rule = build_rule(recipe, net, as_float(data.x_train[:1].to(device)))
    if rule.classes != data.outputs:
        raise RunError(f"the net has {rule.classes} outputs, but the data has {data.outputs}: end it in {data.outputs}")
    schedule = find_schedule(recipe.schedule, recipe.epochs or 1)
    _freeze(recipe, rule)
    _check_readout(recipe, rule, data)
    _check_batch(recipe, net)
    torch.manual_seed(recipe.seed)  # of dropout
    order = torch.Generator().manual_seed(recipe.seed)
    augment = _augmentation(recipe, data)
    plastic = frozenset(parameter for parameter in net.parameters() if parameter.requires_grad)
    optimizers = make_optimizers(recipe, rule)
    return Learner(recipe, data, net, rule, optimizers, schedule, order, augment, plastic=plastic)


def load_data(recipe: Recipe) -> Dataset:
    """The data that the recipe names, split, scaled and whitened as it says."""
    data = load(
        recipe.data, data_dir=recipe.data_dir, label=recipe.label, scale=recipe.scale, val=recipe.val, seed=recipe.seed
    )
    return whitened(data, recipe.whiten)


def whitened(data: Dataset, kind: str | None) -> Dataset:
    """The data set with every part whitened by the statistics of its training part; None leaves it as it is."""
    if kind is None:
        return data
    whitening = fit_whitening(as_float(data.x_train), kind)
    parts: dict[str, Any] = {name: whitening.apply(as_float(x)).float() for name, x in data.inputs()}
    return replace(data, **parts)


def resolve(recipe: Recipe, data: Dataset, custom_net: bool = False) -> Recipe:
    """The recipe with everything decided that was left to rule and data."""
    suits = RULES[recipe.rule].suits
    loss = recipe.loss or ("cross_entropy" if data.classes else "mse")
    if not data.classes and loss != "mse":
        raise RunError(f"loss '{loss}' came for targets that are no classes: leave it out, or give --loss mse")
    optimizer = recipe.optimizer or suits.optimizer
    net = data.net or f"{prod(data.shape)}-256-{data.outputs}"
    if suits.norms:
        first, *hidden, last = net.split("-")
        net = "-".join([first, *(f"{suits.norms}-{part}" for part in hidden), last])
    named = recipe.data in DATASETS or recipe.data == "custom"
    absolute = str(Path(recipe.data).expanduser().resolve())  # since a run may be read from elsewhere
    return recipe.with_(
        data=recipe.data if named else absolute,
        loss=loss,
        net="custom" if custom_net else net if recipe.net is None else recipe.net,
        init=recipe.init or suits.init,
        optimizer=optimizer,
        act="custom" if custom_net else suits.activation if recipe.act in (None, "auto") else recipe.act,
        lr=recipe.lr or RATES[optimizer] or suits.rate(bool(data.classes)),
        readout=_resolved_readout(recipe, bool(data.classes)),
        epochs=recipe.epochs or (60 if len(data.x_train) < SMALL else 10),
    )


def _resolved_readout(recipe: Recipe, classes: bool) -> dict[str, Any]:
    """Its table with optimizer and rate, empty where nothing reads out."""
    head: Any = recipe.readout.model_dump()
    if recipe.readout.by not in SOLVED:
        head["optimizer"] = head["optimizer"] or ("sgd" if classes else "adam")
        head["lr"] = head["lr"] or RATES[head["optimizer"]] or SUITS.rate(classes)
    beside = not RULES[recipe.rule].claims.labels and recipe.arguments.get("readout") is not False
    return head if recipe.readout.after or beside else {}


def build_net(recipe: Recipe, shape: tuple[int, ...], outputs: int) -> nn.Module:
    if recipe.net is None or recipe.net == "custom":
        raise RunError("the run was trained on a net given from Python: give it again, as altprop.load(run, net=net)")
    options = {"dropout": recipe.dropout, "bias": recipe.bias, "init": recipe.init, "seed": recipe.seed}
    return build(recipe.net, shape, outputs, act=recipe.act or "relu", **options)  # type: ignore[arg-type]


def build_rule(recipe: Recipe, net: nn.Module, example: Tensor) -> Rule:
    """The rule on that net; its feedback is drawn from the recipe's seed unless the arguments give another."""
    arguments: dict[str, Any] = {name: None if value == "None" else value for name, value in recipe.arguments.items()}
    if "seed" in rule_arguments(recipe.rule):
        arguments.setdefault("seed", recipe.seed)
    loss = recipe.loss or "cross_entropy"
    try:
        if recipe.rule in ALIGNMENTS and has_blocks(net):
            return Aligned(net, align=recipe.rule, example=example, loss=loss, **arguments)
        return RULES[recipe.rule](net, example=example, loss=loss, **arguments)
    except TypeError as error:
        raise Refused(f"rule '{recipe.rule}' does not take {recipe.arguments}: {error}") from error


def has_blocks(net: nn.Module) -> bool:
    """Whether a layer above the first is neither Linear nor a convolution, so that feedback has to reach into it."""
    return any(not is_dense(layer.synapse) for layer in layers(net)[1:])


def _freeze(recipe: Recipe, rule: Rule) -> None:
    if recipe.freeze >= len(rule.layers):
        raise RunError(f"freeze = {recipe.freeze} came for a net of {len(rule.layers)} layers: leave one that learns")
    for layer in rule.layers[: recipe.freeze]:
        for parameter in layer.parameters():
            parameter.requires_grad_(False)


def _check_readout(recipe: Recipe, rule: Rule, data: Dataset) -> None:
    """What would only show when the layers below have learned."""
    last, by = rule.layers[-1], recipe.readout.by
    if by in SOLVED and not (type(last.synapse) is nn.Linear and last.synapse.bias is not None and data.classes):
        what = f"{last} and {'labels' if data.classes else 'targets that are no classes'}"
        raise RunError(f"readout by '{by}' came for {what}: it is for classes, into a Linear with a bias")
    if (by == "hebbian" or recipe.arguments.get("supervised")) and not data.classes:
        raise RunError("a Hebbian readout came for targets that are no classes: leave out by = 'hebbian' or supervised")
    if not recipe.readout.after:
        return
    if len(rule.layers) < 2:
        raise RunError(f"a readout after the layers below came, but {last} is all there is: put one below, or use bp")
    if by not in SOLVED:
        find_schedule(recipe.readout.schedule, recipe.readout.epochs or 1)
        _augmentation(recipe.with_(augment=recipe.readout.augment), data)
    if recipe.readout.augment is None and type(last.synapse) is not nn.Linear:
        raise RunError(f"{last} cannot read out features that were computed once: end the net in a Linear")
    if rule.claims.labels:
        return
    below = rule.layers[:-1]
    learning = [layer.synapse.get_parameter("weight").requires_grad for layer in below]
    top = max((index for index, learns in enumerate(learning) if learns), default=-1)
    passed = [*(below[top].activation.modules() if top >= 0 else ()), *last.inlet.modules()]
    idle = [part for layer in below[top + 1 :] for part in (layer.inlet, layer.activation)]
    passed += [module for part in idle for module in part.modules()]
    for module in passed:
        if isinstance(module, _NormBase):
            what = f"{type(module).__name__} stands above all layers that learn, so that no phase moves its statistics"
            raise RunError(f"{what}: take it out of the net, freeze less, or let the readout learn beside the layers")


def _check_batch(recipe: Recipe, net: nn.Module) -> None:
    if recipe.batch == 1 and any(isinstance(module, nn.BatchNorm1d) for module in net.modules()):
        what = "batch = 1 came, but BatchNorm1d has no statistics of one sample"
        raise RunError(f"{what}: give a larger batch, or a net without norm and --scale standard")


def _augmentation(recipe: Recipe, data: Dataset) -> Callable[[Tensor, torch.Generator], Tensor]:
    if recipe.augment is None:
        return lambda x, generator: x
    if recipe.augment not in AUGMENTATIONS:
        raise RunError(f"unknown augmentation '{recipe.augment}'{nearest(recipe.augment, AUGMENTATIONS)}")
    if len(data.shape) != 3:
        raise RunError(f"augment = '{recipe.augment}' came for samples of shape {data.shape}: it takes images")
    return AUGMENTATIONS[recipe.augment]


def find_device(name: str) -> torch.device:
    """That device, if it is there; raises ``RunError``."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RunError(f"device '{name}' is not there; use --device cpu ({str(error).splitlines()[0]})") from error
    return device
