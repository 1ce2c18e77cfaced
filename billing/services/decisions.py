"""Keeping why calls were refused: from the processes that refused them into a table, and out of it after a month."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
from collections.abc import Sequence

from django.db import DatabaseError, DataError, IntegrityError, OperationalError, close_old_connections, connections

from billing.models import QuotaDecision
from billing.periods import from_ms
from billing.quotas.trace import DROPPED, Refusal, TraceBuffer
from kit.clock import now
from tenants.scope import ops_scope, tenant_scope

logger = logging.getLogger(__name__)

KEPT = dt.timedelta(days=30)
PARCEL = 5_000
"""Rows one statement deletes."""


def decisions_record(refusals: Sequence[Refusal]) -> int:
    """Write refusals, each into its tenant's rows; how many. Outside any scope.

    Those of a tenant whose rows cannot be written (it is gone, say) are dropped. OperationalError while the database is
    away: nothing of that tenant and of those after it was written.
    """
    written = 0
    for tenant_id, group in itertools.groupby(sorted(refusals, key=_tenant), key=lambda refusal: refusal.tenant_id):
        rows = [_row(refusal) for refusal in group]
        try:
            with tenant_scope(tenant_id):
                written += len(QuotaDecision.objects.bulk_create(rows))
        except (IntegrityError, DataError) as error:
            DROPPED.inc(len(rows))
            logger.warning("refusals of tenant %s are not kept: %s", tenant_id, error)
    return written


def _tenant(refusal: Refusal) -> int:
    return refusal.tenant_id.int


def _row(refusal: Refusal) -> QuotaDecision:
    return QuotaDecision(
        tenant_id=refusal.tenant_id,
        at=from_ms(refusal.at_ms),
        refused=refusal.refused,
        request_ids=refusal.request_ids,
        project_id=refusal.project_id,
        key_id=refusal.key_id,
        kind=refusal.kind,
        model=refusal.model,
        layer=refusal.layer,
        scope_id=refusal.scope_id,
        limit_kind=refusal.limit_kind,
        cap=refusal.cap,
        window_ms=refusal.window_ms,
        asked=refusal.asked,
        remaining=refusal.remaining,
        wait_ms=refusal.wait_ms,
        reason=refusal.reason,
        status=refusal.status,
    )


def decisions_flush(buffer: TraceBuffer, *, everything: bool = False) -> int:
    """Write what a process has gathered; how many rows. Never raises for a database that is away: they wait."""
    taken = buffer.take(everything=everything)
    if not taken:
        return 0
    close_old_connections()
    try:
        return decisions_record(taken)
    except OperationalError:
        buffer.back(taken)
        return 0
    except DatabaseError:  # what can never be written must not be tried for ever
        DROPPED.inc(len(taken))
        logger.exception("%d refusals could not be kept", len(taken))
        return 0
    finally:
        connections.close_all()  # this thread may not come by again for long


def decisions_prune() -> int:
    """Delete what is older than a month; how many rows."""
    deleted = 0
    with ops_scope("forget old refusals"):
        while True:
            old = QuotaDecision.ops.filter(at__lt=now() - KEPT).values("pk")[:PARCEL]
            gone, _ = QuotaDecision.ops.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
            deleted += gone
            if gone < PARCEL:
                return deleted
