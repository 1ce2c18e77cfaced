"""Prices by a month's quantity: exact, never above what a call was admitted at, and a bill that says the difference."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.ledger.adjustments import Anew, Counts, month_changes, months_of, within
from billing.ledger.lines import PACKAGES, TIERS
from billing.prices import (
    Flat,
    Graduated,
    Package,
    Price,
    PriceBooks,
    PriceError,
    PriceVersion,
    Tier,
    Usage,
    Volume,
    adjustment,
    ahead,
    price_books,
    rate,
)
from billing.prices.books_file import FOLDER
from billing.prices.rating import base_of

BOOK = """
version = "test"
schema = 2
currency = "USD"
effective_from = 2026-11-01T00:00:00Z

[kinds.classify.default]
input_per_million = 20_000_000

[kinds.chat.default]
input_per_million = 100_000_000
cached_input_per_million = 50_000_000
output_per_million = 400_000_000

[kinds.embeddings.default.input_per_million]
mode = "graduated"
tiers = [{ up_to = 1_000, price = 10_000_000 }, { up_to = 3_000, price = 8_000_000 }, { price = 4_000_000 }]

[kinds.rerank.default.request]
mode = "volume"
tiers = [{ up_to = 10, price = 1_000 }, { up_to = 100, price = 600 }, { price = 200 }]

[kinds.training.default.trained_per_million]
mode = "package"
units = 1_000_000
price = 400_000_000

[kinds.dedicated.default]
machine_second = 100_000

[kinds.dedicated.machines.h200]
machine_second = 1_000_000

[kinds.storage.default.gigabyte_hour]
mode = "graduated"
tiers = [{ up_to = 10, price = 100_000 }, { price = 50_000 }]

[kinds.decisions.default]
request = { mode = "flat", price = 5_000_000_000 }

[batch]
percent = 50
"""


def book_of(folder: Path, text: str) -> PriceVersion:
    (folder / "test.toml").write_text(text)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  test.toml\n")
    price_books.cache_clear()
    return price_books(folder).get("test")


@pytest.fixture
def book(tmp_path: Path) -> PriceVersion:
    """A book with a price of every mode."""
    return book_of(tmp_path, BOOK)


# By hand

GRADUATED = [(0, 0), (1, 10), (1_000, 10_000), (1_001, 10_008), (3_000, 26_000), (3_001, 26_004), (10_000, 54_000)]
VOLUME = [(0, 0), (1, 1_000), (10, 10_000), (11, 6_600), (100, 60_000), (101, 20_200)]
BEGUN = [(0, 0), (1, 400_000_000), (1_000_000, 400_000_000), (1_000_001, 800_000_000)]


@pytest.mark.parametrize(("tokens", "nano"), GRADUATED)
def test_a_graduated_month_is_the_table_made_by_hand(book: PriceVersion, tokens: int, nano: int) -> None:
    month = Usage("embeddings", "m", input_tokens=tokens, requests=0)
    assert rate(month, book) + adjustment(month, book).tiers == nano


@pytest.mark.parametrize(("calls", "nano"), VOLUME)
def test_a_month_by_volume_is_the_table_made_by_hand(book: PriceVersion, calls: int, nano: int) -> None:
    month = Usage("rerank", "m", requests=calls)
    assert rate(month, book) + adjustment(month, book).tiers == nano


@pytest.mark.parametrize(("tokens", "nano"), BEGUN)
def test_a_package_that_is_begun_is_paid(book: PriceVersion, tokens: int, nano: int) -> None:
    month = Usage("training", "m", input_tokens=tokens)
    assert rate(month, book) + adjustment(month, book).packages == nano


def test_a_flat_price_is_paid_once_in_a_month_with_any_of_it(book: PriceVersion) -> None:
    assert [adjustment(Usage("decisions", "m", requests=n), book).packages for n in (0, 1, 10**9)] == [
        0,
        5_000_000_000,
        5_000_000_000,
    ]


def test_tiers_of_storage_are_counted_in_gigabyte_hours(book: PriceVersion) -> None:
    month = Usage("storage", "m", requests=0, byte_hours=12 * 10**9)
    assert rate(month, book) == 1_200_000
    assert rate(month, book) + adjustment(month, book).tiers == 10 * 100_000 + 2 * 50_000


def test_a_batch_has_tiers_of_its_own_at_half_the_price(book: PriceVersion) -> None:
    month = Usage("batch_embeddings", "m", input_tokens=10_000, requests=0)
    assert rate(month, book) + adjustment(month, book).tiers == 54_000 // 2


def test_cached_input_costs_less_and_never_less_than_nothing(book: PriceVersion) -> None:
    assert rate(Usage("chat", "m", input_tokens=10, cached_tokens=4), book) == 6 * 100 + 4 * 50
    assert rate(Usage("chat", "m", input_tokens=10, cached_tokens=99), book) == 10 * 50
    assert rate(Usage("batch_chat", "m", input_tokens=10, cached_tokens=4), book) == 6 * 50 + 4 * 25
    assert rate(Usage("classify", "m", input_tokens=10, cached_tokens=4), book) == 10 * 20, "no price: as any other"


def test_a_class_of_machine_may_have_a_price_of_its_own(book: PriceVersion) -> None:
    second = Usage("dedicated", "m", requests=0, machine_ms=1_000)
    assert rate(second, book) == 100_000
    assert rate(dataclasses.replace(second, machine="h200"), book) == 1_000_000
    assert rate(dataclasses.replace(second, machine="of next year"), book) == 100_000


# Against a slow reference


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    ends = sorted(draw(st.sets(st.integers(1, 60), max_size=4)))
    prices = sorted(draw(st.lists(st.integers(0, 50), min_size=len(ends) + 1, max_size=len(ends) + 1)), reverse=True)
    return tuple(Tier(end, price) for end, price in zip([*ends, None], prices, strict=True))


def tier_of(all_tiers: tuple[Tier, ...], unit: int) -> Tier:
    return next(tier for tier in all_tiers if tier.up_to is None or unit <= tier.up_to)


@given(tiers(), st.integers(0, 150))
def test_graduated_is_each_unit_at_its_own_tier(all_tiers: tuple[Tier, ...], quantity: int) -> None:
    found = Graduated(all_tiers).cost(quantity)
    assert type(found) is int
    assert found == sum(tier_of(all_tiers, unit).price for unit in range(1, quantity + 1))


@given(tiers(), st.integers(0, 150))
def test_volume_is_each_unit_at_the_last_ones_tier(all_tiers: tuple[Tier, ...], quantity: int) -> None:
    found = Volume(all_tiers).cost(quantity)
    assert type(found) is int
    assert found == sum(tier_of(all_tiers, quantity).price for _ in range(quantity))


@given(st.integers(1, 20), st.integers(0, 30), st.integers(0, 200))
def test_packages_are_opened_one_by_one(units: int, first: int, quantity: int) -> None:
    package, opened, left = Package(units, units * first, first), 0, 0
    for _ in range(quantity):
        if not left:
            opened, left = opened + 1, units
        left -= 1
    found = package.cost(quantity)
    assert type(found) is int
    assert found == opened * package.price


# Limits hold

SCALES = st.one_of(
    tiers().map(Graduated),
    tiers().map(Volume),
    st.builds(lambda units, first: Package(units, units * first, first), st.integers(1, 20), st.integers(0, 30)),
    st.integers(0, 500).map(Flat),
)


@given(SCALES, st.lists(st.integers(0, 40), max_size=8), st.integers(1, 9))
def test_a_month_never_costs_more_than_what_was_held_for_its_calls(scale: object, calls: list[int], per: int) -> None:
    per = per if isinstance(scale, Graduated | Volume) else 1
    rated = sum(calls) * scale.first // per  # type: ignore[attr-defined]
    whole = scale.cost(sum(calls), per)  # type: ignore[attr-defined]
    if isinstance(scale, Graduated | Volume):
        assert 0 <= whole <= rated
    else:
        assert whole <= rated + scale.ahead  # type: ignore[attr-defined]
        assert whole >= rated
    assert rated == 0 or calls, "a month without a call costs nothing"


def test_what_is_held_ahead_is_one_package(book: PriceVersion) -> None:
    assert ahead(book.price("training", "m")) == 400_000_000
    assert ahead(book.price("decisions", "m")) == 5_000_000_000
    assert ahead(book.price("embeddings", "m")) == 0


# Publication

REFUSED = {
    "dearer than the one before": ("price = 8_000_000 }", "price = 11_000_000 }"),
    "ends after the one before": ("up_to = 3_000", "up_to = 900"),
    "the last has none": ("{ price = 4_000_000 }", "{ up_to = 9_000, price = 4_000_000 }"),
    "graduated and volume have tiers": ('mode = "volume"', 'mode = "by_moon"'),
    "one unit at least": ("units = 1_000_000\nprice = 400_000_000", "units = 0\nprice = 400_000_000"),
    "not a whole number of nano per unit": ("units = 1_000_000", "units = 3"),
    "not a whole number, 0 or more": ("price = 400_000_000", "price = 0.4"),
    "cached input costs more": ("cached_input_per_million = 50_000_000", "cached_input_per_million = 200_000_000"),
    "what is cached cannot": (
        "[kinds.embeddings.default.input_per_million]",
        "[kinds.embeddings.default]\ncached_input_per_million = 0\n[kinds.embeddings.default.input_per_million]",
    ),
    "runs on no machine": ("[kinds.dedicated.machines.h200]\nmachine_second", "[kinds.chat.machines.h200]\nrequest"),
    "schema 3": ("schema = 2", "schema = 3"),
    "unknown price cached": ("schema = 2", "schema = 1"),
    "a tier has a price": ("{ price = 200 }", "{ price = 200, flat = 1 }"),
    "a class of machine cannot": (
        "[kinds.dedicated.default]\nmachine_second = 100_000",
        '[kinds.dedicated.default]\nmachine_second = { mode = "flat", price = 1 }',
    ),
    "50 % of": ("price = 600 }", "price = 601 }"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_book_that_cannot_be_kept_is_refused_at_publication(tmp_path: Path, reason: str) -> None:
    there, instead = REFUSED[reason]
    assert there in BOOK
    with pytest.raises(PriceError, match=reason):
        book_of(tmp_path, BOOK.replace(there, instead))


def test_the_book_with_prices_by_quantity_changes_no_first_price() -> None:
    before, book = price_books().get("2026-11-30.4"), price_books().get("2026-11-30.5")
    without = {
        kind: {model: dataclasses.replace(price, scales=()) for model, price in models.items()}
        for kind, models in book.kinds.items()
    }
    assert without == before.kinds
    scaled = {kind for kind, models in book.kinds.items() if models["default"].scales}
    assert scaled == {"classify", "embeddings", "batch_classify", "batch_embeddings", "storage", "dedicated"}


def test_the_book_with_cached_input_changes_no_other_price() -> None:
    before, book = price_books().get("2026-11-30.3"), price_books().get("2026-11-30.4")
    without = {
        kind: {model: dataclasses.replace(price, cached_token=None) for model, price in models.items()}
        for kind, models in book.kinds.items()
    }
    assert without == before.kinds
    assert rate(Usage("chat", "m", input_tokens=8, output_tokens=1, cached_tokens=8), book) == 8 * 50 + 400
    assert rate(Usage("chat", "m", input_tokens=8, output_tokens=1, cached_tokens=8), before) == 8 * 100 + 400


def test_books_of_schema_1_are_read_as_they_were() -> None:
    assert "schema" not in (FOLDER / "2026-11-30.3.toml").read_text()
    book = price_books().get("2026-11-30.3")
    usage = Usage("chat", "m", 7, 5, 1, cached_tokens=7)
    assert (rate(usage, book), adjustment(usage, book).tiers) == (7 * 100 + 5 * 400, 0)


# A month


def rows(*lines: tuple[str, str, int, int]) -> list[tuple[str, str, str, Counts, int]]:
    """Rated lines of book `test`: kind, model, input tokens, charged."""
    return [(kind, model, "test", (read, 0, 0, 0, 0), nano) for kind, model, read, nano in lines]


def test_a_month_counts_all_models_of_a_base_and_each_kind_alone(book: PriceVersion) -> None:
    months = months_of(
        rows(
            ("embeddings", "m", 900, 9_000),
            ("embeddings", "ft:m:acme:x:1", 2_101, 21_010),
            ("training", "m", 1, 400),
            ("classify", "m", 10**6, 20_000_000),
        )
    )
    assert month_changes(months, PriceBooks({"test": book})) == {
        (TIERS, ("embeddings", "m", "test")): 26_004 - 30_010,
        (PACKAGES, ("training", "m", "test")): 400_000_000 - 400,
    }


def test_what_was_priced_anew_counts_under_its_new_version(book: PriceVersion) -> None:
    flat = dataclasses.replace(book.price("embeddings", "m"), scales=())
    books = PriceBooks({"test": book, "flat": PriceVersion("flat", 0, {"embeddings": {"default": flat}})})
    both = rows(("embeddings", "m", 1_000, 10_000), ("embeddings", "n", 1_500, 15_000))
    gone = Anew("embeddings", "n", "test", "flat", (1_500, 0, 0, 0, 0), 15_000, 15_000)
    assert month_changes(months_of(both), books) == {(TIERS, ("embeddings", "n", "test")): -500 * 2}
    assert month_changes(months_of(both, [gone]), books) == {}


@given(tokens=st.lists(st.integers(0, 5_000), min_size=1, max_size=5), charged=st.integers(0, 100))
def test_tiers_never_take_off_more_than_was_charged(tokens: list[int], charged: int) -> None:
    """Jobs are charged at most their ceiling, engines what a limit carries: less than their price."""
    price = dataclasses.replace(price_books().get("2026-11-30.4").price("training", "m"))
    free = Graduated((Tier(10, price.trained_token), Tier(None, 0)))
    kinds = {"training": {"default": dataclasses.replace(price, scales=(("trained_token", free),))}}
    books = PriceBooks({"test": PriceVersion("test", 0, kinds)})
    months = months_of(rows(*(("training", "m", count, charged) for count in tokens)))
    off = sum(month_changes(months, books).values())
    assert -charged * len(tokens) <= off <= 0


@st.composite
def month(draw: st.DrawFn) -> tuple[PriceBooks, list[tuple[str, str, str, int]]]:
    """Two versions that price by quantity, and lines of (model, version, version it has now, quantity)."""
    made = {}
    for name in "ab":
        scale = draw(SCALES)
        price = Price(input_token=scale.first, scales=(("input_token", scale),))
        made[name] = PriceVersion(name, 0, {"embeddings": {"default": price}})
    version = st.sampled_from("ab")
    line = st.tuples(st.sampled_from(["m", "ft:m:o:s:1", "n"]), version, version, st.integers(0, 60))
    return PriceBooks(made), draw(st.lists(line, max_size=9))


def textbook(scale: object, quantity: int) -> int:
    """What so many units cost, unit by unit."""
    if isinstance(scale, Graduated):
        return sum(tier_of(scale.tiers, unit).price for unit in range(1, quantity + 1))
    if isinstance(scale, Volume):
        return sum(tier_of(scale.tiers, quantity).price for _ in range(quantity))
    if isinstance(scale, Package):
        return sum(scale.price for unit in range(quantity) if unit % scale.units == 0)
    return scale.price if quantity else 0  # type: ignore[attr-defined]


@settings(max_examples=300)
@given(month())
def test_lines_and_what_is_added_to_them_are_the_price_of_the_month_to_the_nano(
    drawn: tuple[PriceBooks, list[tuple[str, str, str, int]]],
) -> None:
    books, lines = drawn
    firsts = {name: book.price("embeddings", "m").input_token for name, book in books.versions.items()}
    made = [("embeddings", model, was, (n, 0, 0, 0, 0), n * firsts[was]) for model, was, _, n in lines]
    anew = [
        Anew("embeddings", model, was, to, (n, 0, 0, 0, 0), n * firsts[was], n * firsts[to])
        for model, was, to, n in lines
        if was != to
    ]
    quantities: Counter[tuple[str, str]] = Counter()
    for model, _, to, n in lines:
        quantities[base_of(model), to] += n
    whole = sum(
        textbook(books.get(version).price("embeddings", base).scales[0][1], n)
        for (base, version), n in quantities.items()
    )
    charged = sum(n * firsts[to] for _, _, to, n in lines)
    assert charged + sum(month_changes(months_of(made, anew), books).values()) == whole


@given(st.lists(st.integers(0, 100), max_size=5), st.integers(-50, 300))
def test_packages_go_only_as_far_as_limits_carry_them(packages: list[int], room: int) -> None:
    wanted = {(PACKAGES, ("k", str(n), "v")): nano for n, nano in enumerate(packages)} | {(TIERS, ("k", "m", "v")): -7}
    found = within(wanted, room)
    assert found[TIERS, ("k", "m", "v")] == -7
    assert sum(found.values()) + 7 == min(max(room, 0), sum(packages))
    assert within(wanted, None) == wanted
