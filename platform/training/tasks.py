"""Doorbells of training. None of them carries authority: each looks in the database for what there is to do."""

import datetime as dt
import os
from uuid import UUID

from celery import current_app, shared_task
from celery.signals import celeryd_after_setup, worker_shutdown, worker_shutting_down
from django.db.models.functions import Now

from tenants.scope import ops_scope
from training import states
from training.models import Job, Sweep
from training.selectors.queue import places
from training.services.announcing import SWEEP
from training.services.checkpoints import leftovers_sweep
from training.services.claiming import room_make
from training.services.endings import WORK
from training.services.jobs import VALIDATE
from training.services.limiting import limits_obey
from training.services.mailing import MAIL, SWEEP_MAIL, job_mail, sweep_mail
from training.services.queueing import job_validate
from training.services.seeing import places_seen
from training.services.shares import shares_reread
from training.services.sweeping import leases_sweep
from training.services.sweeps import OPEN
from training.services.trials import sweep_step
from training.worker import duty, idle

QUEUE = "train"
FRESH = dt.timedelta(seconds=1)


@shared_task(name=WORK)
def work() -> bool:
    """Claim and run one job, if there is one for this host."""
    return idle.work_in_turn()


@shared_task(name=VALIDATE)
def validate(tenant_id: str, job_id: str) -> str:
    """Look at a job's files and put it into the queue, or fail it with every reason."""
    return job_validate(tenant_id=UUID(tenant_id), job_id=UUID(job_id))


@shared_task(name="training.tick")
def tick() -> dict[str, int]:
    """Ring again for whatever waits: a doorbell may be lost, and a file may have become ready."""
    with ops_scope("ring for jobs that wait"):
        checking = list(
            Job.ops.filter(state=states.VALIDATING, created_at__lt=Now() - FRESH).values_list("tenant_id", "pk")[:200]
        )
    for tenant_id, job_id in checking:
        _send(VALIDATE, str(tenant_id), str(job_id), queue="ingest")
    shares_reread()
    asked = room_make()
    alive, free = places()
    if free or not alive:
        _send(WORK, queue=QUEUE)
    return {"checking": len(checking), "places": alive, "free": free, "asked": asked}


@shared_task(name="training.leases")
def leases() -> int:
    """Requeue jobs whose worker stopped answering."""
    return leases_sweep()


@shared_task(name="training.limits")
def limits() -> int:
    """Stop jobs that a spend limit no longer carries, or whose organisation is suspended."""
    return limits_obey()


@shared_task(name=MAIL, autoretry_for=(OSError,), retry_backoff=30, max_retries=6)
def mail(tenant_id: str, job_id: str) -> bool:
    """Tell whoever asked for a job how it stands."""
    return job_mail(tenant_id=UUID(tenant_id), job_id=UUID(job_id))


@shared_task(name=SWEEP_MAIL, autoretry_for=(OSError,), retry_backoff=30, max_retries=6)
def mail_of_sweep(tenant_id: str, sweep_id: str) -> bool:
    """Tell whoever asked for a sweep how it ended."""
    return sweep_mail(tenant_id=UUID(tenant_id), sweep_id=UUID(sweep_id))


@shared_task(name=SWEEP)
def sweep_look(tenant_id: str, sweep_id: str) -> str:
    """Let a sweep look at its trials and start the next ones, or end."""
    return sweep_step(tenant_id=UUID(tenant_id), sweep_id=UUID(sweep_id))


@shared_task(name="training.sweeps_tick")
def sweeps_tick() -> int:
    """Ring again for every open sweep: the end of a trial may have gone unheard, or a file have become ready."""
    with ops_scope("ring for open sweeps"):
        # Any of them, so that with more than one tick rings for, none is left out for long.
        found = list(Sweep.ops.filter(state__in=OPEN).order_by("?").values_list("tenant_id", "pk")[:500])
    for tenant_id, sweep_id in found:
        _send(SWEEP, str(tenant_id), str(sweep_id), queue="ingest")
    return len(found)


@shared_task(name="training.leftovers")
def leftovers() -> int:
    """Remove what dead workers left in storage of jobs that have ended."""
    return leftovers_sweep()


@shared_task(name="training.machines_seen")
def machines_seen() -> int:
    """Count the time of the places that are there."""
    return places_seen()


SCHEDULE = {
    "training.machines_seen": 60,
    "training.tick": 2,
    "training.leases": 5,
    "training.limits": 10,
    "training.sweeps_tick": 5,
    "training.leftovers": 21_600,
}


def _send(task: str, *arguments: str, queue: str) -> None:
    """A ring that is worthless in five seconds, since the next tick rings again."""
    current_app.send_task(task, args=list(arguments), queue=queue, expires=5, retry=False)


lookout = idle.Lookout()


def _trains() -> bool:
    return os.environ.get("WORKER_QUEUE") == QUEUE


@celeryd_after_setup.connect
def _look_out(**_: object) -> None:
    """From the start: a worker that begins while Redis is away never becomes ready. But not before Celery is about to
    take SIGTERM in hand: until then `config.background` leaves without asking whether anything is at work."""
    if _trains():
        lookout.start()


@worker_shutting_down.connect
def _drain(**_: object) -> None:
    """The worker was asked to leave: its trainer writes a checkpoint, its job goes back to the queue."""
    if _trains():
        duty.draining.set()


@worker_shutdown.connect
def _leave(**_: object) -> None:
    """Not before the lookout's job has gone back. Celery also comes here when it fails, without asking to leave."""
    if _trains():
        duty.draining.set()
        lookout.stop()
