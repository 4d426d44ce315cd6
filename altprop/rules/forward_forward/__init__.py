"""Forward-Forward: goodness, layer by layer, of samples with a right label against samples with a wrong one."""

from altprop.rules.forward_forward.forward_forward import ForwardForward

__all__ = ["ForwardForward"]
