"""Doing one thing for many tenants: one tenant's failure must not keep the others waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from django.db import Error as DatabaseError

from kit.errors import ApiError
from kit.metrics import Counter

logger = logging.getLogger(__name__)
T = TypeVar("T")

FAILED = (DatabaseError, ApiError, ValueError, LookupError, RuntimeError)
"""What may go wrong with one tenant."""
AT_ONCE = 250
"""Tenants that share a transaction."""

FAILURES = Counter("billing_sweep_failures_total", "Tenants a sweep failed for; the next tick tries again", ["sweep"])


def for_each(sweep: str, items: Iterable[T], work: Callable[[T], int]) -> int:
    """Sum of `work(item)` over all items. A failure is logged and counted, and raised again only after the last item,
    so that the task is seen to have failed."""
    total, failed = 0, None
    for item in items:
        try:
            total += work(item)
        except FAILED as error:
            FAILURES.labels(sweep).inc()
            logger.exception("%s failed for %s", sweep, item)
            failed = error
    if failed is not None:
        raise failed
    return total


def for_batches(
    sweep: str,
    items: Sequence[T],
    many: Callable[[Sequence[T]], tuple[int, Sequence[T]]],
    one: Callable[[T], int],
    *,
    at_once: int = AT_ONCE,
) -> int:
    """As `for_each`, but in batches: `many` does what it can of a batch in one transaction, and answers its sum and
    which items it left. Those are done by `one`. A batch that fails as a whole is tried again in halves, so that who
    made it fail is soon alone."""
    left: list[T] = []

    def do(batch: Sequence[T]) -> int:
        if len(batch) == 1:
            left.append(batch[0])
            return 0
        try:
            done, rest = many(batch)
        except FAILED:
            logger.warning("%s failed for %d together; trying them in halves", sweep, len(batch), exc_info=True)
            half = len(batch) // 2
            return do(batch[:half]) + do(batch[half:])
        left.extend(rest)
        return done

    total = sum(do(items[first : first + at_once]) for first in range(0, len(items), at_once))
    return total + for_each(sweep, left, one)
