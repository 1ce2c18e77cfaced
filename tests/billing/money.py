"""Small helpers of the money tests."""

from __future__ import annotations

import datetime as dt
import uuid

from billing.metering import PostgresSink, UsageEvent, event_id
from billing.models import TenantEntitlement
from billing.periods import to_ms
from billing.quotas import CompiledLimits, limits_for
from billing.selectors.limits import plan_limit_set
from billing.services.gate import sink_dsn
from tenants.scope import tenant_scope
from tests.conftest import CURRENCY

EURO = "2026-12-01.eur"
BOOKS = {"usd": "2026-11-01", "eur": EURO}
BOOK = BOOKS[CURRENCY]
PER_TOKEN = {"2026-11-01": {"embeddings": 10, "classify": 20}, EURO: {"embeddings": 8, "classify": 18}}
"""What a token of these costs, nano; all other kinds as classification."""
LIMITS = {"requests_per_minute": 10_000, "tokens_per_minute": 10_000_000, "concurrency": 1000}


def entitle(tenant_id: uuid.UUID, *, spend_nano: int, allowance_nano: int = 0) -> CompiledLimits:
    """Give a tenant a monthly spend limit; its compiled limits."""
    limits = LIMITS | {"monthly_spend_nano": spend_nano}
    with tenant_scope(tenant_id):
        TenantEntitlement.objects.update_or_create(
            tenant_id=tenant_id,
            defaults={
                "plan": "developer",
                "plan_version": 1,
                "standing": "good",
                "limits": limits,
                "features": [],
                "allowance": {"usage_nano": allowance_nano},
            },
        )
        return limits_for(tenant_id=tenant_id, plan=plan_limit_set())


def call(
    tenant_id: uuid.UUID,
    number: int,
    *,
    cost: int,
    at: dt.datetime,
    kind: str = "classify",
    model: str = "ft:all-MiniLM-L6-v2:o:s:1",
    project_id: uuid.UUID | None = None,
    key_id: uuid.UUID | None = None,
    book: str = BOOK,
) -> UsageEvent:
    """An event of `cost` nano (a multiple of 20), of as many tokens as that buys by a price book, the last one perhaps
    not whole."""
    request = f"req_{number}"
    each = PER_TOKEN[book].get(kind, PER_TOKEN[book]["classify"])
    return UsageEvent(
        event_id=event_id(tenant_id, request, kind),
        request_id=request,
        tenant_id=tenant_id,
        project_id=project_id or tenant_id,
        key_id=key_id,
        model=model,
        kind=kind,
        input_tokens=-(-cost // each),
        output_tokens=0,
        requests=1,
        gpu_ms=1,
        price_version=book,
        cost_nano=cost,
        occurred_at=to_ms(at),
    )


def store_events(events: list[UsageEvent]) -> None:
    """Into Postgres, as the shipper does."""
    sink = PostgresSink(sink_dsn())
    sink(events)
    sink.close()
