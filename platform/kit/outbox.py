"""After-commit work that survives a crash between COMMIT and publish.

`ring` writes a row in the caller's transaction and publishes right after the commit; the row goes when the broker took
the message. What is left (a crash, a broker that was down) a beat tick rings again: at least once, ids only.
"""

import datetime as dt
import logging

from celery import current_app
from django.db import transaction

from kit.breaker import Breaker, Resting
from kit.clock import now
from kit.models import OutboxEntry

logger = logging.getLogger(__name__)

STALE = dt.timedelta(seconds=10)
BATCH = 500

_broker = Breaker()


def ring(task: str, *arguments: str | int, queue: str = "default") -> None:
    """Call a task by name after the running transaction commits. Arguments are ids, never objects or secrets."""
    entry = OutboxEntry.objects.create(task=task, queue=queue, arguments=list(arguments))
    transaction.on_commit(lambda: _publish(entry), robust=True)


def drain() -> int:
    """Ring what was left behind; returns how many."""
    rung = 0
    for entry in OutboxEntry.objects.filter(created_at__lt=now() - STALE).order_by("created_at")[:BATCH]:
        rung += _publish(entry)
    return rung


def _publish(entry: OutboxEntry) -> bool:
    try:
        with _broker.asking():
            current_app.send_task(entry.task, args=entry.arguments, queue=entry.queue, retry=False)
    except Resting:
        return False
    except Exception as error:  # the broker's client raises a dozen kinds; each means "not now"
        logger.warning("could not ring %s: %s; the outbox keeps it", entry.task, error)
        return False
    OutboxEntry.objects.filter(pk=entry.pk).delete()
    return True
