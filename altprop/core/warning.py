"""What is told beside a result that stands."""

from altprop.limits import Notice


class RuleWarning(Notice):
    """A net, data or a run that a rule works with, but not as its source does; one line that says what to do."""
