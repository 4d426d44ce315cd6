"""The one error of core and rules."""

from altprop.limits import Problem


class Refused(Problem):
    """A net or an argument that altprop will not guess about; the message says what to do instead."""
