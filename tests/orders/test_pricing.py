"""The sums of a quote, whatever somebody types."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders import states
from orders.errors import AmountRefused
from orders.pricing import (
    MOST_CENTS,
    MOST_DISCOUNT,
    WHOLE,
    Line,
    cents_of,
    lines_of,
    needs_approval,
    parts_of,
    share_of,
    sums_of,
)

LINES = st.builds(
    Line,
    description=st.from_regex(r"[A-Za-z][A-Za-z ]{0,40}[a-z]", fullmatch=True),
    quantity=st.integers(1, 10_000),
    unit_cents=st.integers(0, 1_000_000),
)


@given(
    st.lists(LINES, min_size=1, max_size=8).filter(lambda lines: 1 < sum(line.cents for line in lines) <= MOST_CENTS),
    st.integers(0, MOST_DISCOUNT),
    st.integers(0, WHOLE),
    st.integers(1, 12),
)
def test_every_cent_of_a_quote_is_somewhere(lines: list[Line], discount: int, deposit: int, milestones: int) -> None:
    sums = sums_of(lines, discount_bp=discount, deposit_bp=deposit)
    assert sums.subtotal == sum(line.quantity * line.unit_cents for line in lines)
    assert sums.total + sums.discount == sums.subtotal and sums.total > 0
    assert 0 <= sums.subtotal * discount - sums.discount * WHOLE < WHOLE, "rounded down, once"
    parts = parts_of(sums.rest, milestones)
    assert sums.deposit + sum(parts) == sums.total
    assert max(parts) - min(parts) <= 1 and min(parts) >= 0


@given(st.integers(0, MOST_CENTS))
def test_an_amount_is_read_as_it_is_written(cents: int) -> None:
    assert cents_of(f"{cents // 100}.{cents % 100:02}") == cents
    assert cents_of(f"${cents // 100:,}.{cents % 100:02}") == cents


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-5", "negative"),
        ("−5", "negative"),
        ("0.005", "whole cents"),
        ("1e9", "whole cents"),
        ("12,50", "whole cents"),
        ("٣", "whole cents"),
        ("", "whole cents"),
        ("9" * 30, "at most"),
    ],
)
def test_an_amount_that_cannot_be_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(AmountRefused) as refused:
        cents_of(text)
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("Labelling | 10", "with | between"),
        ("Labelling | 1.5 | 2", "not a whole number"),
        ("Labelling | -1 | 2", "not a whole number"),
        ("Labelling | 0 | 2", "quantity of 'Labelling' is 0"),
        ("Labelling | 10 | -2", "negative"),
        ("Labelling | 999999999999 | 1", "more than"),
        ("Labelling | 1000000000 | 1000000", "costs more than"),
        (" | 1 | 1", "needs a description"),
    ],
)
def test_a_row_that_cannot_be_is_named(row: str, words: str) -> None:
    with pytest.raises(AmountRefused) as refused:
        lines_of(f"Good | 1 | 1\n{row}")
    assert refused.value.message.startswith("Row 2:") and words in refused.value.message


def test_a_share_has_two_decimals_and_ends_somewhere() -> None:
    assert (share_of("12.5"), share_of("0"), share_of("100 %")) == (1_250, 0, 10_000)
    for text in ("-1", "1.234", "ten", "1e1"):
        with pytest.raises(AmountRefused):
            share_of(text)
    with pytest.raises(AmountRefused, match="from 0 % to 50 %"):
        sums_of([Line("One", 1, 100)], discount_bp=5_001, deposit_bp=0)


def test_a_free_quote_is_none() -> None:
    with pytest.raises(AmountRefused, match="comes to nothing"):
        sums_of([Line("One", 1, 0)], discount_bp=0, deposit_bp=0)
    with pytest.raises(AmountRefused, match="at least one line"):
        sums_of([], discount_bp=0, deposit_bp=0)


def test_the_most_that_a_quote_may_be_is_one_and_a_cent_more_is_none() -> None:
    lines = [Line("One", 1, MOST_CENTS - 1), Line("Two", 1, 1)]
    assert sums_of(lines, discount_bp=0, deposit_bp=0).total == MOST_CENTS
    with pytest.raises(AmountRefused, match=r"more than \$100,000,000"):
        sums_of([*lines, Line("Three", 1, 1)], discount_bp=0, deposit_bp=0)


def test_a_discount_up_to_a_tenth_is_one_persons_to_give() -> None:
    assert not needs_approval(1_000) and needs_approval(1_001)


def test_the_table_of_steps_leads_everywhere_and_ends_where_it_says() -> None:
    reached, left = {states.SUBMITTED}, [states.SUBMITTED]
    while left:
        here = left.pop()
        for step in states.STEPS.values():
            if here in step.before and step.after not in reached:
                reached.add(step.after)
                left.append(step.after)
    assert reached == set(states.EVERY)
    for over in states.OVER:
        assert [name for name, step in states.STEPS.items() if over in step.before] == []
    for state in states.UNDER_CONTRACT:
        assert not states.allowed(state, "cancel", states.CUSTOMER)
        assert not states.allowed(state, "decline", states.STAFF)
    with pytest.raises(ValueError, match="no step"):
        states.after(states.QUOTED, "accept", states.STAFF)
