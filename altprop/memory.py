"""What this machine can hold, so that what is larger is refused before it is begun."""

import os
import sys
from pathlib import Path

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of Linux, both its kinds


def machine_memory() -> int:
    """Bytes of memory: the machine's, or what its control group or `ulimit -v` leaves this process of it."""
    return min(_physical(), _address_space(), *map(_group, _GROUPS))


def readable_size(count: int) -> str:
    """A number of bytes in the unit of its size: 8000000000 -> "8 GB"."""
    power = min((len(str(count)) - 1) // 3, len(_UNITS) - 1) if count < 10**21 else len(_UNITS)
    return f"{count / 1000**power:.3g} {_UNITS[power]}" if power < len(_UNITS) else "over 1000 EB"


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return sys.maxsize


def _address_space() -> int:
    try:
        import resource
    except ImportError:
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _group(path: str) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return sys.maxsize
