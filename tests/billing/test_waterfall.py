"""Which credit pays for usage: the order, and that nothing is lost or paid for twice."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.waterfall import PREPAID, STAGES, Credit, Drawn, flow, in_order

SOON, LATER = (dt.datetime(2026, 12, day, tzinfo=dt.UTC) for day in (1, 31))


def credit(name: str, kind: str, left: int, end: dt.datetime | None = None, priority: int = 50) -> Credit:
    return Credit(name, kind, left, end, priority)


def test_what_ends_first_is_used_first_and_bought_credit_last() -> None:
    credits = [
        credit("bought", PREPAID, 1, SOON),
        credit("rolled", "rollover", 1, SOON),
        credit("for ever", "promo", 1),
        credit("later, favoured", "promo", 1, LATER, 1),
        credit("soon", "promo", 1, SOON),
        credit("soon, favoured", "goodwill", 1, SOON, 1),
    ]
    assert [one.id for one in in_order(credits)] == [
        "soon, favoured", "soon", "later, favoured", "for ever", "rolled", "bought",
    ]  # fmt: skip


def test_usage_runs_down_promo_allowance_prepaid_and_is_owed_then() -> None:
    credits = [credit("promo", "promo", 30), credit("bought", PREPAID, 40)]
    down = flow(rest_nano=200, fresh_nano=200, allowance_nano=50, credits=credits)
    assert (down.draws, down.allowance_nano, down.owed_nano) == ({"promo": 30, "bought": 40}, 50, 80)


def test_promo_that_comes_later_leaves_to_the_allowance_what_it_covers() -> None:
    credits = [credit("promo", "promo", 30)]
    down = flow(rest_nano=60, fresh_nano=10, allowance_nano=50, credits=credits)
    assert (down.draws, down.allowance_nano, down.owed_nano) == ({"promo": 10}, 50, 0)


def test_credit_that_comes_pays_for_what_is_owed() -> None:
    down = flow(rest_nano=80, fresh_nano=0, allowance_nano=50, credits=[credit("bought", PREPAID, 100)])
    assert (down.draws, down.owed_nano) == ({"bought": 30}, 0)


def test_an_allowance_that_grew_gives_bought_credit_back_and_leaves_promo_used() -> None:
    drawn = [Drawn("promo", "promo", 10), Drawn("first", PREPAID, 20), Drawn("second", PREPAID, 20)]
    down = flow(rest_nano=50, fresh_nano=0, allowance_nano=75, credits=[], drawn=drawn)
    assert (down.draws, down.allowance_nano, down.owed_nano) == ({"second": -20, "first": -5}, 75, 0)


def test_a_correction_is_given_back_to_what_paid_last() -> None:
    drawn = [Drawn("promo", "promo", 10), Drawn("bought", PREPAID, 20)]
    down = flow(rest_nano=-25, fresh_nano=0, allowance_nano=0, credits=[], drawn=drawn)
    assert (down.draws, down.owed_nano) == ({"bought": -20, "promo": -5}, 0)


kinds = st.sampled_from(sorted(STAGES))
amounts = st.integers(0, 10**12)
ends = st.none() | st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2027, 1, 1), timezones=st.just(dt.UTC))
many = st.lists(st.builds(credit, st.uuids(), kinds, amounts, ends, st.integers(0, 100)), max_size=6)


@given(credits=many, usage=amounts, before=amounts, allowance=amounts)
def test_every_nano_is_paid_once_and_in_turn(credits: list[Credit], usage: int, before: int, allowance: int) -> None:
    down = flow(rest_nano=before + usage, fresh_nano=usage, allowance_nano=allowance, credits=credits)
    left = {one.id: one.left_nano - down.draws.get(one.id, 0) for one in credits}
    assert before + usage == down.total_nano + down.allowance_nano + down.owed_nano
    assert all(nano >= 0 for nano in [*left.values(), *down.draws.values(), down.allowance_nano, down.owed_nano])
    if down.owed_nano:
        assert not any(left.values()) and down.allowance_nano == allowance, "nothing is owed while something is there"
    bought = sum(
        nano for grant, nano in down.draws.items() if any(c.id == grant and c.kind == PREPAID for c in credits)
    )
    if bought:
        given_left = sum(left[one.id] for one in credits if one.kind != PREPAID)
        assert not given_left and down.allowance_nano == allowance, "what was bought goes last"
    touched = [bool(down.draws.get(one.id)) and left[one.id] > 0 for one in in_order(credits)]
    assert sum(touched) <= 2, "one is used up before the next: at most one of each pass is left in part"


@given(credits=many, steps=st.lists(st.tuples(amounts, amounts), min_size=1, max_size=8))
def test_many_steps_come_to_what_the_last_allowance_says(credits: list[Credit], steps: list[tuple[int, int]]) -> None:
    """Whatever the allowance did meanwhile, bought credit pays in the end for what is beyond it."""
    left = {one.id: one.left_nano for one in credits}
    kind = {one.id: one.kind for one in credits}
    paid: dict[object, int] = {}
    usage = 0
    for fresh, allowance in steps:
        usage += fresh
        now = [Credit(one.id, one.kind, left[one.id], one.expires_at, one.priority) for one in credits]
        drawn = [Drawn(grant, kind[grant], nano) for grant, nano in paid.items() if nano]  # type: ignore[index,arg-type]
        down = flow(
            rest_nano=usage - sum(paid.values()), fresh_nano=fresh, allowance_nano=allowance, credits=now, drawn=drawn
        )
        for grant, nano in down.draws.items():
            left[grant] -= nano  # type: ignore[index]
            paid[grant] = paid.get(grant, 0) + nano
        assert all(0 <= left[one.id] <= one.left_nano for one in credits)
        assert usage == sum(paid.values()) + down.allowance_nano + down.owed_nano
        given_paid = sum(nano for grant, nano in paid.items() if kind[grant] != PREPAID)  # type: ignore[index]
        bought_paid = sum(paid.values()) - given_paid
        assert bought_paid <= max(0, usage - given_paid - allowance)
        if down.owed_nano:
            assert not any(left.values())
