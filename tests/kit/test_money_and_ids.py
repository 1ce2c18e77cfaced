"""Money is integers; ids sort by time and survive the round trip."""

import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import ids, money
from kit.errors import NotFound


@given(st.integers(0, 10**18))
def test_a_dollar_text_of_nano_precision_comes_back_exactly(nano: int) -> None:
    assert money.parse_amount(str(Decimal(nano) / money.NANO)) == nano


@pytest.mark.parametrize(
    ("nano", "code", "text"),
    [
        (3 * money.NANO, "usd", "$3.00"),
        (3_456_780, "eur", "€0.00345678"),
        (-1_234_500_000_000, "eur", "-€1,234.50"),
        (90_000_001, "chf", "0.090000001\u00a0CHF"),
    ],
)
def test_an_exact_amount_has_all_its_digits(nano: int, code: str, text: str) -> None:
    with money.in_currency(code):
        assert money.written_exact(nano) == text


@pytest.mark.parametrize("bad", [-1, "NaN", "Infinity", "1e12", "1e999999999", True, None, "", [], "four"])
def test_what_is_no_amount_is_refused(bad: object) -> None:
    with pytest.raises(ValueError):
        money.parse_amount(bad)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "$0.00"), (4_200_000_000, "$4.20"), (4_000, "$0.000004"), (1, "<$0.000001"), (-(10**9), "-$1.00")],
)
def test_dollars_read_well(nano: int, text: str) -> None:
    assert money.written(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [(23_700_000, "$0.03"), (20_000_000, "$0.02"), (4_200_000_000, "$4.20"), (4_001, "$0.000005"), (1, "$0.000001"),
     (9_999_999, "$0.01"), (0, "$0.00"), (1_234_000_000_001, "$1,234.01")],
)  # fmt: skip
def test_a_ceiling_is_never_said_to_be_less_than_it_is(nano: int, text: str) -> None:
    assert money.written_at_most(nano) == text


@given(st.uuids())
def test_a_public_id_is_the_uuid(value: uuid.UUID) -> None:
    assert ids.parse_id("ds_", ids.public_id("ds_", value)) == value


def test_ids_sort_by_creation() -> None:
    made = [ids.public_id("ds_", ids.new_id()) for _ in range(3)]
    assert len(set(made)) == 3 and ids.new_id().version == 7


@pytest.mark.parametrize("bad", ["", "ds_", "ds_!", "dep_" + "0" * 26, "ds_" + "z" * 26, None, 7])
def test_any_other_text_is_not_found(bad: object) -> None:
    with pytest.raises(NotFound):
        ids.parse_id("ds_", bad)
