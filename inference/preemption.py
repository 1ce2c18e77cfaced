"""How soon whoever wakes up gets the core of a thread that computes, on Linux 6.12 and later.

Linux lets a running thread finish its slice, up to a tick of the clock (3 to 4 ms), before one that wakes up on the
same core; unless the one that wakes has the shorter slice (EEVDF with `sched_setattr(2)`, whose `sched_runtime` is the
slice of an ordinary thread). A thread that takes the longest slice for a long batch therefore gives way at once to
whoever carries somebody else's answer. It loses nothing in sum: a slice says when a thread runs, and not how much. No
privilege is needed; other systems and older kernels stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

LONGEST_S = 0.1
"""The longest slice that the kernel knows."""
_CALLS = {"x86_64": 314, "aarch64": 274}
_CALL = _CALLS.get(platform.machine()) if sys.platform == "linux" else None  # the number of sched_setattr
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period
_libc = ctypes.CDLL(None, use_errno=True)


def take_slice(seconds: float) -> bool:
    """Set the calling thread's slice; 0 gives back the system's own. Returns whether the kernel knows the call; a
    thread under another policy than the ordinary one is left alone."""
    if _CALL is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)  # the call sets this as well
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, round(seconds * 1e9), 0, 0)
    return bool(_libc.syscall(_CALL, 0, attributes, 0) == 0)
