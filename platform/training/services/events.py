"""The log of a job: rows in order, and a word on Redis that there is more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from kit import redis
from kit.ids import new_id
from tenants.scope import current_tenant_id
from training.models import Job, JobEvent

CHANNEL = "news:job:"
"""Followed by the job's UUID; the message is the newest seq. Only a hint: the rows are the truth."""


@dataclass(frozen=True, slots=True)
class News:
    """One event to be."""

    message: str
    level: str = "info"
    code: str = ""
    type: str = "message"
    data: dict[str, Any] | None = None


def warn(message: str, *, code: str, data: dict[str, Any] | None = None) -> News:
    """Something a reader should see, though the job goes on."""
    return News(message, level="warn", code=code, data=data)


def fail(message: str, *, code: str) -> News:
    """Why the job ended badly."""
    return News(message, level="error", code=code)


def metrics(message: str, data: dict[str, Any]) -> News:
    """A point for the charts."""
    return News(message, type="metrics", data=data)


def events_append(*, job: Job, news: Sequence[News]) -> None:
    """Append to a job's log. Takes the job's row lock; the caller is in the tenant's scope."""
    if news:
        Job.objects.filter(pk=job.pk).update(event_seq=F("event_seq") + len(news))
        last = Job.objects.values_list("event_seq", flat=True).get(pk=job.pk)
        events_write(job_id=job.pk, attempt=job.attempt, last=last, news=news)


def events_write(*, job_id: UUID, attempt: int, last: int, news: Sequence[News]) -> None:
    """Write events whose numbers up to `last` the caller has already taken, in the same transaction."""
    first, tenant_id = last - len(news) + 1, current_tenant_id()
    ids = sorted(new_id() for _ in news)  # so that a page by id is a page by number
    JobEvent.objects.bulk_create(
        JobEvent(
            id=ids[index],
            tenant_id=tenant_id,
            job_id=job_id,
            seq=first + index,
            attempt=attempt,
            level=one.level,
            type=one.type,
            code=one.code,
            message=one.message[:2000],
            data=one.data,
        )
        for index, one in enumerate(news)
    )
    announce(job_id, last)


def announce(job_id: UUID, last: int) -> None:
    """After the commit, tell who listens."""
    transaction.on_commit(lambda: redis.publish(f"{CHANNEL}{job_id}", str(last)), robust=True)
