"""Forward gradients: along random tangents the loss is differentiated forward, and no signal comes back."""

from altprop.rules.forward_gradient.forward_gradient import ForwardGradient
from altprop.rules.forward_gradient.local import ForwardGradientLocal

__all__ = ["ForwardGradient", "ForwardGradientLocal"]
