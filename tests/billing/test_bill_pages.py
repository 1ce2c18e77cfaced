"""From an invoice to its rated days and their events: what pages and files show adds up to the ledger and to Stripe."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from decimal import Decimal
from typing import Any

from billing.ledger.lines import ALLOWANCE, BillLine
from billing.models import (
    AllowanceChange,
    BillingCustomer,
    BillLineShare,
    Invoice,
    LedgerEntry,
    PeriodClose,
    Subscription,
    UsageEvent,
)
from billing.services.invoicing import invoice_lines_push
from billing.services.ledger import period_close
from billing.services.metering import usage_rollup
from billing.services.mirror import invoice_mirror
from billing.services.receivables import mirrors_book_all
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import call, store_events
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person

SEPTEMBER, OCTOBER = dt.date(2026, 9, 1), dt.date(2026, 10, 1)
TUNED, OTHER = "ft:all-MiniLM-L6-v2:o:s:1", "ft:all-MiniLM-L6-v2:o:other:2"


def at(month: int, day: int, hour: int = 12) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, tzinfo=dt.UTC)


def table(answer: Any) -> list[dict[str, str]]:
    """A downloaded file's rows."""
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return list(csv.DictReader(io.StringIO(body.decode().removeprefix("\ufeff"))))


def nano(text: str) -> int:
    return int(Decimal(text) * NANO)


def words(person: Person, path: str) -> str:
    answer = person.browser.get(person.home + path)
    assert answer.status_code == 200, (path, answer.status_code)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def used(person: Person, number: int, cost: int, when: dt.datetime, **more: Any) -> None:
    tenant = person.tenant.id
    store_events([call(tenant, number, cost=cost, at=when, project_id=person.project.pk, **more)])
    usage_rollup(tenant_id=tenant)


def test_every_bill_knows_the_days_it_holds_and_late_usage_is_told_apart(cast: Cast) -> None:
    ada = cast.owner
    tenant = ada.tenant.id
    used(ada, 1, 123_456_780, at(9, 10))
    used(ada, 2, 2_000_000_020, at(9, 10), model=OTHER)
    used(ada, 3, 40, at(9, 30, 23), kind="embeddings", model="all-MiniLM-L6-v2")
    first = period_close(tenant_id=tenant, period=SEPTEMBER, allowance_nano=100)
    used(ada, 4, 60, at(9, 10))  # of a day that September's bill has, and after it was closed
    used(ada, 5, 3 * NANO, at(10, 2))
    second = period_close(tenant_id=tenant, period=OCTOBER, allowance_nano=0)
    again = period_close(tenant_id=tenant, period=OCTOBER, allowance_nano=0)
    assert not again.fresh
    for closed in (first, second):
        with tenant_scope(tenant):
            shares = list(BillLineShare.objects.filter(close=closed.close).values_list("amount_nano", flat=True))
        assert sum(shares) == closed.close.usage_nano
        for line in closed.lines:
            page = f"/billing/months/{closed.close.period:%Y-%m}/line"
            answer = ada.browser.get(f"{ada.home}{page}/csv", {"key": line.key})
            if line.key == ALLOWANCE:
                assert answer.status_code == 404
                continue
            rows = table(answer)
            assert sum(nano(row["amount_usd"]) for row in rows) == line.amount_nano
            assert sum(int(row["quantity"]) for row in rows) == line.quantity, "counted as the bill counts"
            shown = ada.browser.get(f"{ada.home}{page}", {"key": line.key}).content.decode()
            assert "Not told apart" not in shown and line.description in shown
    late = next(line for line in second.lines if "late" in line.description)
    rows = table(ada.browser.get(f"{ada.home}/billing/months/2026-10/line/csv", {"key": late.key}))
    assert [(row["day"], nano(row["amount_usd"])) for row in rows] == [("2026-09-10", 60)]

    # The events of that day's rated line stand on two bills, told apart by when they came.
    query = rows[0]["events"].split("?")[1]
    events = table(ada.browser.get(f"{ada.home}/usage/events/csv?{query}"))
    assert {event["request"]: event["bill"] for event in events} == {"req_1": "2026-09", "req_4": "2026-10"}
    assert sum(nano(event["cost_usd"]) for event in events) == 123_456_840


def test_an_invoice_shows_what_stripe_asks_and_what_the_ledger_holds(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    tenant = ada.tenant.id
    buy(ada, stripe_house)
    with tenant_scope(tenant):  # as if it had been bought before October
        AllowanceChange.objects.update(since=at(9, 1))
    used(ada, 1, 20 * NANO, at(10, 3))
    used(ada, 2, 3 * NANO + 456_780, at(10, 4), model=OTHER)
    used(ada, 3, 7_000_020, at(10, 4), kind="decisions")
    closed = period_close(tenant_id=tenant, period=OCTOBER)
    invoice_lines_push(tenant_id=tenant, period=OCTOBER, lines=closed.lines)
    with tenant_scope(tenant):
        customer, subscription = BillingCustomer.objects.get(), Subscription.objects.get()
    made = stripe_house.v1.invoices.create(
        {
            "customer": customer.stripe_id,
            "subscription": subscription.stripe_id,
            "pending_invoice_items_behavior": "include",
            "auto_advance": False,
        }
    )
    if stripe_house.v1.invoices.finalize_invoice(made.id).status == "open":
        stripe_house.v1.invoices.pay(made.id)
    with tenant_scope(tenant):
        invoice_mirror(customer, made.id)
    mirrors_book_all()
    with tenant_scope(tenant):
        row = Invoice.objects.get(stripe_id=made.id)
        entries = LedgerEntry.objects.filter(transaction__kind="invoice", transaction__key=made.id)
        booked = {entry.account: entry.amount_nano for entry in entries}

    rows = table(ada.browser.get(f"{ada.home}/billing/invoices/{row.public_id}/csv"))
    total = sum(nano(one["amount_usd"]) for one in rows)
    assert total == row.total * CENT
    usage = sum(nano(one["amount_usd"]) for one in rows if one["what"] == "usage")
    assert usage == closed.close.usage_nano
    with tenant_scope(tenant):
        assert -usage == sum(LedgerEntry.objects.filter(account="usage_revenue").values_list("amount_nano", flat=True))
    rounding = sum(nano(one["amount_usd"]) for one in rows if one["what"] == "rounding")
    assert rounding == -booked.get("rounding", 0)

    page = words(ada, f"/billing/invoices/{row.public_id}/")
    assert f"Total ${row.total / 100:.2f}" in page
    assert f"Paid −${row.total / 100:.2f}" in page
    assert "Open $0.00" in page and "Bill of October 2026" in page
    months = words(ada, "/billing/months/2026-10/")
    assert row.number in months and "$23.00045678" in months and "$0.00700002" in months
    assert row.number in words(ada, "/billing/invoices/")
    assert (
        f'href="{ada.home}/billing/invoices/{row.public_id}/"'
        in ada.browser.get(f"{ada.home}/billing/").content.decode()
    )

    with tenant_scope(tenant):
        event = UsageEvent.objects.get(request_id="req_3")
    one = words(ada, f"/usage/events/{event.public_id}/")
    assert "October 2026" not in one and "Oct 2026" in one and "Decisions" in one and "$0.00700002" in one


def test_refunds_and_credit_notes_stand_on_their_invoice(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        customer, row = BillingCustomer.objects.get(), Invoice.objects.get()
    note = {"invoice": row.stripe_id, "amount": 900, "refund_amount": 500, "credit_amount": 400}
    stripe_house.v1.credit_notes.create(note)  # type: ignore[arg-type]
    with tenant_scope(ada.tenant.id):
        invoice_mirror(customer, row.stripe_id)
    page = words(ada, f"/billing/invoices/{row.public_id}/")
    assert "refund re_" in page and "$5.00" in page and "left for the next invoices $4.00" in page


def test_a_month_that_is_included_has_a_bill_and_no_invoice(cast: Cast) -> None:
    ada = cast.owner
    used(ada, 1, NANO, at(10, 3))
    period_close(tenant_id=ada.tenant.id, period=OCTOBER, allowance_nano=5 * NANO)
    page = words(ada, "/billing/months/2026-10/")
    assert "No invoice asks for this month" in page and "−$1.00" in page
    assert "October 2026" in words(ada, "/billing/invoices/")


def test_addresses_that_nobody_has(cast: Cast) -> None:
    ada, eve = cast.owner, cast.stranger
    used(ada, 1, NANO, at(10, 3))
    period_close(tenant_id=ada.tenant.id, period=OCTOBER, allowance_nano=0)
    with tenant_scope(ada.tenant.id):
        event, close = UsageEvent.objects.get(), PeriodClose.objects.get()
    assert isinstance(BillLine(**close.lines[0]), BillLine)
    for path in ("2026-13", "2026-11", "x", "2026-10-01", "0000-00", "２０２６-10"):
        assert ada.browser.get(f"{ada.home}/billing/months/{path}/").status_code == 404, path
    for key in ("", "allowance", "classify:x:y", "\x00", "a" * 5000):
        assert ada.browser.get(f"{ada.home}/billing/months/2026-10/line", {"key": key}).status_code == 404, key
    assert ada.browser.get(f"{ada.home}/usage/events/{event.public_id}/").status_code == 200
    assert eve.browser.get(f"{eve.home}/usage/events/{event.public_id}/").status_code == 404
    assert eve.browser.get(f"{eve.home}/billing/months/2026-10/").status_code == 404
    assert eve.browser.get(f"{ada.home}/billing/invoices/").status_code == 404
