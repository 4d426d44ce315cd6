"""One file a search, or a tight family that shares its equation.  Adding one costs a file and a line here."""

from altprop.core import Search
from altprop.searches.neat import NEAT

SEARCHES: dict[str, type[Search]] = {
    "neat": NEAT,
}

__all__ = ["NEAT", "SEARCHES"]
