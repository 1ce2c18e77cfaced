"""A database that is away for a while: a worker does again what failed for that, rather than give an attempt up."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)
SELF_FENCE = 600.0
"""Seconds after which a worker that does not reach the database gives up, and kills its trainer."""
AGAIN_SECONDS = 1.0

Made = TypeVar("Made")


def outlast(step: Callable[[], Made], *, what: str) -> Made:
    """What a step makes, tried again while the database is away. The step must be safe to repeat: a COMMIT whose answer
    was lost has happened. Raises what the last try raised after SELF_FENCE seconds."""
    deadline = time.monotonic() + SELF_FENCE
    while True:
        try:
            return step()
        except AWAY as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("the database is away; %s waits: %s", what, error)
            connections["default"].close()
            time.sleep(AGAIN_SECONDS)
