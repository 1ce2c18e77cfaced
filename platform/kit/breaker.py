"""A server that keeps its callers waiting is asked by one of them, and only now and then."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SLOW_SECONDS = 1.0
"""A call that failed sooner let nobody wait: the next may try as well."""
PAUSE_SECONDS = 5.0


class Resting(Exception):
    """The call was not made: the server let the last one wait and is left alone for a moment."""


class Breaker:
    """Of one server in one process. After a call that failed slowly, none is made for `PAUSE_SECONDS`; then one is, and
    the others follow if it is answered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = threading.Lock()
        self._until: float | None = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around one call. Raises Resting in its place."""
        began = self._clock()
        with self._turn:
            if self._until is not None:
                if began < self._until:
                    raise Resting
                self._until = began + PAUSE_SECONDS  # this call asks for all
        try:
            yield
        except Exception:
            now = self._clock()
            self._until = now + PAUSE_SECONDS if now - began > SLOW_SECONDS else None
            raise
        self._until = None
