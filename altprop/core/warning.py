"""What is told beside a result that stands."""


class RuleWarning(UserWarning):
    """A net, data or a run that a rule works with, but not as its source does; one line that says what to do."""
