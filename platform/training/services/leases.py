"""What only the holder of a lease may write. Every write names the attempt and the lease's token; a write that finds
no such row raises Fenced, and then this worker kills its trainer and publishes nothing.

Time is the database's alone: a worker's clock decides nothing.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Value
from django.db.models.functions import Greatest, Now

from tenants.scope import tenant_scope
from training import states
from training.errors import Fenced
from training.models import Attempt, Job, Slot
from training.services.events import News, events_write


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one attempt of a job."""

    tenant_id: UUID
    project_id: UUID
    job_id: UUID
    attempt: int
    token: UUID
    worker: str


@dataclass(slots=True)
class Standing:
    """Where a run stands, as the supervisor counts it."""

    phase: str = ""
    step: int = 0
    total_steps: int = 0
    progress: float = 0.0
    eta_seconds: int | None = None
    trained_tokens: int = 0

    def values(self) -> dict[str, Any]:
        """The job's columns. Progress, tokens and steps never seem to run backwards to a reader."""
        return {
            "phase": self.phase,
            "step": Greatest(F("step"), Value(self.step)),
            "total_steps": self.total_steps,
            "progress": Greatest(F("progress"), Value(self.progress)),
            "eta_seconds": self.eta_seconds,
            "trained_tokens": Greatest(F("trained_tokens"), Value(self.trained_tokens)),
        }


@dataclass(frozen=True, slots=True)
class Signals:
    """What the ledger tells the worker on each beat."""

    cancelled: bool = False
    stop: str = ""
    """Write a checkpoint and leave: `paused`, `preempted` or one of `states.LIMITS`; empty to go on."""


SIGNALS = ("state", "preempt_requested_at", "pause_requested_at", "stop_for")


def signals_of(row: dict[str, Any]) -> Signals:
    """What a job's row asks of its worker."""
    preempted = "preempted" if row["preempt_requested_at"] is not None else ""
    paused = states.PAUSED if row["pause_requested_at"] is not None else ""
    return Signals(row["state"] == states.CANCELLING, paused or row["stop_for"] or preempted)


def lease_expiry() -> Any:
    """The end of a lease that is renewed now, by the database's clock."""
    return Now() + dt.timedelta(seconds=settings.TRAINING_LEASE_SECONDS)


def fenced_update(lease: Lease, *, within: Sequence[str] = states.HELD, **values: Any) -> None:
    """Change the job's row if this attempt still holds it; Fenced otherwise. Inside the tenant's scope."""
    changed = Job.objects.filter(
        pk=lease.job_id, attempt=lease.attempt, lease_token=lease.token, state__in=within
    ).update(**values)
    if not changed:
        raise Fenced(f"attempt {lease.attempt} of {lease.job_id} no longer holds its lease")


def lease_renew(*, lease: Lease, standing: Standing, news: Sequence[News] = ()) -> Signals:
    """Heartbeat: extend the lease, write progress and events, hear whether to stop. Its own short transaction."""
    with tenant_scope(lease.tenant_id):
        fenced_update(
            lease,
            lease_expires_at=lease_expiry(),
            heartbeat_at=Now(),
            event_seq=F("event_seq") + len(news),
            **standing.values(),
        )
        row = Job.objects.values("event_seq", *SIGNALS).get(pk=lease.job_id)
        if news:
            events_write(job_id=lease.job_id, attempt=lease.attempt, last=row["event_seq"], news=news)
        Attempt.objects.filter(job_id=lease.job_id, number=lease.attempt).update(last_step=standing.step)
        Slot.objects.filter(job_id=lease.job_id, attempt=lease.attempt).update(heartbeat_at=Now())
        return signals_of(row)


def lease_keep(*, lease: Lease) -> None:
    """Only extend the lease: while files are fetched or stored. Raises Fenced."""
    with tenant_scope(lease.tenant_id):
        fenced_update(lease, lease_expires_at=lease_expiry(), heartbeat_at=Now())
        Slot.objects.filter(job_id=lease.job_id, attempt=lease.attempt).update(heartbeat_at=Now())


def lease_look(*, lease: Lease) -> Signals:
    """Between heartbeats: has somebody cancelled, or taken the job away? One indexed read. Raises Fenced."""
    with tenant_scope(lease.tenant_id):
        row = (
            Job.objects.filter(pk=lease.job_id, attempt=lease.attempt, lease_token=lease.token).values(*SIGNALS).first()
        )
    if row is None or row["state"] not in states.HELD:
        raise Fenced(f"attempt {lease.attempt} of {lease.job_id} no longer holds its lease")
    return signals_of(row)


def lease_advance(*, lease: Lease, state: str) -> bool:
    """Move along leased -> starting -> running -> finishing; False when the job was cancelled meanwhile."""
    before = {
        states.STARTING: states.LEASED,
        states.RUNNING: states.STARTING,
        states.FINISHING: states.RUNNING,
    }[state]
    with tenant_scope(lease.tenant_id):
        try:
            fenced_update(lease, within=(before, state), state=state, lease_expires_at=lease_expiry())
        except Fenced:
            fenced_update(lease, within=(states.CANCELLING,), heartbeat_at=Now())
            return False
        return True
