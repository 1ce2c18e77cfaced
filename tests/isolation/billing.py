"""Routes of the billing room."""

import datetime as dt
import itertools
import secrets
from typing import Any

from billing.schema import KINDS, UNUSED
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.routes import Ids, Policy

MONTHS = itertools.count(12 * 2101)
"""Counted from the year 0; each is taken once."""


def _invoice(person: Person) -> Ids:
    from billing.models import Invoice
    from kit.clock import now

    with tenant_scope(person.tenant.id):
        made = Invoice.objects.create(
            stripe_id=f"in_{secrets.token_hex(8)}", number="A-0001", status="open", currency="usd", total=2_900,
            amount_due=2_900, amount_paid=0, issued_at=now(), due_at=now(),
            raw={
                "status": "open", "currency": "usd", "subtotal": 2_900, "total": 2_900, "amount_due": 2_900,
                "amount_paid": 0, "starting_balance": 0, "ending_balance": 0, "total_discount_amounts": [],
                "pre_payment_credit_notes_amount": 0, "post_payment_credit_notes_amount": 0, "total_taxes": [],
                "lines": {"data": [{"description": "Plan", "amount": 2_900, "period": {"start": 1, "end": 2}}]},
            },
        )  # fmt: skip
    return {"invoice": made.public_id}


def _month(person: Person) -> Ids:
    """A closed month that nobody else has: what is in its address is no secret, so a stranger's must be another."""
    from billing.models import BillLineShare, PeriodClose, RatedLine

    year, month = divmod(next(MONTHS), 12)
    period = dt.date(year, 1 + month, 1)
    counts = {"input_tokens": 100, "output_tokens": 0, "requests": 1, "gpu_ms": 0}
    with tenant_scope(person.tenant.id):
        key = "classify:base:2026-11-01"
        line = {"key": key, "description": "Classification", "quantity": 100, "unit": "tokens", "amount_nano": 2_000}
        close = PeriodClose.objects.create(
            period=period, usage_nano=2_000, allowance_nano=0, net_nano=2_000, lines=[line]
        )
        rated = RatedLine.objects.create(
            project_id=person.project.pk, model="base", kind="classify", price_version="2026-11-01", day=period,
            amount_nano=2_000, posted_nano=2_000, invoiced_nano=2_000, **counts,
        )  # fmt: skip
        BillLineShare.objects.create(close=close, rated_line=rated, quantity=100, amount_nano=2_000)
    return {"month": f"{period:%Y-%m}"}


def _event(person: Person) -> Ids:
    from billing.models import UsageEvent
    from kit.clock import now
    from tests.billing.money import call, store_events

    number = secrets.randbelow(10**9)
    store_events([call(person.tenant.id, number, cost=2_000, at=now(), project_id=person.project.pk)])
    with tenant_scope(person.tenant.id):
        return {"event": UsageEvent.objects.get(request_id=f"req_{number}").public_id}


def _asks(status: int, scope: dict[str, Any] | None = None) -> Policy:
    """An act on a subscription, which nobody here has; `tests/billing/test_billing_api.py` has one."""
    return Policy("api", success={"POST": status}, bodies={"POST": lambda ids: dict(scope or {})})


CHANGE = {"plan": "team", "interval": "month", "pin": "WyJ4Il0:1v:abc"}
ACTS = ("cancel", "keep", "pause", "resume")
POLICIES = {
    **{f"v1/organization/usage/{kind}": Policy("api", success={"GET": 200}) for kind in (*KINDS, *UNUSED)},
    "v1/organization/costs": Policy("api", success={"GET": 200}),
    "v1/organization/limits": Policy("api", success={"GET": 200}),
    "v1/limits": Policy("api", success={"GET": 200}),
    "v1/limits/decisions": Policy("api", success={"GET": 200}),
    "v1/billing/wallet": Policy("api", success={"GET": 200, "POST": 200}),
    "v1/billing/plans": Policy("api", success={"GET": 200}),
    "v1/billing/subscription": Policy(
        "api", success={"GET": 200, "POST": 409}, bodies={"POST": lambda ids: dict(CHANGE)}
    ),
    "v1/billing/subscription/preview": _asks(409, {"plan": "team", "interval": "month"}),
    **{f"v1/billing/subscription/{act}": Policy("api", success={"POST": 409}) for act in ACTS},
    "v1/billing/invoices": Policy("api", success={"GET": 200}),
    "v1/billing/invoices/<str:invoice>": Policy("api", success={"GET": 200}, make=_invoice),
    "v1/billing/months": Policy("api", success={"GET": 200}),
    "v1/billing/months/<str:month>": Policy("api", success={"GET": 200}, make=_month),
    "v1/billing/months/<str:month>/days": Policy("api", success={"GET": 200}, make=_month),
    "v1/billing/months/<str:month>/days/csv": Policy("api", success={"GET": 200}, make=_month),
    "v1/billing/events": Policy("api", success={"GET": 200}),
    "v1/billing/events/csv": Policy("api", success={"GET": 200}),
    "v1/billing/events/<str:event>": Policy("api", success={"GET": 200}, make=_event),
    "v1/billing/budgets": Policy("api", success={"GET": 200}),
    "webhooks/stripe": Policy("public", success={}),
}
