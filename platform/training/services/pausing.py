"""Out of the queue, or off its machine with a checkpoint, and back."""

from django.db.models.functions import Now

from billing.services.decisions import job_refusals
from kit import outbox
from kit.errors import Conflict
from kit.money import in_name, written_at_most
from tenants import audit
from tenants.services.organisations import tenant_turn
from training import states
from training.errors import CeilingTooLow, JobFinished
from training.models import Job
from training.services import money
from training.services.endings import BLOCKED, WORK
from training.services.events import News, events_append, warn
from training.services.queueing import check_room, spec_raised, spec_sha256


def job_pause(*, job: Job) -> Job:
    """Pause: at once while it waits; while it runs, as soon as its checkpoint is written. Twice is the same.
    JobFinished once it has ended, Conflict while its files are still being checked."""
    row: Job = Job.objects.select_for_update().get(pk=job.pk)
    if row.is_final or row.state == states.CANCELLING:
        raise JobFinished(f"The job {row.public_id} has ended; it cannot be paused any more.")
    if row.state == states.VALIDATING:
        raise Conflict("The job's files are still being checked. Pause it once it is queued.")
    if row.state == states.BLOCKED or row.pause_requested_at is not None:
        return row
    before = row.state
    if before == states.QUEUED:
        Job.objects.filter(pk=row.pk).update(state=states.BLOCKED, blocked_by=states.PAUSED)
        news = warn(BLOCKED[states.PAUSED], code="paused")
    else:
        Job.objects.filter(pk=row.pk).update(pause_requested_at=Now())
        news = warn("Pausing: the worker writes a checkpoint and stops.", code="pausing")
    return _changed(row, "job.paused", before, news)


def job_resume(*, job: Job, ceiling_nano: int | None = None) -> Job:
    """Back into the queue, at its end: what was paused did not wait. A job that reached its ceiling needs a higher one.

    Resuming what runs or waits changes nothing, but takes back a pause that has not taken effect yet. JobFinished once
    it has ended, CeilingTooLow, Conflict for a job that staff hold or whose organisation is suspended, BudgetExceeded
    where a spend limit cannot carry it, QueueFull where as many jobs wait as the plan allows.
    """
    tenant_turn()
    row: Job = Job.objects.select_for_update().get(pk=job.pk)
    if row.is_final or row.state == states.CANCELLING:
        raise JobFinished(f"The job {row.public_id} has ended. Start a new one from it.")
    if row.state != states.BLOCKED:
        if row.pause_requested_at is None:
            return row
        Job.objects.filter(pk=row.pk).update(pause_requested_at=None)
        return _changed(row, "job.resumed", row.state, News("The pause was taken back.", code="resumed_by_hand"))
    if row.blocked_by == states.HOLD:
        raise Conflict("Our staff hold this job. Write to support; nothing of it is lost.")
    if row.blocked_by == states.SUSPENDED:
        raise Conflict("The organisation was suspended. The job goes on by itself within seconds of its reopening.")
    with job_refusals(money.asking(row)):
        check_room(stopped=False)
        if row.blocked_by == states.BUDGET or ceiling_nano is not None:
            _raise_ceiling(row, ceiling_nano)
        elif row.blocked_by == states.QUOTA:
            money.extend(row, nano=row.ceiling_nano)
    Job.objects.filter(pk=row.pk).update(state=states.QUEUED, blocked_by="", queued_at=Now(), not_before=None)
    outbox.ring(WORK, queue="train")
    return _changed(row, "job.resumed", states.BLOCKED, News("Resumed: the job is in the queue.", code="requeued"))


def _raise_ceiling(row: Job, ceiling_nano: int | None) -> None:
    if row.sweep_id is not None:
        raise Conflict("The job is a trial of a sweep, whose budget it must fit into. Start a job of its own from it.")
    if ceiling_nano is None or ceiling_nano <= row.ceiling_nano:
        stopped = "stopped at its ceiling of" if row.blocked_by == states.BUDGET else "has a ceiling of"
        raise CeilingTooLow(
            f"The job {stopped} {written_at_most(row.ceiling_nano)}. Resume it with a higher "
            f"{in_name('x_max_price_usd')}.",
            param="x_max_price_usd",
        )
    money.extend(row, nano=ceiling_nano)
    spec = spec_raised(row, ceiling_nano)
    changed = {"spec": spec, "spec_sha256": spec_sha256(spec)}
    Job.objects.filter(pk=row.pk).update(ceiling_nano=ceiling_nano, max_price_nano=ceiling_nano, **changed)


def _changed(row: Job, action: str, before: str, news: News) -> Job:
    row.refresh_from_db()
    audit.record(action=action, target=row, before={"state": before}, after={"state": row.state})
    events_append(job=row, news=[news])
    row.refresh_from_db()
    return row
