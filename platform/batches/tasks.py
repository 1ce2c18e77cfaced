"""Doorbells of batches. None carries authority: a worker looks in the database for what there is to do."""

import os

from celery import current_app, shared_task
from celery.signals import worker_shutting_down

from batches.services.batches import QUEUE, WORK
from batches.services.endings import leftovers_sweep
from batches.services.turns import others_wait
from batches.worker import duty, watch

RINGS = 4
"""How many workers one tick wakes."""


@shared_task(name=WORK)
def work() -> int:
    """Work on batches until none is worth a turn."""
    return duty.work()


@shared_task(name="batches.tick")
def tick() -> bool:
    """Ring again for batches that wait: a doorbell may be lost, a lease may have run out, a limit may be raised."""
    waiting = others_wait()
    for _ in range(RINGS if waiting else 0):
        current_app.send_task(WORK, queue=QUEUE, expires=5, retry=False)
    return waiting


@shared_task(name="batches.leftovers")
def leftovers() -> int:
    """Remove what killed workers left of batches that have ended."""
    return leftovers_sweep()


SCHEDULE = {"batches.tick": 2, "batches.leftovers": 3_600}


@worker_shutting_down.connect
def _drain(**_: object) -> None:
    """The worker was asked to leave: it stores what has come, and the next one goes on."""
    if QUEUE in os.environ.get("WORKER_QUEUE", "").split(","):
        watch.draining.set()
