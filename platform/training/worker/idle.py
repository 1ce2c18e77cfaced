"""Looking for work without a doorbell. While Redis is away nobody rings; jobs that wait start all the same, and the
places of an idle host stay known as alive.

Celery's own thread answers doorbells and this one looks around; whichever comes first takes the job, and a worker has
one job at a time.
"""

import logging
import random
import threading
import time

from django.db import close_old_connections, connections

from training.worker import duty

logger = logging.getLogger(__name__)

QUIET_SECONDS = 10.0
"""How long a worker hears nothing before it looks for itself; while places are free the tick rings every two
seconds."""

_turn = threading.Lock()
_last = time.monotonic()


def work_in_turn() -> bool:
    """`duty.work_once`, unless this process is at it already; whether there was a job."""
    global _last
    if not _turn.acquire(blocking=False):
        return False
    try:
        return duty.work_once()
    finally:
        _last = time.monotonic()
        _turn.release()


class Lookout(threading.Thread):
    """Looks for work whenever nobody has rung for a while, until it is stopped."""

    def __init__(self) -> None:
        # A worker that fails must end: only one that is asked to leave waits (`stop`).
        super().__init__(name="lookout", daemon=True)
        self._over = threading.Event()

    def run(self) -> None:
        """Until `stop`. A database that is away is no reason to give up."""
        while not self._over.wait(QUIET_SECONDS * random.uniform(0.4, 0.6)):
            if time.monotonic() - _last < QUIET_SECONDS or duty.draining.is_set():
                continue
            close_old_connections()
            try:
                work_in_turn()
            except Exception:
                logger.warning("could not look for work", exc_info=True)
            close_old_connections()
        connections.close_all()

    def stop(self) -> None:
        """No more jobs; returns when the one it runs has left with its checkpoint (`duty.draining` asks for that)."""
        self._over.set()
        if self.is_alive():
            self.join()
