"""``python -m altprop.cli``."""

from altprop.cli.app import main

main()
