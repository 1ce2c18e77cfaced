"""Plan files of schema 2, promotions, and pushing both to Stripe twice."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from billing.models import CatalogueEntry
from billing.plans import (
    PlanError,
    Rollover,
    SubscriptionFacts,
    entitlement_derive,
    plan_book,
    promotions,
)
from billing.plans.files_read import FOLDER, PlanBook
from billing.services import catalogue
from tests.billing.emulated import Emulator

BOOK = plan_book()
TRIAL = ("[allowance]", "[trial]\ndays = 14\ncard = true\n[allowance]")
NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def changed(folder: Path, *swaps: tuple[str, str], name: str = "developer-5.toml") -> PlanBook:
    """The published plans with one changed, as if it had been published so."""
    for file in [*FOLDER.glob("*.toml"), FOLDER / "SHA256SUMS"]:
        (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / name).read_text()
    before = hashlib.sha256(text.encode()).hexdigest()
    for there, instead in swaps:
        assert there in text
        text = text.replace(there, instead)
    (folder / name).write_text(text)
    sums = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(sums.replace(before, hashlib.sha256(text.encode()).hexdigest()))
    plan_book.cache_clear()
    return plan_book(folder)


def test_a_plan_is_paid_by_the_month_or_by_the_year() -> None:
    plan = BOOK.latest("developer")
    assert (plan.price("month"), plan.price("year"), plan.price("year", "eur"), plan.price("year", "gbp")) == (
        2_900,
        29_000,
        27_000,
        None,
    )
    assert (plan.price_cents, plan.interval, plan.currency, plan.currencies) == (2_900, "month", "usd", ["usd", "eur"])
    assert [part[:3] for part in plan.parts] == [
        (part, interval, currency)
        for part in ("plan", "seat")
        for interval in ("month", "year")
        for currency in ("usd", "eur")
    ]
    assert plan.lookup_key("seat", "year", "eur") == "tunesmith_developer_6_year_eur_seat"


def test_plans_of_schema_1_are_read_as_they_were() -> None:
    plan = BOOK.get("developer", 4)
    assert (plan.price_cents, plan.interval, plan.currency, plan.price("year")) == (2_900, "month", "usd", None)
    assert (plan.seats, plan.trial, plan.rollover, plan.overage) == (None, None, None, True)
    assert [plan.lookup_key(*part[:3]) for part in plan.parts] == ["tunesmith_developer_4"]


def test_a_new_version_of_a_plan_lets_nobody_do_less() -> None:
    for code in ("developer", "team", "enterprise"):
        before, after = BOOK.get(code, 4), BOOK.get(code, 5)
        assert before.limits == after.limits
        assert (before.features, before.allowance_nano) == (after.features, after.allowance_nano)
        assert before.price_cents == after.price_cents


def test_a_year_costs_less_than_twelve_months() -> None:
    for plan in BOOK.offered():
        for currency in plan.currencies if plan.sold_online else []:
            assert 0 < (plan.price("year", currency) or 0) < 12 * (plan.price("month", currency) or 0)


WRONG = {
    "costs more than twelve months": ("usd = 29_000", "usd = 34_801"),
    "begin with those of a month": ("[prices.month]\nusd = 2_900\n\n", ""),
    "not for a week": ("[prices.year]", "[prices.week]"),
    "three small letters": ("usd = 2_900", "USD = 2_900"),
    "a whole number": ("usd = 2_900", "usd = 29.5"),
    "the limit of members": ("included = 5", "included = 6"),
    "wherever the plan has one": ("[seats.year]\nusd = 9_000\n", ""),
    "1 to 90 days": ("[allowance]", TRIAL[1].replace("14", "0")),
    "nobody could be charged": ("[allowance]", TRIAL[1].replace("true", "false")),
    "schema 3": ("schema = 2", "schema = 3"),
    "rollover is from 1": ("[allowance]", "[rollover]\npercent = 0\nmost_nano = 1\n[allowance]"),
    "without overage": ("[allowance]", "[overage]\nallowed = false\n[allowance]"),
    "overage is allowed or not": ("[allowance]", '[overage]\nallowed = "yes"\n[allowance]'),
    "unexpected keyword": ("[allowance]", "[cake]\nslices = 1\n[allowance]"),
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_plan_that_cannot_be_meant_is_refused(tmp_path: Path, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        changed(tmp_path, WRONG[reason])
    plan_book.cache_clear()


def test_other_currencies_rollover_and_a_trial_without_a_card(tmp_path: Path) -> None:
    plan = changed(
        tmp_path,
        ("usd = 2_900", "usd = 2_900\neur = 2_700"),
        ("usd = 29_000", "usd = 29_000\neur = 27_000"),
        ("usd = 900\n", "usd = 900\neur = 800\n"),
        ("usd = 9_000", "usd = 9_000\neur = 8_000"),
        ("monthly_spend_nano = 200_000_000_000", "monthly_spend_nano = 20_000_000_000"),
        ("[allowance]", "[overage]\nallowed = false\n[allowance]"),
        ("[allowance]", "[rollover]\npercent = 50\nmost_nano = 5_000_000_000\n[allowance]"),
        ("[allowance]", TRIAL[1].replace("true", "false")),
    ).get("developer", 5)
    plan_book.cache_clear()
    assert (plan.currencies, plan.price("year", "eur")) == (["usd", "eur"], 27_000)
    assert plan.trial is not None
    assert plan.rollover is not None
    assert (plan.trial.card, plan.overage) == (False, False)
    assert plan.rollover.carried(plan.allowance_nano, 12_000_000_000) == 4_000_000_000
    assert plan.rollover.carried(plan.allowance_nano, 0) == 5_000_000_000


@given(st.integers(1, 100), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_no_more_rolls_over_than_was_left(percent: int, most: int, allowance: int, used: int) -> None:
    carried = Rollover(percent, most).carried(allowance, used)
    assert type(carried) is int
    assert 0 <= carried <= min(most, max(allowance - used, 0))


def test_seats_that_are_bought_make_room_for_members() -> None:
    bought = SubscriptionFacts("sub_1", "active", "developer", 5, seats=3)
    found = entitlement_derive([bought], [], BOOK, NOW)
    assert found.limits == dataclasses.replace(BOOK.get("developer", 5).limits, members=8)
    late = dataclasses.replace(bought, status="unpaid")
    assert entitlement_derive([late], [], BOOK, NOW).limits.members == BOOK.free.limits.members


PROMOTION = """
code = "SPRING27"
name = "Spring 2027"
percent_off = 20
months = 3
plans = ["developer", "team"]
most = 500
ends_at = 2027-06-01T00:00:00Z
"""


def published(folder: Path, *texts: str) -> Path:
    """A folder of promotions."""
    lines = []
    for number, text in enumerate(texts):
        (folder / f"promotion-{number}.toml").write_text(text)
        lines.append(f"{hashlib.sha256(text.encode()).hexdigest()}  promotion-{number}.toml")
    (folder / "SHA256SUMS").write_text("\n".join(lines))
    promotions.cache_clear()
    return folder


def test_a_promotion_is_read_from_its_file(tmp_path: Path) -> None:
    (one,) = promotions(published(tmp_path, PROMOTION))
    assert (one.slug, one.code, one.percent_off, one.months, one.first_time) == ("promotion-0", "SPRING27", 20, 3, True)
    assert one.runs_at(NOW)
    assert not one.runs_at(one.ends_at)
    (tmp_path / "promotion-0.toml").write_text(PROMOTION.replace("20", "90"))
    promotions.cache_clear()
    with pytest.raises(PlanError, match="differs from what was published"):
        promotions(tmp_path)


@pytest.mark.parametrize(
    ("there", "instead", "reason"),
    [
        ("= 20\n", "= 101\n", "percent_off is from 1 to 100"),
        ("= 20\nmonths = 3\n", "= 100\n", "given away for ever"),
        ('"team"]', '"enterprise"]', "sold online"),
        ("SPRING27", "spring 27", "capital letters"),
        ("00Z", "00", "time zone"),
        ("most = 500", "", "most"),
    ],
)
def test_a_promotion_that_cannot_be_meant_is_refused(tmp_path: Path, there: str, instead: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        promotions(published(tmp_path, PROMOTION.replace(there, instead)))


def test_two_promotions_cannot_have_one_code(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="one code"):
        promotions(published(tmp_path, PROMOTION, PROMOTION.replace("2027", "2028")))


def test_what_is_sold_is_pushed_once_however_often(
    stripe_house: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = PROMOTION.replace("SPRING27", "SPRING26").replace("2027-06", "2026-06")
    running = promotions(published(tmp_path, PROMOTION, over))
    monkeypatch.setattr(catalogue, "promotions", lambda: running)

    def stands() -> dict[str, list[str]]:
        v1 = stripe_house.v1
        return {
            "products": sorted(one.id for one in v1.products.list({"limit": 100}).data if one.id.startswith("tune")),
            "prices": sorted(one.lookup_key or "" for one in v1.prices.list({"limit": 100}).data if one.lookup_key),
            "coupons": sorted(one.id for one in v1.coupons.list({"limit": 100}).data if one.id.startswith("tune")),
            "codes": sorted(
                one.code for one in v1.promotion_codes.list({"limit": 100}).data if one.code in ("SPRING26", "SPRING27")
            ),
        }

    call_command("stripe_sync", stdout=(said := StringIO()))
    first = stands()
    assert first["coupons"] == ["tunesmith_coupon_promotion-0"], "one that is over is not pushed"
    assert first["codes"] == ["SPRING27"]
    assert {"tunesmith_developer", "tunesmith_developer_seat", "tunesmith_team"} <= set(first["products"])
    ways = {f"tunesmith_team_5_{each}_usd{part}" for each, part in itertools.product(("month", "year"), ("", "_seat"))}
    assert ways <= set(first["prices"])
    assert "SPRING27: 20 % off" in said.getvalue()
    for emptied in (False, True):
        if emptied:
            CatalogueEntry.objects.all().delete()
        call_command("stripe_sync", stdout=StringIO())
        assert stands() == first
    entry = CatalogueEntry.objects.get(plan="team", version=6, interval="year", part="plan")
    price = stripe_house.v1.prices.retrieve(entry.price_id)
    assert (price.unit_amount, price.recurring and price.recurring.interval) == (199_000, "year")
    coupon = stripe_house.v1.coupons.retrieve("tunesmith_coupon_promotion-0", {"expand": ["applies_to"]})
    assert coupon.applies_to is not None
    assert sorted(coupon.applies_to.products) == ["tunesmith_developer", "tunesmith_team"]
    (code,) = stripe_house.v1.promotion_codes.list({"code": "SPRING27"}).data
    assert code.restrictions.first_time_transaction
