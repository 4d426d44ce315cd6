"""The command line: ``altprop`` and ``python -m altprop.cli``."""

from altprop.cli.app import app, main

__all__ = ["app", "main"]
