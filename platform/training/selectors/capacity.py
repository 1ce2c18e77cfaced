"""What the fleet could carry, whoever holds it now, and whether a tenant's jobs may share a process on it."""

import datetime as dt
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count
from django.db.models.functions import Now

from billing.plans import classes_within
from tenants.scope import ops_scope
from training.models import Attempt, Slot, TenantShare
from training.selectors.picture import AVOIDS, STALE

KNOWN = dt.timedelta(days=1)
"""A host that was heard of so lately may come back for a job that waits."""
UNBEGUN = ("unfit", "unready")
"""Outcomes of attempts for which a host could not make everything ready."""


def places_together(gpu_class: str) -> int:
    """The most places that one host has for jobs of this class; 1 where no host is known."""
    places = Slot.objects.filter(gpu_class__in=classes_within(gpu_class), heartbeat_at__gt=Now() - KNOWN)
    counts = places.values("host").annotate(n=Count("pk")).values_list("n", flat=True)
    return max(counts, default=1)


def other_hosts(*, host: str, gpu_class: str, width: int) -> bool:
    """Whether a host besides this one is up that takes jobs of this class on so many places."""
    up = Slot.objects.filter(heartbeat_at__gt=Now() - STALE, draining=False, parked_at=None).exclude(host=host)
    counts = up.filter(gpu_class__in=classes_within(gpu_class)).values("host").annotate(n=Count("pk"))
    return bool(counts.filter(n__gte=width).exists())


def host_avoided(*, job_id: UUID) -> str | None:
    """The host that a job of the scope's tenant is kept from, as a claim would have it now; None for none."""
    values: dict[str, Any] = {"job": job_id, "stale": STALE}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {AVOIDS} FROM training_job job WHERE id = %(job)s", values)
        row = cursor.fetchone()
    return None if row is None else row[0]


def fails_elsewhere(*, host: str, reason: str, within: dt.timedelta, job_id: UUID | None = None) -> bool:
    """Whether another host, too, has lately given an attempt back for this reason: then it is no one host's fault. With
    a job only an attempt of its own counts."""
    with ops_scope("see whether a fault is one host's"):
        others = Attempt.ops.filter(outcome__in=UNBEGUN, reason=reason, ended_at__gt=Now() - within)
        others = others.exclude(worker__startswith=f"{host}/")
        return bool((others if job_id is None else others.filter(job_id=job_id)).exists())


def sharing_allowed() -> bool:
    """Whether the scope's tenant lets its jobs train in one process with those of others."""
    return bool(TenantShare.objects.filter(shares_base=True).exists())
