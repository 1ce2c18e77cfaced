"""What a thread that computes hands to the event loop, so that the loop runs on the core which that thread leaves.

Linux puts whoever is woken through a pipe on the waker's core where no core is idle: the waker is about to sleep. An
event loop's own bell is an eventfd in uvloop, for which Linux looks at the core where the loop ran last; there it would
wait for up to a tick of the clock (4 ms) behind somebody else's long batch, while the waker's core stands idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable


class Handover:
    """Runs functions on an event loop for other threads, in the order they came. Make it on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._closing = threading.Lock()
        self._closed = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        loop.add_reader(self._read, self._run)

    def put(self, function: Callable[[], None]) -> None:
        """Have it run soon, from any thread; nothing once closed. Best as the last thing before a thread waits."""
        with self._closing:
            if not self._closed:
                self._waiting.append(function)
                with contextlib.suppress(BlockingIOError):  # a full pipe rings as well
                    os.write(self._write, b"\0")

    def close(self) -> None:
        """Run what has come, and take no more. On the loop's thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._run()
                self._loop.remove_reader(self._read)
                os.close(self._read)
                os.close(self._write)

    def _run(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        while self._waiting:
            self._loop.call_soon(self._waiting.popleft())  # each by itself: one that fails is its own affair
