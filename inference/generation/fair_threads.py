"""Threads for what grammars cost, shared out between organisations.

A stranger's expression may take seconds to compile, or at a token. Whose work is slow therefore holds one of the
threads at most, and organisations take turns on each: others' texts wait for one piece of such work, not for a queue.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

SLOW_SECONDS = 0.01
"""Usual work takes less than a millisecond."""


class _Line:
    """What one organisation has asked for."""

    __slots__ = ("running", "slow", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self.running = 0
        self.slow = True  # until a piece of its work was quick


class FairThreads:
    """So many threads, which begin with the first work. Thread-safe."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads, self._name = threads, name
        self._lines: OrderedDict[str, _Line] = OrderedDict()  # who is next stands first
        self._work = threading.Condition()
        self._begun = self._stopping = False

    def submit(self, line: str, work: Callable[[], T]) -> Future[T]:
        """Queue work under an organisation's name. Cancelled before it has begun, it is not done."""
        future: Future[T] = Future()
        with self._work:
            self._lines.setdefault(line, _Line()).waiting.append((future, work))
            if not self._begun:
                self._begun = True
                for number in range(self._threads):
                    threading.Thread(target=self._loop, name=f"{self._name}-{number}", daemon=True).start()
            self._work.notify()
        return future

    def stop(self) -> None:
        """End the threads after what runs; what waits is cancelled."""
        with self._work:
            self._stopping = True
            for line in self._lines.values():
                for future, _ in line.waiting:
                    future.cancel()
                line.waiting.clear()
            self._work.notify_all()

    def _loop(self) -> None:
        while True:
            with self._work:
                while not self._stopping and (name := self._next()) is None:
                    self._work.wait()
                if self._stopping:
                    return
                assert name is not None
                line = self._lines[name]
                self._lines.move_to_end(name)
                future, work = line.waiting.popleft()
                line.running += 1
            started = time.perf_counter()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            with self._work:
                line.running -= 1
                line.slow = time.perf_counter() - started > SLOW_SECONDS
                if not line.running and not line.waiting:
                    del self._lines[name]
                self._work.notify()

    def _next(self) -> str | None:
        for name, line in self._lines.items():
            if line.waiting and line.running < (1 if line.slow else self._threads):
                return name
        return None
