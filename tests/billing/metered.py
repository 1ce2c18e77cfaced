"""A metered tenant, as tests use one."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from billing.models import (
    BillingCustomer,
    Invoice,
    InvoiceLinePush,
    MeterReading,
    PeriodClose,
    StripeCommand,
    Subscription,
)
from billing.selectors.meters import METER
from billing.services.invoicing import invoice_lines_push
from billing.services.ledger import period_close
from billing.services.meters import METER_EVENTS, readings_settle
from billing.services.receivables import mirror_book
from billing.services.sinks import bill_lines
from billing.services.sync import customer_sync
from billing.stripe_port import stripe_port
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.test_ledger import MID_OCTOBER, OCTOBER

HOUR = dt.timedelta(hours=1)


def take(tenant_id: UUID, hours: float = 2) -> int:
    """A tick so many hours after the middle of October."""
    return METER_EVENTS.hours_take(tenant_id=tenant_id, moment=MID_OCTOBER + hours * HOUR)


def subscribed(tenant_id: UUID) -> None:
    """The meter comes onto the subscription with the first tick."""
    assert take(tenant_id) == 0
    with tenant_scope(tenant_id):
        assert StripeCommand.objects.get(operation="meter_item").state == "done"


def close(tenant_id: UUID) -> PeriodClose:
    """October closes, and its bill goes its way."""
    found = period_close(tenant_id=tenant_id, period=OCTOBER).close
    push(found)
    return found


def push(closed: PeriodClose) -> None:
    invoice_lines_push(tenant_id=closed.tenant_id, period=closed.period, lines=bill_lines(closed))


def counted(emulator: Emulator, tenant_id: UUID) -> int:
    """Units that Stripe's meter has of a tenant."""
    with tenant_scope(tenant_id):
        customer = BillingCustomer.objects.get().stripe_id
    start = int(now().timestamp()) // 60 * 60
    port = stripe_port()
    return port.meter_counted(
        port.meter_named(METER), customer_id=customer, start=start - 40 * 86400, end=start + 40 * 86400
    )


def lines_cents(tenant_id: UUID) -> int:
    with tenant_scope(tenant_id):
        return sum(InvoiceLinePush.objects.values_list("amount_cents", flat=True))


def renewed(emulator: Emulator, tenant_id: UUID) -> Invoice:
    """Two hours after the period's end: the newest invoice, mirrored and booked."""
    with tenant_scope(tenant_id):
        end = Subscription.objects.get().period_end
        emulator.control("/clock", {"to": int(end.timestamp()) + 7200})
        customer_sync(customer=BillingCustomer.objects.get())
        for row in Invoice.objects.filter(status__in=("open", "paid")):
            mirror_book(row=row)
        found: Invoice = Invoice.objects.exclude(status="draft").order_by("-issued_at").first()
    readings_settle(tenant_id=tenant_id)
    return found


def states(tenant_id: UUID) -> list[str]:
    with tenant_scope(tenant_id):
        return list(MeterReading.objects.order_by("created_at").values_list("state", flat=True))
