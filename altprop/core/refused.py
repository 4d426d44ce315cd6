"""The one error of core and rules."""


class Refused(ValueError):
    """A net or an argument that altprop will not guess about; the message says what to do instead."""
