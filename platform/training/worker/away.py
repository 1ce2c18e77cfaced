"""A database or a storage that is away for a while: a worker does again what failed for that, rather than give an
attempt up."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

from kit.storage import StorageAway

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)
SELF_FENCE = 600.0
"""Seconds after which a worker that does not reach the database gives up, and kills its trainer."""
AGAIN_SECONDS = 1.0
LONGEST_AGAIN = 10.0
"""Seconds between two tries of a storage, which is spared more than the database."""

Made = TypeVar("Made")


def outlast(step: Callable[[], Made], *, what: str, leaving: threading.Event | None = None) -> Made:
    """What a step makes, tried again while the database or the storage is away. The step must be safe to repeat: a
    COMMIT whose answer was lost has happened. Raises what the last try raised after SELF_FENCE seconds, and StorageAway
    once the worker is leaving."""
    deadline, tries = time.monotonic() + SELF_FENCE, 0
    while True:
        try:
            return step()
        except AWAY as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("the database is away; %s waits: %s", what, error)
            connections["default"].close()
            time.sleep(AGAIN_SECONDS)
        except StorageAway:
            if time.monotonic() > deadline or (leaving is not None and leaving.is_set()):
                raise
            logger.warning("the storage is away; %s waits", what)
            time.sleep(storage_pause(tries))
            tries += 1


def storage_pause(tries: int) -> float:
    """Seconds until the storage is asked again, after so many tries in vain."""
    return min(LONGEST_AGAIN, AGAIN_SECONDS * 2.0 ** min(tries, 16))
