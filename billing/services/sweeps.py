"""Doing one thing for many tenants: one tenant's failure must not keep the others waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import Error as DatabaseError

from kit.errors import ApiError
from kit.metrics import Counter

logger = logging.getLogger(__name__)
T = TypeVar("T")

FAILURES = Counter("billing_sweep_failures_total", "Tenants a sweep failed for; the next tick tries again", ["sweep"])


def for_each(sweep: str, items: Iterable[T], work: Callable[[T], int]) -> int:
    """Sum of `work(item)` over all items. A failure is logged and counted, and raised again only after the last item,
    so that the task is seen to have failed."""
    total, failed = 0, None
    for item in items:
        try:
            total += work(item)
        except (DatabaseError, ApiError, ValueError, LookupError, RuntimeError) as error:
            FAILURES.labels(sweep).inc()
            logger.exception("%s failed for %s", sweep, item)
            failed = error
    if failed is not None:
        raise failed
    return total
