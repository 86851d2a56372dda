"""The memory that the C library keeps when it is freed, and that garbage collections leave out.

Buffers of stripes are allocated and freed hundreds of times a second. By default glibc gives the
freed end of its heap back as soon as it is twice the largest buffer, and the kernel then clears
and maps every page again for the next one: 480 page faults for each MiB written.

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_MMAP_FROM_BYTES: Final = 16 << 20
"""Larger buffers are mapped each by itself, as before; none of ours is."""


def keep_freed_memory(most_bytes: int) -> None:
    """Keep up to ``most_bytes`` of freed memory for what is allocated next. Only with glibc;
    elsewhere nothing changes.

    One heap for all threads makes it a bound of the whole process: by default each thread has a
    heap, and each heap a free end of its own. The interpreter's lock is contended long before the
    heap's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
        mallopt(_TRIM_THRESHOLD, most_bytes)


def spare_long_lived() -> None:
    """Have the garbage collector look no more at what there is now: code, configuration, and what
    was loaded from a store.

    A full collection stops the whole process while it looks at every object: a second and more for
    the cells and rings of a large swarm. What is made from now on is collected as before.
    """
    gc.collect()
    gc.freeze()
