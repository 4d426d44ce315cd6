"""What is suitable where a user says nothing: the rule, the rates that optimizers start from, and what a rule
says of itself."""

from __future__ import annotations

from typing import NamedTuple

RULE = "bp"
RATES = {"sgd": None, "norm_sgd": None, "adam": 0.001, "adamw": 0.001, "rmsprop": 0.0003}  # None: what suits the rule


class Suits(NamedTuple):
    """What a rule starts from where its user says nothing: rates for batches of 64, and for SGD of momentum 0.9, on
    inputs in [0, 1] and standardised ones alike; activation, init and norms as ``altprop.nets`` has them."""

    lr: float = 0.01
    activation: str = "relu"
    optimizer: str = "sgd"
    init: str = "he_uniform"
    norms: str = ""  # the part of a net that stands before each hidden layer
    norm_of_readout: str = ""  # and before the last one, where that learns beside the layers below
    lr_regression: float | None = None  # None: a part of ``lr``, since an error of targets is not bounded as a class's
    lr_readout: float = 0.05  # of the last layer where those below learn without labels

    def rate(self, classes: bool, standardised: bool = False) -> float:
        """The learning rate for classes, or for a regression whose targets are standardised or not."""
        if classes:
            return self.lr
        return (0.1 if standardised else 0.03) * self.lr if self.lr_regression is None else self.lr_regression
