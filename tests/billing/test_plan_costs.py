"""What a month costs on each plan, and from where on one is cheaper, against every amount around the point."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from billing.plans.costs import Offer, break_even, cheapest, corners
from console.calculator import offers

MONEY = st.integers(0, 10**15)


def an_offer(code: str) -> st.SearchStrategy[Offer]:
    return st.builds(Offer, st.just(code), st.just(code), MONEY, MONEY, st.none() | MONEY)


@given(an_offer("a"), an_offer("b"), MONEY)
def test_a_break_even_is_the_least_usage_from_which_the_larger_costs_no_more(a: Offer, b: Offer, usage: int) -> None:
    meet = break_even(a, b)
    if meet is None:
        assert b.cost(10**17) > a.cost(10**17), "for ever dearer"
        return
    assert b.cost(meet) <= a.cost(meet)
    if meet:
        assert b.cost(meet - 1) > a.cost(meet - 1)
    if usage >= meet:
        assert b.cost(usage) <= a.cost(usage)


@given(st.lists(an_offer("x"), max_size=4), MONEY)
def test_the_cheapest_carries_it_and_nothing_that_does_costs_less(every: list[Offer], usage: int) -> None:
    best = cheapest(every, usage)
    fit = [offer for offer in every if offer.carries(usage)]
    assert (best is None) == (not fit)
    if best is not None:
        assert best.carries(usage) and best.cost(usage) == min(offer.cost(usage) for offer in fit)


@given(st.lists(an_offer("x"), max_size=3), MONEY)
def test_between_two_corners_every_cost_is_a_straight_line(every: list[Offer], until: int) -> None:
    places = corners(every, until)
    assert places == sorted(set(places)) and {0, until} <= set(places)
    for low, high in pairwise(places):
        middle = (low + high) // 2
        for offer in every:
            rises = (offer.cost(high) - offer.cost(low)) in (0, high - low)
            assert rises and offer.cost(middle) in (offer.cost(low), offer.cost(low) + middle - low)


def test_todays_plans_meet_where_their_prices_say() -> None:
    named = {offer.code: offer for offer in offers()}
    developer, team = named["developer"], named["team"]
    assert break_even(developer, team) == developer.included_nano + team.price_nano - developer.price_nano
