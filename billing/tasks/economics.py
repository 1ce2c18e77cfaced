"""Ticks of what staff count by."""

from celery import shared_task

from billing.services import changes


@shared_task(name="billing.months_take")
def months_take() -> int:
    """Keep what plans were worth at the end of each month, three days after it."""
    return changes.months_take()


SCHEDULE = {"billing.months_take": 3600}
