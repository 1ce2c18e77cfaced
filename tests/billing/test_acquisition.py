"""The funnel, what one is worth and what it cost to win: rules that hold whatever happened."""

import datetime as dt
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.economics import STEPS, Change, Journey, funnel, lifetime, month_ends, months_told, together
from billing.models import AcquisitionSpend
from billing.periods import start_of
from billing.selectors.acquisition import spend_by_channel
from billing.services.acquisition import spend_add
from kit.errors import BadRequest
from tests.billing.test_recurring import CHANGES, LAST

NANO = 10**9
MOMENTS = st.integers(0, 200 * 86_400).map(lambda s: start_of(dt.date(2026, 1, 1)) + dt.timedelta(seconds=s))
JOURNEYS = st.lists(st.builds(Journey, MOMENTS, st.dictionaries(st.sampled_from(STEPS), MOMENTS)), max_size=40)


@given(JOURNEYS)
def test_everybody_is_in_one_month_and_no_step_has_more_than_signed_up(journeys: list[Journey]) -> None:
    found = funnel(journeys)
    signed_up, reached = together(found)
    assert signed_up == len(journeys)
    assert reached == {step: sum(step in one.reached for one in journeys) for step in STEPS}
    for month in found:
        for step in STEPS:
            assert 0 <= month.share(step) <= 1 and (month.days[step] is None) == (month.reached[step] == 0)
            assert month.days[step] is None or month.days[step] >= 0
    assert [month.month for month in found] == sorted({month.month for month in found})


def test_the_median_of_two_lies_between_them() -> None:
    start = start_of(dt.date(2026, 1, 5))
    journeys = [Journey(start, {"file": start + dt.timedelta(days=days)}) for days in (1, 4)]
    assert funnel(journeys)[0].days["file"] == Fraction(5, 2)


MONEY = st.integers(0, 10**15)


@given(CHANGES, MONEY, st.one_of(st.none(), MONEY), MONEY)
def test_lifetime_value_is_revenue_after_cost_over_churn(
    changes: list[Change], booked: int, cost: int | None, spend: int
) -> None:
    told = months_told(month_ends(changes, LAST))
    found = lifetime(told, booked=booked, cost=cost, spend=spend)
    if found.value is not None:
        left = found.revenue - (cost or 0) if found.revenue else 0
        assert found.value * found.left * found.paying_months == left * found.at_risk
    else:
        assert not found.left or not found.paying_months
    if found.acquisition is not None:
        assert found.acquisition * found.won == spend
    if found.ratio is not None:
        assert found.ratio * found.acquisition == found.value
    if found.payback_months is not None:
        assert found.payback_months * found.kept_each == found.acquisition
    assert found.churn is None or 0 <= found.churn <= 1


def test_a_case_by_hand() -> None:
    at = [start_of(dt.date(2026, month, 10)) for month in (1, 2, 3)]
    changes = [Change("a", "s1", at[0], 100 * NANO), Change("b", "s2", at[0], 100 * NANO), Change("a", "s1", at[2], 0)]
    told = months_told(month_ends(changes, dt.date(2026, 3, 1)))
    found = lifetime(told, booked=50 * NANO, cost=110 * NANO, spend=300 * NANO)
    assert (found.revenue, found.paying_months, found.at_risk, found.left, found.won) == (550 * NANO, 5, 4, 1, 2)
    assert found.revenue_each == 110 * NANO and found.margin == Fraction(4, 5) and found.churn == Fraction(1, 4)
    assert found.value == 352 * NANO and found.acquisition == 150 * NANO
    assert found.ratio == Fraction(352, 150) and found.payback_months == Fraction(150, 88)


def test_spend_adds_up_by_channel_and_a_mistake_is_taken_back() -> None:
    month = dt.date(2001, 2, 1)
    spend_add(month=month, channel="Search  ads", nano=100 * NANO, entered_by="ada@example.com")
    spend_add(month=month, channel="search ADS", nano=-40 * NANO, entered_by="ada@example.com")
    spend_add(month=month, channel="Fair", nano=7 * NANO, entered_by="ada@example.com")
    found = spend_by_channel(month, month)
    assert found == {"Search ads": {month: 60 * NANO}, "Fair": {month: 7 * NANO}}
    with pytest.raises(BadRequest, match=r"Search ads has \$60.00 in 2001-02"):
        spend_add(month=month, channel="Search ads", nano=-61 * NANO, entered_by="ada@example.com")
    assert spend_by_channel(month, month) == found


@pytest.mark.parametrize(
    ("month", "channel", "nano", "param"),
    [
        (dt.date(2999, 1, 1), "x", 1, "month"),
        (dt.date(1999, 12, 1), "x", 1, "month"),
        (dt.date(2026, 1, 2), "x", 1, "month"),
        (dt.date(2026, 1, 1), "  ", 1, "channel"),
        (dt.date(2026, 1, 1), "x" * 41, 1, "channel"),
        (dt.date(2026, 1, 1), "a\u202eb", 1, "channel"),
        (dt.date(2026, 1, 1), "x", 0, "amount"),
        (dt.date(2026, 1, 1), "x", 10**18 + 1, "amount"),
    ],
)
def test_spend_that_cannot_be_is_refused(month: dt.date, channel: str, nano: int, param: str) -> None:
    before = AcquisitionSpend.objects.count()
    with pytest.raises(BadRequest) as refused:
        spend_add(month=month, channel=channel, nano=nano, entered_by="ada@example.com")
    assert refused.value.param == param and AcquisitionSpend.objects.count() == before
