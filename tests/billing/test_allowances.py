"""What a month includes when the plan changed within it, on the bill and on its preview."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.models import AllowanceChange, InvoiceLinePush, PeriodClose, TenantEntitlement
from billing.periods import bounds
from billing.plans import AllowanceFrom, allowance_of, plan_book
from billing.selectors.bills import allowance_nano, invoice_preview
from billing.services import ledger
from billing.services.entitlements import entitlement_refresh, override_revoke, override_set
from billing.services.invoicing import invoice_lines_push
from billing.services.ledger import period_close, periods_close_all
from kit.clock import now
from kit.ids import new_id
from kit.money import NANO
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import entitle
from tests.billing.test_ledger import MID_OCTOBER, OCTOBER, use
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast

SEPTEMBER, NOVEMBER = dt.date(2026, 9, 1), dt.date(2026, 11, 1)
START, END = bounds(OCTOBER)
FREE = plan_book().free.allowance_nano
moments = st.datetimes(dt.datetime(2026, 8, 1), dt.datetime(2026, 12, 1), timezones=st.just(dt.UTC))


def id_of(moment: dt.datetime) -> uuid.UUID:
    """An id that was made at a moment."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80 | new_id().int & (1 << 80) - 1)


def test_half_a_month_of_a_plan_includes_half_of_what_it_includes() -> None:
    middle = START + (END - START) / 2
    assert allowance_of(OCTOBER, before=0, changes=[AllowanceFrom(middle, 20 * NANO)]) == 10 * NANO
    back = [AllowanceFrom(START, 20 * NANO), AllowanceFrom(middle, 2 * NANO)]
    assert allowance_of(OCTOBER, before=0, changes=back) == 11 * NANO


@given(before=st.integers(0, 10**12), changes=st.lists(st.tuples(moments, st.integers(0, 10**12)), max_size=8))
def test_a_month_includes_no_more_than_its_best_plan_and_no_less_than_its_worst(
    before: int, changes: list[tuple[dt.datetime, int]]
) -> None:
    rows = [AllowanceFrom(since, nano) for since, nano in changes]
    found = allowance_of(OCTOBER, before=before, changes=rows)
    all_of_them = [before, *(row.nano for row in rows)]
    assert min(all_of_them) <= found <= max(all_of_them)
    one_plan = [row for row in rows if row.since <= START]
    if one_plan and all(row.since <= START or row.since >= END for row in rows):
        newest = max(row.since for row in one_plan)
        assert found in {row.nano for row in one_plan if row.since == newest}, "a full month is exact"


def test_a_plan_that_ended_before_the_close_still_counts_for_its_month(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    use(tenant_id, 1, 15 * NANO)
    with tenant_scope(tenant_id):
        given_plan = override_set(plan="developer", reason="a trial", created_by="tests")
        AllowanceChange.objects.update(since=START - dt.timedelta(days=3))
        override_revoke(override_id=given_plan.pk, reason="it is over")
        assert TenantEntitlement.objects.get().allowance == {"usage_nano": FREE}
        assert allowance_nano(OCTOBER) == 20 * NANO
        assert FREE < allowance_nano() < 20 * NANO, "this month had both"
    assert period_close(tenant_id=tenant_id, period=OCTOBER).close.net_nano == 0


def test_a_plan_taken_after_the_month_includes_nothing_of_it(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    use(tenant_id, 1, 15 * NANO)
    with tenant_scope(tenant_id):
        override_set(plan="developer", reason="just in time", created_by="tests")
    assert period_close(tenant_id=tenant_id, period=OCTOBER).close.net_nano == 15 * NANO - FREE


def test_what_was_included_before_there_was_a_record_is_kept_with_the_first_change(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=NANO, allowance_nano=20 * NANO)
    with tenant_scope(tenant_id):
        TenantEntitlement.objects.update(id=id_of(START), derived_at=START + (END - START) / 2)
        assert allowance_nano(OCTOBER) == 20 * NANO
        entitlement_refresh()
        assert [row.allowance_nano for row in AllowanceChange.objects.order_by("since")] == [20 * NANO, FREE]
        assert allowance_nano(OCTOBER) == 20 * NANO, "a limit that changed in its middle changed nothing of it"


def test_a_plan_taken_before_there_was_a_record_counts_from_its_change_and_not_from_a_late_payment(cast: Cast) -> None:
    tenant_id, third = cast.owner.tenant.id, (END - START) / 3
    entitle(tenant_id, spend_nano=NANO, allowance_nano=20 * NANO)
    bought, late = {"plan": "developer", "standing": "good"}, {"plan": "developer", "standing": "grace"}
    with tenant_scope(tenant_id):
        row = TenantEntitlement.objects.get()
        TenantEntitlement.objects.update(id=id_of(START - dt.timedelta(days=90)))
        for at, before, after in ((START + third, {"plan": "free"}, bought), (START + 2 * third, bought, late)):
            AuditEvent.objects.create(
                at=at, actor_kind="system", action="plan.changed", target_kind="x", before=before, after=after
            )
        entitlement_refresh()
        first = AllowanceChange.objects.order_by("since").first()
        assert first is not None and (first.since, first.allowance_nano) == (START + third, 20 * NANO)
        assert row.derived_at > START + third


def test_a_missed_month_is_closed_by_itself_with_its_own_allowance(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = cast.owner.tenant.id
    monkeypatch.setattr(ledger, "now", lambda: dt.datetime(2026, 12, 1, 5, 59, tzinfo=dt.UTC))
    use(tenant_id, 1, 3 * NANO, at=MID_OCTOBER - dt.timedelta(days=30))
    use(tenant_id, 2, 3 * NANO)
    periods_close_all()
    with tenant_scope(tenant_id):
        closes = list(PeriodClose.objects.order_by("period").values_list("period", "net_nano"))
    assert closes == [(SEPTEMBER, 3 * NANO - FREE), (OCTOBER, 3 * NANO - FREE)]
    use(tenant_id, 3, 1 * NANO, at=MID_OCTOBER - dt.timedelta(days=30))
    periods_close_all()
    with tenant_scope(tenant_id):
        assert PeriodClose.objects.count() == 2, "both are closed: what came late waits for the next one"
    monkeypatch.setattr(ledger, "now", lambda: dt.datetime(2026, 12, 1, 6, 1, tzinfo=dt.UTC))
    periods_close_all()
    with tenant_scope(tenant_id):
        assert PeriodClose.objects.get(period=NOVEMBER).usage_nano == 1 * NANO, "which it is on once it has ended"


def test_in_a_months_first_hours_the_last_one_waits_and_missed_ones_do_not(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = cast.owner.tenant.id
    use(tenant_id, 1, 3 * NANO, at=MID_OCTOBER - dt.timedelta(days=30))
    use(tenant_id, 2, 3 * NANO)
    monkeypatch.setattr(ledger, "now", lambda: dt.datetime(2026, 11, 1, 5, 59, tzinfo=dt.UTC))
    periods_close_all()
    with tenant_scope(tenant_id):
        assert [close.period for close in PeriodClose.objects.all()] == [SEPTEMBER]


def test_the_preview_is_the_invoice_to_the_cent_with_what_rounding_carried(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, stripe_house)
    with tenant_scope(tenant_id):
        AllowanceChange.objects.update(since=START - dt.timedelta(days=90))
    use(tenant_id, 1, 20 * NANO + 4_000_000, at=MID_OCTOBER)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=closed.lines)
    use(tenant_id, 2, 20 * NANO + 4_000_000, at=now())
    with tenant_scope(tenant_id):
        preview = invoice_preview()
    assert preview.usage_cents == 1, "0.4 cents of October and 0.4 of this month"
    assert invoice_lines_push(tenant_id=tenant_id, period=preview.period, lines=preview.lines) == len(preview.lines)
    with tenant_scope(tenant_id):
        sent = sum(push.amount_cents for push in InvoiceLinePush.objects.filter(period=preview.period))
    assert preview.usage_cents == sent
