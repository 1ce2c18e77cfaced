"""The planner's arithmetic: the reference case to the dollar, and rules that every plan there can be obeys."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from billing.economics import (
    EXAMPLE,
    FIELDS,
    PHASES,
    InputProblems,
    Inputs,
    allowed,
    break_even,
    compare,
    curve,
    outcome,
    sensitivity,
    text,
)
from billing.economics.inputs import MOST

NANO = 10**9


def numbers(kind: str) -> st.SearchStrategy[Fraction]:
    """Every number an input of the kind may be, small and large ones alike."""
    if kind == "units":
        return st.one_of(st.integers(0, 50), st.integers(0, MOST)).map(Fraction)
    if kind == "share":
        return st.integers(0, NANO).map(lambda number: Fraction(number, NANO))
    return st.one_of(
        st.integers(0, 10_000).map(lambda number: Fraction(number, 100)),
        st.integers(0, MOST * NANO).map(lambda number: Fraction(number, NANO)),
    )


PLANS = st.fixed_dictionaries({name: numbers(field.kind) for name, field in FIELDS.items()}).map(
    lambda found: Inputs(**found)
)
NAMES = st.sampled_from(list(FIELDS))


def example(**changed: str) -> Inputs:
    """The reference case, with some inputs of its own."""
    return Inputs.of({**EXAMPLE, **changed})


def test_the_reference_case_comes_out_to_the_dollar() -> None:
    result = outcome(example())
    assert (result.cost, result.revenue, result.profit) == (180_002_010, 1_005_020_000, 825_017_990)
    assert {line.phase: (line.cost, line.revenue) for line in result.lines} == {
        "fixed": (0, 0),
        "data": (10, 0),
        "training": (30_000_000, 0),
        "promotion": (50_000_000, 5_000_000),
        "adaptation": (100_000_000, 1_000_000_000),
        "transactions": (2_000, 20_000),
    }


def test_its_break_even_points_are_those_worked_out_by_hand() -> None:
    # Each unit earns 5,000 + 1,000,000 + 20 and costs 0.01 + 50,000 + 100,000 + 2; training is 30,000,000.
    point = break_even(example(), "market_size")
    assert (point.turn, point.value) == ("at_least", 36)  # 30,000,000 / 855,017.99 = 35.09
    stays = break_even(example(), "retention")
    assert stays.turn == "at_least" and stays.value == Fraction("0.034997")  # 174,982,010 / 5,000,000,000
    dear = break_even(example(), "training_cost")
    assert dear.turn == "at_most" and dear.value == Fraction("28500599.666666666")  # 855,017,990 / 30
    assert break_even(example(), "transaction_revenue").turn == "always"
    assert break_even(example(conversion="0"), "transaction_revenue").turn == "no_effect"
    assert break_even(example(retention="0"), "conversion").turn == "never"


@given(PLANS)
def test_profit_is_revenue_less_cost_to_the_last_digit(inputs: Inputs) -> None:
    result = outcome(inputs)
    assert [line.phase for line in result.lines] == list(PHASES)
    assert Fraction(text(result.profit)) == Fraction(text(result.revenue)) - Fraction(text(result.cost))
    assert result.profit == sum(line.profit for line in result.lines)
    assert all(line.cost >= 0 and line.revenue >= 0 for line in result.lines)


@given(PLANS, NAMES, st.data())
def test_the_profit_is_a_straight_line_in_each_input(inputs: Inputs, name: str, data: st.DataObject) -> None:
    near, far = (data.draw(numbers(FIELDS[name].kind)) for _ in range(2))
    middle = (near + far) / 2
    a, b, c = (outcome(inputs.having(name, value)).profit for value in (near, middle, far))
    assert a + c == 2 * b


@given(PLANS, st.sampled_from(["fixed_cost", "data_cost", "training_cost", "training_days", "transaction_cost"]))
def test_what_only_costs_never_raises_the_profit(inputs: Inputs, name: str) -> None:
    more = inputs.having(name, getattr(inputs, name) + 1)
    assert outcome(more).profit <= outcome(inputs).profit and outcome(more).revenue == outcome(inputs).revenue


@given(PLANS, st.sampled_from(["promotion_effect", "retention", "consumption", "transaction_revenue", "conversion"]))
def test_what_only_earns_never_lowers_it(inputs: Inputs, name: str) -> None:
    more = inputs.having(name, min(getattr(inputs, name) + 1, FIELDS[name].high))
    assert outcome(more).profit >= outcome(inputs).profit and outcome(more).cost == outcome(inputs).cost


@given(PLANS, st.integers(2, 1000))
def test_a_market_so_many_times_as_large_costs_and_earns_so_many_times_as_much_beside_what_is_fixed(
    inputs: Inputs, times: int
) -> None:
    one, many = outcome(inputs), outcome(inputs.having("market_size", inputs.market_size * times))
    for before, after in zip(one.lines, many.lines, strict=True):
        factor = 1 if before.phase in ("fixed", "training") else times
        assert (after.cost, after.revenue) == (before.cost * factor, before.revenue * factor)


@given(PLANS, NAMES)
def test_at_the_break_even_point_nothing_is_lost_and_one_step_on_the_losing_side_something_is(
    inputs: Inputs, name: str
) -> None:
    field, point = FIELDS[name], break_even(inputs, name)

    def profit(value: Fraction) -> Fraction:
        return outcome(inputs.having(name, value)).profit

    ends = profit(Fraction(0)), profit(field.high)
    if point.value is None:
        assert point.turn in ("always", "never", "no_effect")
        if point.turn == "no_effect":
            assert ends[0] == ends[1]
        else:
            assert all((end >= 0) == (point.turn == "always") for end in ends)
        return
    assert 0 <= point.value <= field.high and (point.value / field.step).denominator == 1
    losing = point.value - field.step if point.turn == "at_least" else point.value + field.step
    assert profit(point.value) >= 0 > profit(losing)


@given(PLANS, st.fractions(Fraction(1, 1000), 1))
def test_sensitivity_is_what_computing_afresh_gives(inputs: Inputs, share: Fraction) -> None:
    swings = sensitivity(inputs, share)
    assert {swing.name for swing in swings} == set(FIELDS)
    assert [swing.size for swing in swings] == sorted((swing.size for swing in swings), reverse=True)
    for swing in swings:
        value = getattr(inputs, swing.name)
        assert swing.low == value * (1 - share) and swing.high <= value * (1 + share)
        assert swing.cut == (value * (1 + share) > FIELDS[swing.name].high)
        assert swing.low_profit == outcome(inputs.having(swing.name, swing.low)).profit
        assert swing.high_profit == outcome(inputs.having(swing.name, swing.high)).profit


@pytest.mark.parametrize("share", [Fraction(0), Fraction(-1, 10), Fraction(11, 10)])
def test_a_share_that_is_none_is_refused(share: Fraction) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        sensitivity(example(), share)


@given(PLANS, numbers("money"))
def test_a_budget_is_never_passed(inputs: Inputs, budget: Fraction) -> None:
    found = allowed(inputs.having("budget", budget))
    assert found is not None
    cost = outcome(inputs).cost
    assert sum(paid for _, paid in found.spent) == min(cost, found.budget)
    assert found.enough == (cost <= found.budget) == (not found.ends_in) and found.short == max(cost - found.budget, 0)
    if found.within is None:
        assert outcome(inputs.having("market_size", Fraction(0))).cost > found.budget
        return
    assert found.within.cost <= found.budget
    if found.enough:
        assert found.within == outcome(inputs)
    if found.most_units is not None:
        assert outcome(inputs.having("market_size", Fraction(found.most_units))).cost <= found.budget
        if found.most_units < MOST:
            assert outcome(inputs.having("market_size", Fraction(found.most_units + 1))).cost > found.budget


def test_a_budget_ends_in_the_phase_that_it_cannot_pay() -> None:
    found = allowed(example(budget="100000000"))
    assert found is not None and found.ends_in == "adaptation" and found.short == 80_002_010
    assert found.most_units == 466  # 70,000,000 / 150,002.01
    assert dict(found.spent)["adaptation"] == 19_999_990
    little = allowed(example(budget="15"))
    assert little is not None and little.ends_in == "training" and little.within is None
    assert allowed(example()) is None


@given(st.lists(PLANS, min_size=1, max_size=3))
def test_plans_side_by_side_differ_by_the_sum_of_their_phases(plans: list[Inputs]) -> None:
    rows = compare([(str(number), inputs) for number, inputs in enumerate(plans)])
    assert [row.name for row in rows] == [str(number) for number in range(len(plans))]
    for row in rows:
        assert row.more == row.outcome.profit - rows[0].outcome.profit
        assert row.changed == {n for n in FIELDS if getattr(row.inputs, n) != getattr(plans[0], n)}
    assert rows[0].more == 0 and not rows[0].changed
    assert compare([]) == []


@given(PLANS)
def test_the_curve_shows_the_plan_and_where_it_turns(inputs: Inputs) -> None:
    drawn = curve(inputs)
    sizes = [size for size, _ in drawn]
    assert len(sizes) == 41 and sizes[0] == 0 and sizes == sorted(set(sizes)) and sizes[-1] >= inputs.market_size
    for size, result in (drawn[0], drawn[7], drawn[-1]):
        assert result == outcome(inputs.having("market_size", size))
    turn = break_even(inputs, "market_size").value
    assume(turn is not None and turn <= 100 * inputs.market_size)
    assert turn is not None and turn <= sizes[-1]


@given(PLANS)
def test_what_is_written_is_read_back_the_same(inputs: Inputs) -> None:
    assert Inputs.of(inputs.texts()) == inputs


def test_numbers_are_read_as_people_write_them() -> None:
    assert example(market_size="1,000", transaction_cost="$2.00", data_cost=" 0.010 ") == example()
    assert Inputs.of({k: v for k, v in EXAMPLE.items() if k not in ("fixed_cost", "transactions")}) == example()
    assert text(Fraction(2, 3)) == "0.666666667" and text(Fraction(1, 8)) == "0.125" and text(Fraction(1000)) == "1000"
    assert text(Fraction(10**30) + Fraction(1, 10**30)).endswith("1") and text(Fraction(1, 3), 2) == "0.33"


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("market_size", "", "Enter a number, for example 1000"),
        ("market_size", "-1", "cannot be negative"),
        ("market_size", "1.5", "whole number"),
        ("market_size", "1000000000001", "at most 1,000,000,000,000"),
        ("market_size", "٣", "Enter a number"),
        ("retention", "1.01", "share from 0 to 1"),
        ("conversion", "20%", "Enter a number, for example 0.2"),
        ("training_days", "NaN", "Enter a number"),
        ("training_days", "1e9", "Enter a number"),
        ("training_cost", "12,50", "Enter a number"),
        ("data_cost", "0.0000000001", "at most 9 digits"),
        ("data_cost", "9" * 100_000, "Enter a number"),
        ("budget", "Infinity", "for example 1000.50"),
        ("budget", "-5", "negative"),
        ("wings", "2", "no such input"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_enter(name: str, words: str, said: str) -> None:
    with pytest.raises(InputProblems) as raised:
        example(**{name: words})
    assert list(raised.value.problems) == [name] and said in raised.value.problems[name]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InputProblems) as raised:
        Inputs.of({"retention": "2", "market_size": "x"})
    assert {"retention", "market_size", "data_cost", "conversion"} <= set(raised.value.problems)
    assert not {"fixed_cost", "transactions", "budget"} & set(raised.value.problems)
