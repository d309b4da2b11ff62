"""How the C library deals with memory that was freed."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # as malloc.h numbers them
_NEVER = -1


def keep_freed_memory() -> bool:
    """Keep memory that was freed for whoever asks next; only glibc can be told to.

    By itself it gives large arrays back to the kernel, which clears every page before
    it lends it again: a small convolutional net spends a tenth of a step and more on
    that (``benchmarks/allocator.py``). A process holds on to its peak instead.

    Returns
    -------
    bool
        Whether it was told to.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(set_option(_MMAP_MAX, 0) and set_option(_TRIM_THRESHOLD, _NEVER))
