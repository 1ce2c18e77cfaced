"""The ledger balances, cannot be changed, and says what the bill says."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.db import DatabaseError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import LedgerError, PeriodOpen
from billing.ledger.lines import to_cents
from billing.models import Account, LedgerEntry, LedgerTransaction, RatedLine, TenantEntitlement
from billing.selectors.bills import balances, invoice_preview
from billing.services.ledger import ledger_post, lines_post, period_close
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.money import CENT
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast, make_person

OCTOBER = dt.date(2026, 10, 1)
MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)


def use(tenant_id: uuid.UUID, number: int, cost: int, at: dt.datetime = MID_OCTOBER, **fields: object) -> None:
    store_events([call(tenant_id, number, cost=cost, at=at, **fields)])  # type: ignore[arg-type]
    usage_rollup(tenant_id=tenant_id)


def test_an_unbalanced_posting_is_refused_by_the_service_and_by_the_database(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(LedgerError):
        ledger_post(kind="t", key="1", entries={Account.CASH: 5, Account.CREDIT: -4})
    with pytest.raises(DatabaseError, match="does not sum to zero"), tenant_scope(cast.owner.tenant.id):
        row = LedgerTransaction.objects.create(kind="t", key="2")
        LedgerEntry.objects.create(transaction=row, account=Account.CASH, amount_nano=1)
    with tenant_scope(cast.owner.tenant.id):
        assert not LedgerTransaction.objects.exists()


def test_a_posting_is_written_once_per_kind_and_key(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        for _ in range(2):
            ledger_post(kind="t", key="1", entries={Account.CASH: 5, Account.RECEIVABLE: -5})
        assert balances() == {"cash": 5, "receivable": -5}


@pytest.mark.parametrize("table", ["billing_ledgertransaction", "billing_ledgerentry"])
def test_what_is_posted_stays(cast: Cast, table: str) -> None:
    with tenant_scope(cast.owner.tenant.id):
        ledger_post(kind="t", key="1", entries={Account.CASH: 5, Account.RECEIVABLE: -5})
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET id = id"):
        with pytest.raises(DatabaseError, match="permission denied"), tenant_scope(cast.owner.tenant.id):
            with connection.cursor() as cursor:
                cursor.execute(statement)


def test_late_usage_is_posted_as_a_difference(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    use(tenant_id, 1, 1_000)
    assert lines_post(tenant_id=tenant_id) == 1_000
    assert lines_post(tenant_id=tenant_id) == 0
    use(tenant_id, 2, 500)
    assert lines_post(tenant_id=tenant_id) == 500
    with tenant_scope(tenant_id):
        assert balances() == {"unbilled": 1_500, "usage_revenue": -1_500}
        assert RatedLine.objects.get().posted_nano == 1_500


def test_closing_a_month_bills_it_once_with_the_allowance_taken_off(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    use(tenant_id, 1, 1_000)
    use(tenant_id, 2, 600, kind="embeddings")
    closed = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=700)
    assert closed.fresh
    assert [(line.key.split(":")[0], line.quantity, line.amount_nano) for line in closed.lines] == [
        ("classify", 50, 1_000),
        ("embeddings", 60, 600),
        ("allowance", 1, -700),
    ]
    again = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0)
    assert not again.fresh and again.lines == closed.lines
    with tenant_scope(tenant_id):
        assert balances() == {"allowance": 700, "receivable": 900, "unbilled": 0, "usage_revenue": -1_600}


def test_usage_that_arrives_after_the_close_is_on_the_next_bill(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    use(tenant_id, 1, 1_000, at=MID_OCTOBER - dt.timedelta(days=30))
    period_close(tenant_id=tenant_id, period=dt.date(2026, 9, 1), allowance_nano=0)
    use(tenant_id, 2, 400, at=MID_OCTOBER - dt.timedelta(days=30))
    use(tenant_id, 3, 60)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0)
    assert [(line.amount_nano, "late" in line.description) for line in closed.lines] == [(400, True), (60, False)]


def test_a_running_month_cannot_be_closed(cast: Cast) -> None:
    with pytest.raises(PeriodOpen):
        period_close(tenant_id=cast.owner.tenant.id, period=now().date(), allowance_nano=0)


def test_the_preview_is_the_bill_the_month_would_get_now(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12, allowance_nano=2_000_000)
    use(tenant_id, 1, 30_000_000, at=now())
    with tenant_scope(tenant_id):
        assert invoice_preview().subscription_cents == 0, "a plan that was given is on no invoice"
        TenantEntitlement.objects.update(subscription="sub_1")
        preview = invoice_preview()
    assert (preview.usage_nano, preview.allowance_nano, preview.net_nano) == (30_000_000, 2_000_000, 28_000_000)
    assert preview.usage_cents == 3
    assert preview.subscription_cents == 2_900
    assert preview.total_cents == 2_903


def test_the_preview_leaves_out_what_was_billed_and_names_what_came_late(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    use(tenant_id, 1, 1_000)
    period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0)
    use(tenant_id, 2, 400)
    with tenant_scope(tenant_id):
        preview = invoice_preview()
    assert [(line.amount_nano, "late" in line.description) for line in preview.usage_lines] == [(400, True)]


@given(st.lists(st.integers(-(10**12), 10**12), max_size=30))
def test_rounding_to_cents_loses_nothing_over_the_months(amounts: list[int]) -> None:
    carried = billed = 0
    for amount in amounts:
        whole, carried = to_cents(amount, carried)
        billed += whole
        assert abs(carried) <= CENT // 2
    assert billed * CENT + carried == sum(amounts)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("use"), st.integers(0, 500), st.integers(0, 80)),
            st.tuples(st.sampled_from(["post", "close 9", "close 10"]), st.just(0), st.just(0)),
        ),
        max_size=20,
    ),
    allowance=st.integers(0, 5_000),
)
def test_ledger_lines_and_events_agree_in_any_order(steps: list[tuple[str, int, int]], allowance: int) -> None:
    tenant_id = make_person("ledger").tenant.id
    total = 0
    for number, (step, amount, day) in enumerate(steps):
        if step == "use":
            use(tenant_id, number, amount * 20, at=MID_OCTOBER - dt.timedelta(days=day))
            total += amount * 20
        elif step == "post":
            lines_post(tenant_id=tenant_id)
        else:
            period_close(tenant_id=tenant_id, period=dt.date(2026, int(step.split()[1]), 1), allowance_nano=allowance)
    lines_post(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        found = balances()
        lines = list(RatedLine.objects.all())
    assert sum(found.values()) == 0
    assert -found.get("usage_revenue", 0) == total == sum(line.amount_nano for line in lines)
    assert found.get("unbilled", 0) == sum(line.posted_nano - line.invoiced_nano for line in lines)
    assert found.get("receivable", 0) + found.get("allowance", 0) == sum(line.invoiced_nano for line in lines)
