"""The sweeper: reservations whose caller never came back.

A usage event in Postgres tells the fate: settle at its amounts. Without one nobody can tell (a gateway died, and its
file may yet arrive), so the reserved amount stays counted against the budget as a dispute that is never billed.
A dispute ends when the event arrives after all, or after a day.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid

from billing.models import UsageDispute, UsageEvent
from billing.periods import from_ms
from billing.quotas import QuotaStore
from billing.quotas.answers import Due
from billing.services.sweeps import for_each
from kit.clock import now
from kit.metrics import Counter
from tenants.scope import ops_scope, tenant_scope

logger = logging.getLogger(__name__)

KEEP = dt.timedelta(days=1)

SWEPT = Counter("billing_reservations_swept_total", "Reservations past their deadline by fate", ["fate"])


def reservations_sweep(*, store: QuotaStore) -> int:
    """End every reservation past its deadline; how many."""
    tenants = [uuid.UUID(hex=tenant) for tenant in store.tenants()]
    return for_each("reservations_sweep", tenants, lambda tenant_id: _sweep_tenant(store, tenant_id))


def _sweep_tenant(store: QuotaStore, tenant_id: uuid.UUID) -> int:
    due = store.due(tenant_id, 500)
    if not due:
        return 0
    with tenant_scope(tenant_id):
        wanted = [entry.reservation_id for entry in due]
        events = {event.request_id: event for event in UsageEvent.objects.filter(request_id__in=wanted)}
    for entry in due:
        event = events.get(entry.reservation_id)
        if event is None:
            _dispute(store, tenant_id, entry)
            continue
        store.settle(
            tenant_id,
            entry.reservation_id,
            tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            nano=event.cost_nano,
        )
        SWEPT.labels("settled").inc()
    return len(due)


def _dispute(store: QuotaStore, tenant_id: uuid.UUID, entry: Due) -> None:
    # First the row, then the counters: a crash between them repeats both, and both know their own doubles.
    if entry.nano:
        with tenant_scope(tenant_id):
            UsageDispute.objects.bulk_create(
                [
                    UsageDispute(
                        tenant_id=tenant_id,
                        request_id=entry.reservation_id,
                        tokens=entry.tokens,
                        nano=entry.nano,
                        reserved_at=from_ms(entry.reserved_at_ms),
                    )
                ],
                ignore_conflicts=True,
            )
    store.expire(tenant_id, entry.reservation_id)
    SWEPT.labels("disputed").inc()
    logger.warning("reservation %s of tenant %s ended without news; disputed", entry.reservation_id, tenant_id)


def disputes_close() -> int:
    """Close disputes whose event arrived, and those a day old; how many."""
    with ops_scope("find disputes to close"):
        tenants = list(
            UsageDispute.ops.filter(state=UsageDispute.State.OPEN)
            .order_by()
            .values_list("tenant_id", flat=True)
            .distinct()
        )
    return for_each("disputes_close", tenants, _close_of)


def _close_of(tenant_id: uuid.UUID) -> int:
    closed = 0
    with tenant_scope(tenant_id):
        for dispute in UsageDispute.objects.select_for_update().filter(state=UsageDispute.State.OPEN):
            if UsageEvent.objects.filter(request_id=dispute.request_id).exists():
                dispute.state = UsageDispute.State.DISPROVED
            elif dispute.created_at < now() - KEEP:
                dispute.state = UsageDispute.State.DROPPED
            else:
                continue
            dispute.closed_at = now()
            dispute.save(update_fields=["state", "closed_at"])
            closed += 1
    return closed
