"""What a run takes where its recipe is silent: rates, activation, optimizer and initialiser of every rule."""

from __future__ import annotations

from typing import Any, NamedTuple

from altprop.rules import RULES


class Default(NamedTuple):
    lr: float  # with the optimizer below, momentum 0.9 and batches of 64, on inputs in [0, 1] and on standardised ones
    act: str  # of the rule's source
    optimizer: str = "sgd"
    init: str = "he_uniform"
    norm: str = ""  # the part of the spec that stands before each hidden layer
    norm_of_readout: str = ""
    readout: float = 0.05  # rate of the last layer where those below learn without labels


CENTRED: Any = {"norm": "centre", "norm_of_readout": "centre", "readout": 0.02}

DEFAULTS: dict[str, Default] = {
    "bp": Default(0.01, "relu"),
    "shallow": Default(0.03, "relu"),
    "fa": Default(0.01, "relu"),
    "usf": Default(0.05, "relu"),
    "frsf": Default(0.05, "relu"),
    "brsf": Default(0.05, "relu"),
    "kp": Default(0.05, "relu"),
    "wm": Default(0.02, "relu"),
    "dfa": Default(0.01, "relu"),
    "ifa": Default(0.01, "relu"),
    "sdfa": Default(0.02, "tanh"),
    "ssdfa": Default(0.05, "tanh"),
    "drtp": Default(0.01, "tanh"),
    "afa": Default(0.1, "relu"),
    "pepita": Default(0.05, "relu"),
    "pepita_hebbian": Default(0.1, "relu"),
    "pepita_local": Default(0.005, "relu"),
    "ff": Default(0.003, "relu"),
    "hebb": Default(0.00001, "relu", **CENTRED),
    "oja": Default(0.001, "relu", norm="norm"),
    "gha": Default(0.001, "relu", norm="norm"),
    "hard_wta": Default(0.03, "triangle", "norm_sgd", "radius25", **CENTRED),
    "softhebb": Default(0.1, "triangle", "norm_sgd", "radius25", **CENTRED),
    "som": Default(0.2, "triangle", **CENTRED),
    "stdp": Default(0.03, "relu"),
}

OPTIMIZER_RATES = {"sgd": None, "norm_sgd": None, "adam": 0.001, "adamw": 0.001, "rmsprop": 0.0003}  # None: the rule's
REGRESSION_FACTOR = 0.03  # of these rates and the rules' for regression, whose error is not bounded as a class's is
STANDARDISED_FACTOR = 0.1  # of them where the targets are standardised, so that most errors are small


def defaults(rule: str) -> Default:
    """Those of the rule, or for one without an entry a cautious guess."""
    return DEFAULTS.get(rule, Default(0.01, "relu"))


def default_rate(rule: str, classes: bool, standardised: bool = False) -> float:
    """Of classes, or of regression on targets that are standardised or not; a rule whose layers see no error has one
    rate for all."""
    factor = STANDARDISED_FACTOR if standardised else REGRESSION_FACTOR
    return defaults(rule).lr * (1 if classes or not RULES[rule].claims.labels else factor)
