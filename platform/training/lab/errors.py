"""How a run of the lab can end badly: one family, each with the code on the wire and the exit status.

Anything that is not in this family is a fault of the platform (exit 1, code `internal`): nobody pays for it.
"""

from __future__ import annotations

import errno


class LabError(Exception):
    """Root of the family. `str(error)` is the message the tenant reads: what happened, and what to do."""

    code = "internal"
    exit_code = 1


class BadData(LabError):
    """The data or the configuration cannot be trained on; running it again gives the same answer."""

    code = "bad_data"
    exit_code = 2


class Diverged(LabError):
    """The loss left the numbers: the learning rate is too high for this data and method."""

    code = "diverged"
    exit_code = 3


class OutOfMemory(LabError):
    """The batch does not fit into this machine's memory."""

    code = "out_of_memory"
    exit_code = 4


class ScratchFull(LabError):
    """The machine's disk is full: nothing of the run's own."""

    code = "scratch"
    exit_code = 5


class Stopped(LabError):
    """A stop was asked for (SIGTERM) and obeyed; a checkpoint was written if training had begun."""

    code = "stopped"
    exit_code = 75


_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def translated(error: BaseException, *, advice: str) -> LabError | None:
    """The family's word for a foreign error, or None when it is a fault of the platform.

    torch reports memory in three ways: its own class on a GPU, `MemoryError`, and a plain RuntimeError on a CPU.
    """
    if isinstance(error, LabError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ScratchFull("The disk of the machine is full.")
    if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _MEMORY_WORDS):
        return OutOfMemory(f"The training ran out of memory. {advice}")
    return None
