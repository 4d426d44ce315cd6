"""Ordinary torch.nn builders, and the spec string that names a net in one word."""

from altprop.nets.activations import RePU, ShiftedSigmoid, Softmax, Triangle, WideHardSigmoid
from altprop.nets.dropout import BitDropout
from altprop.nets.norms import Centre1d, Centre2d, Centre3d
from altprop.nets.residual import Residual, ResidualBlock
from altprop.nets.spec import ACTIVATIONS, INITIALISERS, NetError, build
from altprop.nets.vectors import VectorGate, VectorInput, VectorLinear, vectorised

__all__ = [
    "ACTIVATIONS", "INITIALISERS", "BitDropout", "Centre1d", "Centre2d", "Centre3d", "NetError", "RePU", "Residual",
    "ResidualBlock", "ShiftedSigmoid", "Softmax", "Triangle", "VectorGate", "VectorInput", "VectorLinear",
    "WideHardSigmoid", "build", "vectorised",
]  # fmt: skip
