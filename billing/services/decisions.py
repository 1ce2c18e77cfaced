"""Keeping why calls and jobs were refused: from the processes that refused them into a table, and out of it after a
month.

A refused job ends its transaction, so what is kept of it is written behind that by a thread (`job_refusals`), as the
gateway writes what it refused.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Sequence

from django.db import DatabaseError, DataError, IntegrityError, OperationalError, close_old_connections, connections

from billing.models import QuotaDecision
from billing.periods import from_ms
from billing.quotas.jobs import refusal_of_job
from billing.quotas.trace import DROPPED, Caller, Refusal, TraceBuffer
from kit.clock import now
from kit.errors import ApiError
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

logger = logging.getLogger(__name__)

KEPT = dt.timedelta(days=30)
PARCEL = 5_000
"""Rows one statement deletes."""
BEHIND_SECONDS = 0.5


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


@contextlib.contextmanager
def job_refusals(caller: Caller) -> Iterator[None]:
    """Keep why a job that is asked for inside is refused, where a limit did; the error goes on. In a tenant's scope."""
    try:
        yield
    except ApiError as error:
        found = refusal_of_job(
            error, caller, tenant_id=current_tenant_id(), at_ms=int(now().timestamp() * 1000)
        )  # fmt: skip
        if found is not None:
            _behind().note(found)
        raise


@functools.cache
def _behind() -> TraceBuffer:
    """What this process refused and has not written yet, with the thread that does."""
    buffer = TraceBuffer()

    def work() -> None:
        while True:
            time.sleep(BEHIND_SECONDS)
            decisions_flush(buffer)

    threading.Thread(target=work, name="job-refusals", daemon=True).start()
    return buffer


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
