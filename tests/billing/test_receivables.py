"""Invoices reach the ledger once, whatever the order of news, and rounding is accounted for to the nano."""

from __future__ import annotations

import datetime as dt
import uuid

from billing.ledger.lines import to_cents
from billing.models import Invoice, InvoiceLinePush, LedgerTransaction
from billing.selectors.bills import balances
from billing.services.ledger import period_close
from billing.services.metering import usage_rollup
from billing.services.receivables import mirrors_book_all
from kit.clock import now
from kit.money import CENT
from tenants.scope import tenant_scope
from tests.billing.money import call, store_events
from tests.conftest import CURRENCY, Cast

MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)


def invoice(tenant_id: uuid.UUID, *, total: int, status: str = "open", items: tuple[str, ...] = ()) -> Invoice:
    lines = [{"parent": {"invoice_item_details": {"invoice_item": item}}} for item in items]
    with tenant_scope(tenant_id):
        made: Invoice = Invoice.objects.create(
            stripe_id=f"in_{uuid.uuid4().hex}",
            status=status,
            currency=CURRENCY,
            total=total,
            amount_due=total,
            amount_paid=total if status == "paid" else 0,
            issued_at=now(),
            raw={"lines": {"data": lines}},
        )
        return made


def booked(tenant_id: uuid.UUID) -> dict[str, int]:
    mirrors_book_all()
    with tenant_scope(tenant_id):
        return {account: amount for account, amount in balances().items() if amount}


def test_an_open_invoice_is_owed_and_a_paid_one_is_cash(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    row = invoice(tenant_id, total=2_900)
    assert booked(tenant_id) == {"receivable": 2_900 * CENT, "subscription_revenue": -2_900 * CENT}
    with tenant_scope(tenant_id):
        row.status, row.amount_paid = "paid", 2_900
        row.save()
    for _ in range(2):
        assert booked(tenant_id) == {"cash": 2_900 * CENT, "subscription_revenue": -2_900 * CENT}
    with tenant_scope(tenant_id):
        assert LedgerTransaction.objects.count() == 2


def test_an_invoice_first_seen_paid_is_booked_whole(cast: Cast) -> None:
    invoice(cast.owner.tenant.id, total=2_900, status="paid")
    assert booked(cast.owner.tenant.id) == {"cash": 2_900 * CENT, "subscription_revenue": -2_900 * CENT}


def test_drafts_and_empty_invoices_move_nothing(cast: Cast) -> None:
    invoice(cast.owner.tenant.id, total=2_900, status="draft")
    invoice(cast.owner.tenant.id, total=0, status="paid")
    assert booked(cast.owner.tenant.id) == {}


def test_a_voided_invoice_is_owed_no_more(cast: Cast) -> None:
    invoice(cast.owner.tenant.id, total=2_900, status="void")
    assert booked(cast.owner.tenant.id) == {"credit": 2_900 * CENT, "subscription_revenue": -2_900 * CENT}


def test_usage_on_an_invoice_was_owed_already_and_parts_of_a_cent_stand_in_rounding(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    store_events([call(tenant_id, 1, cost=123_456_780, at=MID_OCTOBER)])
    usage_rollup(tenant_id=tenant_id)
    closed = period_close(tenant_id=tenant_id, period=dt.date(2026, 10, 1), allowance_nano=0)
    line = closed.lines[0]
    cents, left = to_cents(line.amount_nano)
    with tenant_scope(tenant_id):
        InvoiceLinePush.objects.create(
            period=closed.close.period,
            line_key=line.key,
            description=line.description,
            amount_nano=line.amount_nano,
            amount_cents=cents,
            remainder_nano=left,
            stripe_item_id="ii_1",
        )
    invoice(tenant_id, total=2_900 + cents, status="paid", items=("ii_1",))
    assert (cents, left) == (12, 3_456_780)
    assert booked(tenant_id) == {
        "cash": 2_912 * CENT,
        "subscription_revenue": -2_900 * CENT,
        "usage_revenue": -123_456_780,
        "rounding": left,
    }
