"""``python -m altprop``: the command line."""

from altprop.cli.app import main

main()
