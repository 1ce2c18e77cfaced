"""What a worker hears while it works: whether its turn still is one, whether somebody cancelled, and the time."""

from __future__ import annotations

import threading
import time

from batches.models import Batch
from batches.services.turns import LEASE_SECONDS, Turn, turn_keep, turn_look

LOOK_SECONDS = 1.0
KEEP_SECONDS = LEASE_SECONDS / 5

draining = threading.Event()
"""Set when this process is asked to leave; see `batches.tasks`."""


class Stopped(Exception):
    """The work may not go on: `state` is what the batch becomes, empty where the worker leaves."""

    def __init__(self, state: str) -> None:
        super().__init__(state or "this worker leaves")
        self.state = state


class Watch:
    """Keeps one turn. `look` asks the database once a second, however often it is called."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._looked = 0.0
        self._kept = time.monotonic()
        self._heeds = True

    def look(self) -> None:
        """Raises Stopped when the batch was cancelled, its window is over, or the worker is asked to leave; Fenced when
        somebody else has it."""
        now = time.monotonic()
        if now - self._kept >= KEEP_SECONDS:
            turn_keep(self._turn)
            self._kept = now
        if now - self._looked >= LOOK_SECONDS:
            state, over = turn_look(self._turn)
            self._looked = now
            if self._heeds and state == Batch.State.CANCELLING:
                raise Stopped(Batch.State.CANCELLED)
            if self._heeds and over:
                raise Stopped(Batch.State.EXPIRED)
        if draining.is_set():
            raise Stopped("")

    def heed_no_more(self) -> None:
        """It is being ended: only the turn itself matters from here on."""
        self._heeds = False
