"""A worker's turn at a batch: claimed in one short transaction, kept by a lease, and every write fenced by its token.

Whoever was served longest ago goes next, by organisation first, so that a hundred batches of one do not keep the single
one of another waiting. Time is the database's alone.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from batches.credential import Caller
from batches.errors import Fenced
from batches.models import OPEN, Batch
from kit.money import HOUSE
from tenants.scope import OPS, ops_scope, tenant_scope

LEASE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to work on one batch for a while."""

    tenant_id: UUID
    batch_id: UUID
    token: UUID
    number: int
    caller: Caller
    endpoint: str
    storage_key: str
    """Of the input file."""
    currency: str = HOUSE
    """What the organisation pays in."""


def claimable() -> "QuerySet[Batch]":
    """Open batches that nobody holds and that are worth a turn now. In an ops scope."""
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now())
    due = Q(not_before=None) | Q(not_before__lte=Now()) | Q(expires_at__lte=Now())
    found: QuerySet[Batch] = Batch.ops.filter(free, due, state__in=OPEN)
    return found


def turn_claim() -> Turn | None:
    """The next batch, leased; None when there is none to be worked on."""
    with ops_scope("claim the next batch"), transaction.atomic(using=OPS):
        mine = Batch.ops.filter(tenant_id=OuterRef("tenant_id"), served_at__isnull=False)
        latest = Subquery(mine.order_by("-served_at").values("served_at")[:1])  # the first entry of an index
        order = (F("latest").asc(nulls_first=True), F("served_at").asc(nulls_first=True), "pk")
        batch = (
            claimable()
            .annotate(latest=latest)
            .order_by(*order)
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if batch is None:
            return None
        token = uuid.uuid4()
        Batch.ops.filter(pk=batch.pk).update(
            lease_token=token, lease_expires_at=_lease_end(), served_at=Now(), turns=F("turns") + 1, not_before=None
        )
        key, currency = Batch.ops.values_list("input_file__storage_key", "tenant__currency").get(pk=batch.pk)
    caller = Caller(batch.tenant_id, batch.project_id, batch.key_id, batch.user_id)
    return Turn(batch.tenant_id, batch.pk, token, batch.turns + 1, caller, batch.endpoint, key, currency)


def others_wait() -> bool:
    """Whether another batch could have this turn's place."""
    with ops_scope("see whether batches wait"):
        return claimable().exists()


def fenced_update(turn: Turn, *, within: tuple[str, ...] = OPEN, **values: Any) -> None:
    """Change the batch if this turn still holds it; Fenced otherwise. Inside the tenant's scope."""
    held = Batch.objects.filter(pk=turn.batch_id, lease_token=turn.token, lease_expires_at__gt=Now(), state__in=within)
    if not held.update(**values):
        raise Fenced(f"turn {turn.number} of {turn.batch_id} is over")


def turn_keep(turn: Turn) -> Batch:
    """Extend the lease; the batch as it stands now. Raises Fenced."""
    with tenant_scope(turn.tenant_id):
        fenced_update(turn, lease_expires_at=_lease_end())
        found: Batch = Batch.objects.get(pk=turn.batch_id)
        return found


def turn_look(turn: Turn) -> tuple[str, bool]:
    """(state, whether its window is over), in one read between two beats of the lease. Raises Fenced."""
    with tenant_scope(turn.tenant_id):
        found = Batch.objects.filter(pk=turn.batch_id, lease_token=turn.token)
        row = found.annotate(clock=Now()).values("state", "expires_at", "clock").first()
    if row is None:
        raise Fenced(f"turn {turn.number} of {turn.batch_id} is over")
    return row["state"], row["expires_at"] <= row["clock"]


def turn_end(turn: Turn, *, waits_for: str = "", seconds: float = 0) -> None:
    """Let go, for others to go on; where it waits for something, not before so many seconds."""
    later = Now() + dt.timedelta(seconds=seconds) if seconds else None
    with tenant_scope(turn.tenant_id):
        Batch.objects.filter(pk=turn.batch_id, lease_token=turn.token).update(
            lease_expires_at=None, not_before=later, waits_for=waits_for
        )


def _lease_end() -> Any:
    return Now() + dt.timedelta(seconds=LEASE_SECONDS)
