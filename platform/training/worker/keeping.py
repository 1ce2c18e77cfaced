"""What a worker does beside its work, in a thread: renewing a lease while it copies files, which may take longer than
the lease; saying what its places run on while a run lasts for days."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from django.conf import settings
from django.db import connections

from training.errors import Fenced
from training.services.leases import Lease, lease_keep
from training.worker.away import AWAY

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def beside(step: Callable[[], object], *, every: float, name: str) -> Iterator[None]:
    """Inside, a step is done again and again in a thread, until it is Fenced. A database that is away is no reason to
    give up: the next step may find it."""
    stop = threading.Event()

    def go() -> None:
        try:
            while not stop.wait(every):
                try:
                    step()
                except AWAY as error:
                    logger.warning("the database is away: %s", error)
                    connections["default"].close()
        except Fenced as error:
            logger.warning("the %s has ended: %s", name, error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=go, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def kept(lease: Lease) -> contextlib.AbstractContextManager[None]:
    """Keep the lease alive inside. Losing it shows at the next fenced write, so nothing is decided here."""
    return beside(lambda: lease_keep(lease=lease), every=settings.TRAINING_HEARTBEAT_SECONDS, name="lease")
