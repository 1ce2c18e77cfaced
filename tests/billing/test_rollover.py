"""What a month includes and nobody uses is there in the next one: once, never more than was left, and not for ever."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.models import AllowanceChange, CreditGrant, PeriodClose, RatedLine, TenantEntitlement
from billing.periods import bounds, month_of
from billing.plans import Plan, PlanBook, Rollover, plan_book
from billing.selectors.wallet import balance_nano
from billing.services import ledger, rollover
from billing.services.ledger import period_close, periods_close_all
from kit.clock import now
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.test_credits import use
from tests.billing.test_month_prices import right
from tests.conftest import Cast, make_person

RUNNING = month_of(now())
LAST = month_of(RUNNING - dt.timedelta(days=1))
BEFORE = month_of(LAST - dt.timedelta(days=1))
"""Months of the run itself: what is carried on ends with the next month, so no month of the calendar will do."""
BEGUN, END = bounds(RUNNING)
EARLIER = bounds(BEFORE)[0]
MIDDLE = bounds(LAST)[0] + dt.timedelta(days=14, hours=12)


def on_team(tenant_id: uuid.UUID, *, since: dt.datetime = EARLIER, version: int = 6) -> Plan:
    plan = plan_book().get("team", version)
    with tenant_scope(tenant_id):
        AllowanceChange.objects.create(
            since=since, plan=plan.code, plan_version=version, allowance_nano=plan.allowance_nano
        )
    return plan


def carried(tenant_id: uuid.UUID) -> list[tuple[int, dt.datetime | None, str]]:
    with tenant_scope(tenant_id):
        grants = CreditGrant.objects.filter(kind="rollover")
        return [(one.amount_nano, one.expires_at, one.reason) for one in grants]


def test_what_is_left_of_a_month_pays_in_the_next_before_its_own_allowance(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    on_team(tenant_id)
    use(tenant_id, 1, 150 * NANO, at=MIDDLE)
    period_close(tenant_id=tenant_id, period=LAST)
    period_close(tenant_id=tenant_id, period=LAST)
    assert carried(tenant_id) == [(50 * NANO, END, f"Included in {LAST:%Y-%m} and not used")]
    use(tenant_id, 2, 20 * NANO, at=BEGUN)
    ledger.lines_post(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        assert balance_nano() == 30 * NANO
    right(tenant_id)


def test_a_month_without_usage_carries_one_months_allowance(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = cast.owner.tenant.id
    on_team(tenant_id)
    monkeypatch.setattr(ledger, "now", lambda: BEGUN + dt.timedelta(hours=7))
    periods_close_all()
    periods_close_all()
    assert [nano for nano, _, _ in carried(tenant_id)] == [200 * NANO]
    with tenant_scope(tenant_id):
        assert PeriodClose.objects.get().net_nano == 0
    right(tenant_id)


def test_one_bad_organisation_keeps_no_plan_from_carrying_on(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    carrying, bad = cast.owner.tenant.id, cast.stranger.tenant.id
    on_team(carrying)
    use(bad, 1, NANO, at=MIDDLE)
    entitle(bad, spend_nano=10**12)
    with tenant_scope(bad):
        TenantEntitlement.objects.update(allowance={})
    monkeypatch.setattr(ledger, "now", lambda: BEGUN + dt.timedelta(hours=7))
    with pytest.raises(KeyError):
        periods_close_all()
    with tenant_scope(bad):  # other tests close everybody's months
        TenantEntitlement.objects.update(allowance={"usage_nano": 0})
    assert [nano for nano, _, _ in carried(carrying)] == [200 * NANO]


@pytest.mark.parametrize(("since", "version"), [(EARLIER, 5), (BEGUN, 6)], ids=["without it", "that came later"])
def test_a_plan_without_it_and_one_that_came_later_carry_nothing(cast: Cast, since: dt.datetime, version: int) -> None:
    on_team(cast.owner.tenant.id, since=since, version=version)
    use(cast.owner.tenant.id, 1, NANO, at=MIDDLE)
    period_close(tenant_id=cast.owner.tenant.id, period=LAST)
    assert carried(cast.owner.tenant.id) == []


def test_a_month_that_is_closed_after_the_next_one_carries_nothing(cast: Cast) -> None:
    on_team(cast.owner.tenant.id)
    period_close(tenant_id=cast.owner.tenant.id, period=BEFORE)
    assert carried(cast.owner.tenant.id) == []


def test_a_correction_of_an_earlier_month_carries_no_more_than_a_month_includes(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = cast.owner.tenant.id
    plan = on_team(tenant_id)
    half = dataclasses.replace(plan, rollover=Rollover(50, 10**15))
    monkeypatch.setattr(rollover, "plan_book", lambda: PlanBook(plan_book().plans | {plan.key: half}))
    use(tenant_id, 1, 100 * NANO, at=EARLIER)
    period_close(tenant_id=tenant_id, period=BEFORE)
    with tenant_scope(tenant_id):
        RatedLine.objects.update(amount_nano=0)
    period_close(tenant_id=tenant_id, period=LAST)
    with tenant_scope(tenant_id):
        assert PeriodClose.objects.get(period=LAST).allowance_nano == -100 * NANO
    assert [nano for nano, _, _ in carried(tenant_id)] == [100 * NANO]


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure smaller takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(
    percent=st.integers(1, 100),
    most=st.integers(0, 300 * NANO),
    usage=st.lists(st.integers(0, 15 * NANO), max_size=3),
    closes=st.integers(1, 3),
)
def test_never_more_than_was_left_and_once_however_often_it_is_closed(
    percent: int, most: int, usage: list[int], closes: int
) -> None:
    tenant_id = make_person("rolling").tenant.id
    plan = on_team(tenant_id)
    changed = dataclasses.replace(plan, rollover=Rollover(percent, most))
    used = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rollover, "plan_book", lambda: PlanBook(plan_book().plans | {plan.key: changed}))
        for number, tens in enumerate(usage):
            use(tenant_id, number, tens * 20, at=MIDDLE)
            used += tens * 20
        for _ in range(closes):
            period_close(tenant_id=tenant_id, period=LAST)
    left = max(0, plan.allowance_nano - used)
    assert sum(nano for nano, _, _ in carried(tenant_id)) == min(left * percent // 100, most)
    right(tenant_id)
