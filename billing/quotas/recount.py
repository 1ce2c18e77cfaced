"""Calls at once, counted anew by those who run them, when the quota server lost what it knew.

A server whose life has just begun admits no call under a limit of calls at once for `HOLD_MS`. Each process that runs
calls looks every `TICK_SECONDS` which life it is; in a new one it tells the calls it has under way, and again until the
hold is over, because the answer to a reserve of the former life may still be on its way. So when the server opens, it
knows every call that runs.

Calls that a gateway admitted by itself while the server was away are told as soon as it is back, in whichever life.
"""

from __future__ import annotations

import collections
import logging
import threading
import time

from billing.quotas.decision import Decision
from billing.quotas.errors import QuotaProtocolError, QuotaUnavailable
from billing.quotas.scripts import HOLD_MS
from billing.quotas.store import QuotaStore

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5


class Recount:
    """A thread that tells the server behind `store` the calls in `running` after each loss.

    It has a line of its own, and a look costs the server one small script. `running` belongs to others and changes
    under way: entries come when a reserve was answered and leave before its end is sent.
    """

    def __init__(self, store: QuotaStore, running: dict[str, Decision]) -> None:
        self._store, self._running = store, running
        self._life = b""
        self._until = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="quota-recount", daemon=True)

    def start(self) -> Recount:
        """Look from now on."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(timeout=5)

    def look(self) -> None:
        """One look, and what it leads to. QuotaUnavailable when the server does not answer; then all is told again."""
        known, self._life = self._life, b""
        life = self._store.life()
        if life != known:
            self._until = time.monotonic() + HOLD_MS / 1000
        self._tell(everything=time.monotonic() < self._until)
        self._life = life

    def _tell(self, *, everything: bool) -> None:
        calls: dict[str, list[Decision]] = collections.defaultdict(list)
        for call in self._running.copy().values():
            if (everything or (call.local and not call.told)) and call.limits.indices("concurrency"):
                calls[call.limits.tenant].append(call)
        for tenant, its in calls.items():
            for call in its:
                call.told = True  # before it is: its end may come between
            for call in self._store.declare(its):
                if call.reservation_id not in self._running:  # it ended, and its end may have come before
                    self._store.release(tenant, call.reservation_id)

    def _run(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                self.look()
            except (QuotaUnavailable, QuotaProtocolError) as error:
                logger.debug("the quota server could not be told what runs: %s", error)
        self._store.close()
