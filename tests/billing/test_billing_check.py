"""The nightly check passes on right books and fails on one nano-USD, wherever it is."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from billing.ledger.lines import to_cents
from billing.models import InvoiceLinePush
from billing.prices import Usage
from billing.selectors.invariants import CHECKS, findings
from billing.selectors.suspects import LOOKS, STATEMENTS, suspects
from billing.services.credits import credit_grant
from billing.services.jobs import job_reserve, job_settle
from billing.services.ledger import lines_post, period_close
from billing.services.metering import usage_rollup
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast

MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)
MID_NOVEMBER = dt.datetime(2026, 11, 15, 12, tzinfo=dt.UTC)


HANDED_ON = """lines = lines
  || '[{"key": "given", "description": "", "quantity": 1, "unit": "month", "amount_nano": 1},
       {"key": "other", "description": "", "quantity": 1, "unit": "month", "amount_nano": -1}]'"""


@pytest.fixture
def books(cast: Cast) -> uuid.UUID:
    """A tenant with calls, a job, a closed month and usage still on its way."""
    owner, tenant_id = cast.owner, cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12, allowance_nano=500)
    store_events([call(tenant_id, n, cost=1_000 + 20 * n, at=MID_OCTOBER) for n in range(5)])
    usage_rollup(tenant_id=tenant_id)
    for line in period_close(tenant_id=tenant_id, period=dt.date(2026, 10, 1)).lines:
        whole, left = to_cents(line.amount_nano)
        with tenant_scope(tenant_id):
            InvoiceLinePush.objects.create(
                period=dt.date(2026, 10, 1),
                line_key=line.key,
                description=line.description,
                amount_nano=line.amount_nano,
                amount_cents=whole,
                remainder_nano=left,
            )
    with tenant_scope(tenant_id):
        job_id = uuid.uuid4()
        job_reserve(job_id=job_id, project_id=owner.project.id, key_id=None, ceiling_nano=10**6)
        job_settle(job_id=job_id, usage=Usage("training", "b", input_tokens=1000))
    usage_rollup(tenant_id=tenant_id)
    lines_post(tenant_id=tenant_id)
    store_events([call(tenant_id, 99, cost=2_000, at=MID_NOVEMBER)])
    return tenant_id


def check(tenant_id: uuid.UUID) -> int:
    try:
        call_command("billing_check", tenant=[tenant_id])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def tamper(tenant_id: uuid.UUID, table: str, change: str) -> None:
    """Change rows as nobody can: as the tables' owner, with the triggers off."""
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant_id)])
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(f"UPDATE {table} SET {change}")
        assert cursor.rowcount >= 1
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_right_books_pass_even_with_usage_on_its_way(books: uuid.UUID, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(books) == 0
    assert "books are right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("billing_usageevent", "cost_nano = cost_nano + 1"),
        ("billing_usageevent", "input_tokens = input_tokens + 1"),
        ("billing_usagehour", "cost_nano = cost_nano - 1"),
        ("billing_usagehour", "requests = requests + 1"),
        ("billing_ratedline", "amount_nano = amount_nano + 1"),
        ("billing_ratedline", "posted_nano = posted_nano + 1"),
        ("billing_ratedline", "invoiced_nano = invoiced_nano + 1"),
        ("billing_ledgerentry", "amount_nano = amount_nano + 1"),
        ("billing_periodclose", "net_nano = net_nano + 1"),
        ("billing_invoicelinepush", "amount_cents = amount_cents + 1"),
        ("billing_invoicelinepush", "remainder_nano = remainder_nano - 1"),
        ("billing_jobhold", "reserved_nano = spent_nano - 1"),
        ("billing_periodclose", "usage_nano = usage_nano + 1"),
        ("billing_periodclose", "drawn_nano = 1"),
        ("billing_periodclose", HANDED_ON),
        ("billing_ledgerentry", "account = 'cash'"),
        ("billing_ledgerentry", "account = 'tax'"),
        ("billing_ledgerentry", "account = 'promo'"),
    ],
)
def test_one_nano_off_is_found(books: uuid.UUID, table: str, change: str) -> None:
    tamper(books, table, change)
    assert check(books) == 1
    assert findings_of(books) <= suspected(books), "the nightly look, which asks over everybody first, finds the same"


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("billing_creditgrant", "amount_nano = amount_nano - 1"),
        ("billing_creditgrant", "kind = 'prepaid'"),
        ("billing_creditgrant", "expires_at = '2026-11-01'"),
        ("billing_creditdraw", "amount_nano = amount_nano + 1"),
        ("billing_creditdraw", "amount_nano = -amount_nano"),
        ("billing_creditdraw", "period = '2026-08-01'"),
        ("billing_ledgerentry", "amount_nano = amount_nano - 1"),
        ("billing_ledgertransaction", "kind = 'credit_expired', key = id::text"),
        ("billing_periodclose", "drawn_nano = drawn_nano + 1"),
        ("billing_periodclose", "drawn = '{}'"),
        ("billing_periodclose", "lines = '[]'"),
    ],
)
def test_one_nano_of_credit_off_is_found_by_the_nightly_look_too(cast: Cast, table: str, change: str) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    store_events([call(tenant_id, n, cost=1_000, at=MID_OCTOBER) for n in range(5)])
    usage_rollup(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        credit_grant(kind="promo", amount_nano=7_000, source="welcome")
    period_close(tenant_id=tenant_id, period=dt.date(2026, 10, 1))
    assert findings_of(tenant_id) == set() == suspected(tenant_id)
    tamper(tenant_id, table, change)
    assert findings_of(tenant_id)
    assert findings_of(tenant_id) <= suspected(tenant_id)


def test_an_event_of_a_kind_that_its_version_never_sold_is_found_and_stops_no_look(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    store_events([call(tenant_id, 1, cost=1_000, at=MID_OCTOBER)])
    tamper(tenant_id, "billing_usageevent", "kind = 'nothing-sold'")
    assert "events_are_priced_right" in findings_of(tenant_id) & suspected(tenant_id)


def findings_of(tenant_id: uuid.UUID) -> set[str]:
    return {one.check for one in findings([tenant_id])}


def suspected(tenant_id: uuid.UUID) -> set[str]:
    return {one.__name__ for one in suspects(CHECKS)[tenant_id]}


def test_the_nightly_look_has_nothing_to_look_at_where_books_are_right(books: uuid.UUID) -> None:
    assert suspected(books) == set()


def test_a_bill_that_hands_credit_on_is_looked_at_only_where_it_is_wrong(books: uuid.UUID) -> None:
    tamper(books, "billing_periodclose", HANDED_ON + ", allowance_nano = allowance_nano + 1")
    assert "bills_add_up" not in findings_of(books) | suspected(books)


def test_the_nightly_look_asks_over_everybody_for_each_invariant() -> None:
    assert {one.__name__ for one in CHECKS} == {*STATEMENTS, *LOOKS}
