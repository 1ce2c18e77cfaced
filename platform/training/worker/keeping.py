"""Renews a lease from a thread while the worker copies files, which may take longer than the lease."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from django.conf import settings
from django.db import connections

from training.errors import Fenced
from training.services.leases import Lease, lease_keep
from training.worker.away import AWAY

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def kept(lease: Lease) -> Iterator[None]:
    """Keep the lease alive inside. Losing it shows at the next fenced write, so nothing is decided here."""
    stop = threading.Event()

    def beat() -> None:
        try:
            while not stop.wait(settings.TRAINING_HEARTBEAT_SECONDS):
                try:
                    lease_keep(lease=lease)
                except AWAY as error:
                    logger.warning("the database is away: %s", error)
                    connections["default"].close()
        except Fenced:
            logger.warning("attempt %s of %s has lost its lease", lease.attempt, lease.job_id)
        finally:
            connections.close_all()

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
