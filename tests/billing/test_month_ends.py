"""Where months meet: leap days, the nights when clocks change, ends of years, to the millisecond."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods import bounds, from_ms, month_of, next_month, to_ms
from billing.plans import AllowanceFrom, allowance_of
from billing.selectors.usage import UsageFilter, usage_sums
from billing.services.ledger import period_close
from billing.services.metering import usage_rollup
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.money import call, store_events
from tests.conftest import Cast

MS = dt.timedelta(milliseconds=1)
YEARS = dt.datetime(2023, 1, 1), dt.datetime(2033, 1, 1)
MONTHS = [
    pytest.param(dt.date(2024, 2, 1), id="a leap day at its end"),
    pytest.param(dt.date(2025, 2, 1), id="no leap day"),
    pytest.param(dt.date(2025, 3, 1), id="clocks went forward in Europe"),
    pytest.param(dt.date(2025, 11, 1), id="clocks went back in America"),
    pytest.param(dt.date(2025, 12, 1), id="the end of a year"),
]


@pytest.mark.parametrize("period", MONTHS)
def test_a_call_is_billed_in_the_month_of_its_utc_millisecond(cast: Cast, period: dt.date) -> None:
    tenant_id, (start, end) = cast.owner.tenant.id, bounds(period)
    moments = {start - MS: NANO, start: 10 * NANO, end - MS: 100 * NANO, end: 1_000 * NANO}
    store_events([call(tenant_id, n, cost=cost, at=at) for n, (at, cost) in enumerate(moments.items())])
    while usage_rollup(tenant_id=tenant_id):
        pass
    before = month_of(start - MS)
    billed = [
        period_close(tenant_id=tenant_id, period=month, allowance_nano=0).close.net_nano
        for month in (before, period, next_month(period))
    ]
    assert billed == [NANO, 110 * NANO, 1_000 * NANO]
    with tenant_scope(tenant_id):
        days = usage_sums(wanted=UsageFilter(since=start - dt.timedelta(days=1), until=end + dt.timedelta(days=1)))
    assert [(day.start.date(), day.cost_nano) for day in days] == [(at.date(), cost) for at, cost in moments.items()], (
        "and the usage page has it on the same day"
    )


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_every_millisecond_is_in_exactly_one_month(ms: int) -> None:
    moment = from_ms(ms)
    assert to_ms(moment) == ms
    start, end = bounds(month_of(moment))
    assert start <= moment < end
    assert month_of(end) == next_month(month_of(moment))
    assert month_of(end - MS) == month_of(moment)
    assert 28 <= (end - start).days <= 31
    assert (end - start).seconds == 0, "no month has an hour more or less in UTC"


@given(
    st.dates(YEARS[0].date(), YEARS[1].date()),
    st.lists(
        st.tuples(
            st.datetimes(YEARS[0], YEARS[1], timezones=st.just(dt.UTC)),
            st.integers(min_value=0, max_value=10**12),
        ),
        max_size=6,
    ),
)
def test_an_allowance_is_one_of_those_that_were_in_force_in_the_month(
    day: dt.date, changes: list[tuple[dt.datetime, int]]
) -> None:
    period = month_of(day)
    rows = [AllowanceFrom(since, nano) for since, nano in sorted(changes)]
    found = allowance_of(period, before=7, changes=rows)
    start, end = bounds(period)
    at_start = [row.nano for row in rows if row.since <= start][-1:] or [7]
    within = [row.nano for row in rows if start < row.since < end]
    assert min(at_start + within) <= found <= max(at_start + within)
