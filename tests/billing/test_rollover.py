"""What a month includes and nobody uses is there in the next one: once, never more than was left, and not for ever."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.models import AllowanceChange, CreditGrant, PeriodClose, RatedLine, TenantEntitlement
from billing.plans import Plan, PlanBook, Rollover, plan_book
from billing.selectors.wallet import balance_nano
from billing.services import ledger, rollover
from billing.services.ledger import period_close, periods_close_all
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.test_credits import use
from tests.billing.test_month_prices import right
from tests.conftest import Cast, make_person

OCTOBER = dt.date(2026, 10, 1)
IN_NOVEMBER = dt.datetime(2026, 11, 1, 7, tzinfo=dt.UTC)
MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)


def on_team(
    tenant_id: uuid.UUID, *, since: dt.datetime = dt.datetime(2026, 9, 1, tzinfo=dt.UTC), version: int = 6
) -> Plan:
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
    use(tenant_id, 1, 150 * NANO, at=MID_OCTOBER)
    period_close(tenant_id=tenant_id, period=OCTOBER)
    period_close(tenant_id=tenant_id, period=OCTOBER)
    end = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    assert carried(tenant_id) == [(50 * NANO, end, "Included in 2026-10 and not used")]
    use(tenant_id, 2, 20 * NANO, at=dt.datetime(2026, 11, 5, tzinfo=dt.UTC))
    ledger.lines_post(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        assert balance_nano() == 30 * NANO
    right(tenant_id)


def test_a_month_without_usage_carries_one_months_allowance(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = cast.owner.tenant.id
    on_team(tenant_id)
    monkeypatch.setattr(ledger, "now", lambda: IN_NOVEMBER)
    periods_close_all()
    periods_close_all()
    assert [nano for nano, _, _ in carried(tenant_id)] == [200 * NANO]
    with tenant_scope(tenant_id):
        assert PeriodClose.objects.get().net_nano == 0
    right(tenant_id)


def test_one_bad_organisation_keeps_no_plan_from_carrying_on(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    carrying, bad = cast.owner.tenant.id, cast.stranger.tenant.id
    on_team(carrying)
    use(bad, 1, NANO, at=MID_OCTOBER)
    entitle(bad, spend_nano=10**12)
    with tenant_scope(bad):
        TenantEntitlement.objects.update(allowance={})
    monkeypatch.setattr(ledger, "now", lambda: IN_NOVEMBER)
    with pytest.raises(KeyError):
        periods_close_all()
    with tenant_scope(bad):  # other tests close everybody's months
        TenantEntitlement.objects.update(allowance={"usage_nano": 0})
    assert [nano for nano, _, _ in carried(carrying)] == [200 * NANO]


@pytest.mark.parametrize(
    ("since", "version"), [(dt.datetime(2026, 9, 1, tzinfo=dt.UTC), 5), (dt.datetime(2026, 11, 1, tzinfo=dt.UTC), 6)]
)
def test_a_plan_without_it_and_one_that_came_later_carry_nothing(cast: Cast, since: dt.datetime, version: int) -> None:
    on_team(cast.owner.tenant.id, since=since, version=version)
    use(cast.owner.tenant.id, 1, NANO, at=MID_OCTOBER)
    period_close(tenant_id=cast.owner.tenant.id, period=OCTOBER)
    assert carried(cast.owner.tenant.id) == []


def test_a_month_that_is_closed_after_the_next_one_carries_nothing(cast: Cast) -> None:
    on_team(cast.owner.tenant.id)
    period_close(tenant_id=cast.owner.tenant.id, period=dt.date(2026, 9, 1))
    assert carried(cast.owner.tenant.id) == []


def test_a_correction_of_an_earlier_month_carries_no_more_than_a_month_includes(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id, september = cast.owner.tenant.id, dt.date(2026, 9, 1)
    plan = on_team(tenant_id)
    half = dataclasses.replace(plan, rollover=Rollover(50, 10**15))
    monkeypatch.setattr(rollover, "plan_book", lambda: PlanBook(plan_book().plans | {plan.key: half}))
    use(tenant_id, 1, 100 * NANO, at=dt.datetime(2026, 9, 15, tzinfo=dt.UTC))
    period_close(tenant_id=tenant_id, period=september)
    with tenant_scope(tenant_id):
        RatedLine.objects.update(amount_nano=0)
    period_close(tenant_id=tenant_id, period=OCTOBER)
    with tenant_scope(tenant_id):
        assert PeriodClose.objects.get(period=OCTOBER).allowance_nano == -100 * NANO
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
            use(tenant_id, number, tens * 20, at=MID_OCTOBER)
            used += tens * 20
        for _ in range(closes):
            period_close(tenant_id=tenant_id, period=OCTOBER)
    left = max(0, plan.allowance_nano - used)
    assert sum(nano for nano, _, _ in carried(tenant_id)) == min(left * percent // 100, most)
    right(tenant_id)
