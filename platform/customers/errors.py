"""What this room refuses."""

from kit.errors import Conflict


class ThreadsFull(Conflict):
    """Too many questions wait at once."""

    default_code = "too_many_threads"


class ThreadFull(Conflict):
    """A thread took all it may hold."""

    default_code = "thread_full"
