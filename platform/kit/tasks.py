"""The shelf's own task: ring what the outbox still holds."""

from celery import shared_task

from kit import outbox


@shared_task(name="kit.outbox_drain")
def outbox_drain() -> int:
    """Called by beat; safe to run twice at once, since tasks are doorbells."""
    return outbox.drain()


SCHEDULE = {"kit.outbox_drain": 5}
