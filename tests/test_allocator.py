"""What is freed is found again: page faults, as the system counts them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import ctypes, importlib.util, resource, sys
spec = importlib.util.spec_from_file_location("allocator", sys.argv[1])
allocator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(allocator)
kept = sys.argv[2] == "kept" and allocator.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def step():
    blocks = [libc.malloc(20 << 20) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 20 << 20)
    for block in blocks:
        libc.free(block)

step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how, **environment):
    """(whether it says that freed memory is kept, page faults of ten steps of 80 MiB) in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "altprop" / "allocator.py"), how]
    return map(int, subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.split())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings are told on Linux alone")
def test_a_step_finds_what_the_last_one_freed():
    """Without it the system gives out 80 MiB ten times, in pages of 4 KiB or of 2 MiB."""
    _, plain = faults("as it is")
    kept, few = faults("kept")
    if not kept:
        pytest.skip("this library of C has no mallopt")
    assert few < 10 and plain > 10 * 4 * 9


def test_the_users_own_settings_stand():
    """Whoever has chosen an allocator has measured it."""
    kept, _ = faults("kept", MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
