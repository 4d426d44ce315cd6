"""What the PEPITA family can be told, the paper's choice first, and what it refuses."""

from __future__ import annotations

from altprop.core import Refused, Rule

CHOICES: dict[str, tuple[object, ...]] = {
    "sign": (1, -1),
    "presynaptic": ("modulated", "standard"),
    "output_error": ("standard", "modulated"),
    "normalise": (None, "sample", "batch"),
    "perturb": ("error", "none", "random"),
    "mirror": (False, True),
}


def check(rule: Rule, at: int, **options: object) -> None:
    """Raises ``Refused`` for an option that is none, and for a net whose activity has no difference to learn from."""
    for name, value in options.items():
        if value not in CHOICES[name]:
            raise Refused(f"{name}={value!r} came; PEPITA takes {' or '.join(map(repr, CHOICES[name]))}")
    if not 0 <= at < len(rule.layers):
        raise Refused(f"at={at} came; PEPITA modulates the input of a layer from 0 to {len(rule.layers) - 1}")
    if rule.integer_input:
        raise Refused("PEPITA adds an error to its input, but integers came: give the net a real-valued input")
    for layer, shapes in zip(rule.layers[:-1], rule.shapes, strict=False):
        if shapes.a != shapes.h:
            raise Refused(
                f"PEPITA learns from differences of activity, but the activation of {layer} makes shape "
                f"{tuple(shapes.h)} of {tuple(shapes.a)}: move what changes it into the next layer's inlet"
            )
