"""Recurring revenue: whatever subscriptions do, the movements add up to the change, and nobody is counted twice."""

import datetime as dt
import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.economics.recurring import (
    CHURN,
    CONTRACTION,
    EXPANSION,
    NEW,
    REACTIVATION,
    Change,
    cohorts,
    month_ends,
    monthly_nano,
    months_told,
    moves,
)
from billing.periods import next_month, start_of

TENANTS = st.sampled_from(["a", "b", "c", "d", "e"])
AMOUNTS = st.one_of(st.just(0), st.integers(1, 10**15))
PAID = st.dictionaries(TENANTS, st.integers(1, 10**15))
FIRST = dt.date(2023, 11, 1)
"""A leap day lies within the year after it."""
MOMENTS = st.integers(0, 500 * 86_400).map(lambda seconds: start_of(FIRST) + dt.timedelta(seconds=seconds))
CHANGES = st.lists(st.builds(Change, TENANTS, st.sampled_from(["sub_1", "sub_2"]), MOMENTS, AMOUNTS), max_size=30).map(
    lambda found: sorted(found, key=lambda change: change.at)
)
LAST = dt.date(2025, 4, 1)


def test_a_price_a_year_is_a_twelfth_of_it_a_month() -> None:
    assert monthly_nano(2900, "month") == 29 * 10**9
    assert monthly_nano(12_000, "year") == 10 * 10**9
    assert monthly_nano(29_900, "year") == 24_916_666_667 and monthly_nano(2900, "month", seats=3) == 87 * 10**9
    with pytest.raises(ValueError, match="not by the week"):
        monthly_nano(2900, "week")


@given(st.integers(0, 10**9), st.integers(1, 10_000))
def test_twelve_months_of_a_yearly_price_are_the_year_but_for_six_nano(cents: int, seats: int) -> None:
    assert abs(12 * monthly_nano(cents, "year", seats) - cents * seats * 10**7) <= 6


@given(PAID, PAID, st.sets(TENANTS))
def test_movements_sum_exactly_to_the_change(before: dict[str, int], after: dict[str, int], ever: set[str]) -> None:
    found = moves(before, after, ever)
    assert found.start + found.change == found.end == sum(after.values())
    joined = found.tenants[NEW] + found.tenants[REACTIVATION]
    assert found.start_tenants + joined - found.tenants[CHURN] == found.end_tenants == len(after)
    assert all(found.nano[kind] >= 0 for kind in (NEW, EXPANSION, REACTIVATION))
    assert all(found.nano[kind] <= 0 for kind in (CONTRACTION, CHURN))
    assert (found.tenants[REACTIVATION] == 0) or ever


@given(PAID, PAID)
def test_gross_retention_is_between_nothing_and_all_and_net_is_not_below_it(
    before: dict[str, int], after: dict[str, int]
) -> None:
    found = moves(before, after, before)
    if not before:
        assert found.net_retention is found.gross_retention is found.revenue_churn is found.logo_churn is None
        return
    gross, net, churn = found.gross_retention, found.net_retention, found.revenue_churn
    assert gross is not None and net is not None and churn is not None and found.logo_churn is not None
    assert 0 <= gross <= 1 and gross <= net and gross <= 1 - churn and 0 <= found.logo_churn <= 1
    same = sum(after.get(tenant, 0) for tenant in before)
    assert net == Fraction(same, sum(before.values()))
    assert gross == Fraction(
        sum(min(nano, after.get(tenant, 0)) for tenant, nano in before.items()), sum(before.values())
    )


@given(CHANGES)
def test_every_month_begins_where_the_one_before_ended(changes: list[Change]) -> None:
    told = months_told(month_ends(changes, LAST))
    total = 0
    for month in told:
        assert month.moves.start == total
        total += month.moves.change
        assert month.moves.end == total and month.annual == 12 * total
    if changes:
        assert [month.month for month in told][-1] == LAST
        assert all(next_month(a.month) == b.month for a, b in itertools.pairwise(told))
    for before, month in zip(told, told[12:], strict=False):
        assert month.year is not None and month.year.start == before.moves.end and month.year.end == month.moves.end


@given(CHANGES)
def test_a_months_end_is_what_was_last_said_of_each_subscription(changes: list[Change]) -> None:
    for month, paid in month_ends(changes, LAST).items():
        end, last = start_of(next_month(month)), {}
        for change in changes:
            if change.at < end:
                last[change.tenant, change.subscription] = change.nano
        expected: dict[str, int] = {}
        for (tenant, _subscription), nano in last.items():
            expected[tenant] = expected.get(tenant, 0) + nano
        assert paid == {tenant: nano for tenant, nano in expected.items() if nano}


@given(CHANGES)
def test_everybody_who_ever_paid_at_a_months_end_is_in_one_cohort(changes: list[Change]) -> None:
    ends = month_ends(changes, LAST)
    found = cohorts(ends)
    assert sum(cohort.tenants[0] for cohort in found) == len({tenant for paid in ends.values() for tenant in paid})
    for month, paid in ends.items():
        places = [
            (cohort, (month.year - cohort.month.year) * 12 + month.month - cohort.month.month) for cohort in found
        ]
        seen = [(cohort, place) for cohort, place in places if place >= 0]
        assert sum(cohort.tenants[place] for cohort, place in seen) == len(paid)
        assert sum(cohort.nano[place] for cohort, place in seen) == sum(paid.values())
    for cohort in found:
        assert cohort.share(0, revenue=True) == cohort.share(0, revenue=False) == 1


@given(CHANGES)
def test_new_tenants_of_all_months_are_those_that_ever_paid(changes: list[Change]) -> None:
    ends = month_ends(changes, LAST)
    new = sum(month.moves.tenants[NEW] for month in months_told(ends))
    assert new == len({tenant for paid in ends.values() for tenant in paid})


def test_who_leaves_and_comes_back_is_reactivated_not_new() -> None:
    at = [start_of(dt.date(2026, month, 15)) for month in (1, 3, 5)]
    ends = month_ends(
        [Change("a", "s1", at[0], 5), Change("a", "s1", at[1], 0), Change("a", "s2", at[2], 7)], LAST.replace(2026, 6)
    )
    assert [(m.moves.nano[NEW], m.moves.nano[CHURN], m.moves.nano[REACTIVATION]) for m in months_told(ends)] == [
        (5, 0, 0), (0, 0, 0), (0, -5, 0), (0, 0, 0), (0, 0, 7), (0, 0, 0),
    ]  # fmt: skip


def test_a_change_at_the_stroke_of_midnight_belongs_to_the_new_month() -> None:
    ends = month_ends([Change("a", "s", start_of(dt.date(2026, 2, 1)), 5)], dt.date(2026, 2, 1))
    assert ends == {dt.date(2026, 2, 1): {"a": 5}}
    paid = month_ends(
        [Change("a", "s", start_of(dt.date(2026, 1, 5)), 5), Change("a", "s", start_of(dt.date(2026, 2, 1)), 0)],
        dt.date(2026, 2, 1),
    )
    assert paid == {dt.date(2026, 1, 1): {"a": 5}, dt.date(2026, 2, 1): {}}
