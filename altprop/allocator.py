"""Memory that a step frees stays with the process, where the next one finds it.

glibc gives large blocks back to the system as soon as they are free, so that every step asks for its activations and
gradients anew and the system clears them page by page: on some machines a third of a step, and more than the products
themselves where these are in bfloat16.  Only what altprop starts is told to keep them, its command and the processes
that serve it; a process of the caller's own is left as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
KEPT = {TRIM: 1 << 29, MMAP: 1 << 25}  # bytes; the second is the largest that glibc takes
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Whether it does from now on: by glibc, where the environment says nothing else of the allocator."""
    if not sys.platform.startswith("linux") or any(name in os.environ for name in OWN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # which other libraries of C have not
    return mallopt is not None and all([mallopt(name, size) == 1 for name, size in KEPT.items()])
