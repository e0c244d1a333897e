"""What a process of ours asks of the system and of its interpreter, once, at its start."""

import contextlib
import ctypes
import gc
import resource

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
KEPT_MEMORY = 64 * 1024 * 1024  # bytes of free heap that stay ours
LARGEST_KEPT = 4 * 1024 * 1024  # bytes; larger blocks are mapped and given back one by one
COLLECT_AFTER = 50_000  # objects made and not yet freed; the collector's own 700 is for programs that make circles


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as we may: each exchange needs two, and shells start us with 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def keep_freed_memory() -> None:
    """Have glibc keep what large bodies took instead of giving it back to the kernel after each of them.

    Else a request of 128 KB costs some 65 page faults, more than all the rest of it. Without glibc nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)


def spare_the_collector() -> None:
    """Take what lives for ever out of the garbage collector's sight, and let it look seldom.

    An exchange leaves no circles of references, so there is next to nothing to find; each look at everything would
    hold up every stream for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
