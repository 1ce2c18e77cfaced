"""Plan files and the pure function that says what a tenant may do."""

import dataclasses
import datetime as dt
import itertools
import shutil
from pathlib import Path

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from billing.plans import GRACE, OverrideFacts, PlanError, SubscriptionFacts, entitlement_derive, plan_book
from billing.plans.files_read import FOLDER
from billing.selectors.features import FEATURES, feature_plan

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
BOOK = plan_book()
STATES = ["active", "trialing", "past_due", "unpaid", "incomplete", "incomplete_expired", "canceled", "paused"]


def sub(status: str = "active", plan: str = "developer", **more: object) -> SubscriptionFacts:
    return SubscriptionFacts("sub_1", status, plan, 1, **more)  # type: ignore[arg-type]


def override(**more: object) -> OverrideFacts:
    return OverrideFacts(id="1", valid_from=NOW - dt.timedelta(days=1), **more)  # type: ignore[arg-type]


def test_the_plans_of_today_grow_in_every_limit() -> None:
    plans = BOOK.offered()
    assert [plan.code for plan in plans] == ["free", "starter", "developer", "team", "enterprise"]
    for smaller, larger in itertools.pairwise(plans):
        for field in dataclasses.fields(smaller.limits):
            if field.name != "gpu_class":
                assert getattr(smaller.limits, field.name) <= getattr(larger.limits, field.name)
        assert smaller.features <= larger.features


def test_every_feature_that_is_sold_has_a_plan_and_no_page_sells_what_does_not_exist(client: Client) -> None:
    assert {feature: feature_plan(feature).code for feature in FEATURES} == {
        "weights_download": "developer",
        "preemptible_lane": "developer",
        "priority_lane": "team",
        "audit_export": "team",
        "custom_orders": "enterprise",
    }
    page = client.get("/pricing").content.decode()
    assert all(str(name) in page for name in FEATURES.values())
    assert "import" not in page.lower().split("<body")[1]


def test_a_plan_published_before_weights_weighs_one() -> None:
    assert BOOK.get("enterprise", 1).limits.engine_weight == 1
    assert [plan.limits.engine_weight for plan in BOOK.offered()] == [1, 1, 2, 4, 8]


def test_only_plans_with_a_price_are_sold_online() -> None:
    assert [plan.code for plan in BOOK.offered() if plan.sold_online] == ["starter", "developer", "team"]


def test_a_changed_plan_file_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(FOLDER, folder)
    plan_book(folder)
    file = folder / "developer-1.toml"
    file.write_text(file.read_text().replace("2_900", "2_901"))
    plan_book.cache_clear()
    with pytest.raises(PlanError, match="differs from what was published"):
        plan_book(folder)
    file.unlink()
    with pytest.raises(PlanError, match="gone"):
        plan_book(folder)
    plan_book.cache_clear()


def test_without_a_subscription_there_is_the_free_plan() -> None:
    found = entitlement_derive([], [], BOOK, NOW)
    assert (found.plan, found.standing, found.until) == ("free", "good", None)


@pytest.mark.parametrize(
    ("status", "plan", "standing"),
    [
        ("active", "developer", "good"),
        ("trialing", "developer", "good"),
        ("incomplete", "free", "good"),
        ("canceled", "free", "good"),
        ("unpaid", "free", "restricted"),
        ("a status of next year", "free", "good"),
    ],
)
def test_only_a_subscription_that_is_paid_for_gives_its_plan(status: str, plan: str, standing: str) -> None:
    found = entitlement_derive([sub(status)], [], BOOK, NOW)
    assert (found.plan, found.standing) == (plan, standing)


def test_a_late_payment_keeps_the_plan_for_the_grace_period_and_no_longer() -> None:
    late = sub("past_due", past_due_since=NOW)
    before = entitlement_derive([late], [], BOOK, NOW + GRACE - dt.timedelta(seconds=1))
    assert (before.plan, before.standing, before.until) == ("developer", "grace", NOW + GRACE)
    after = entitlement_derive([late], [], BOOK, NOW + GRACE)
    assert (after.plan, after.standing, after.until) == ("free", "restricted", None)


def test_a_plan_nobody_published_gives_nothing() -> None:
    assert entitlement_derive([sub(plan="platinum")], [], BOOK, NOW).plan == "free"


def test_an_override_changes_single_limits_while_it_is_valid() -> None:
    end = NOW + dt.timedelta(days=2)
    given_ = override(limits={"parallel_jobs": 5}, features=("imported_bases",), valid_until=end)
    during = entitlement_derive([sub()], [given_], BOOK, NOW)
    assert (during.limits.parallel_jobs, during.until) == (5, end)
    assert "imported_bases" in during.features
    assert during.limits.concurrency == BOOK.latest("developer").limits.concurrency
    assert entitlement_derive([sub()], [given_], BOOK, end).limits.parallel_jobs == 2


def test_a_granted_plan_needs_no_subscription() -> None:
    found = entitlement_derive([], [override(plan="enterprise", plan_version=1)], BOOK, NOW)
    assert (found.plan, found.subscription) == ("enterprise", "")


def test_a_limit_that_cannot_be_is_refused() -> None:
    bad_ones = [{"parallel_jobs": -1}, {"parallel_jobs": True}, {"parallel_jobs": "3"}, {"gpu_class": "h200"}, {"x": 1}]
    bad_ones += [{"engine_weight": 0}, {"engine_weight": 65}]
    for bad in bad_ones:
        with pytest.raises(ValueError):
            BOOK.free.limits.changed(bad)


MOMENTS = st.datetimes(dt.datetime(2026, 10, 1), dt.datetime(2027, 1, 1), timezones=st.just(dt.UTC))
SUBS = st.builds(
    SubscriptionFacts,
    stripe_id=st.text("abc", min_size=1, max_size=3),
    status=st.sampled_from(STATES),
    plan=st.sampled_from(["developer", "team", "enterprise", "gone"]),
    plan_version=st.just(1),
    past_due_since=st.none() | MOMENTS,
    seats=st.integers(0, 3),
)
OVERRIDES = st.builds(
    OverrideFacts,
    id=st.uuids().map(str),
    valid_from=MOMENTS,
    valid_until=st.none() | MOMENTS,
    limits=st.dictionaries(st.sampled_from(["concurrency", "parallel_jobs"]), st.integers(0, 9), max_size=2),
    plan=st.sampled_from(["", "team"]),
    plan_version=st.just(1),
)


@given(st.lists(SUBS, max_size=4), st.lists(OVERRIDES, max_size=4), MOMENTS, st.randoms())
def test_the_order_of_the_facts_never_matters(subs: list, overrides: list, at: dt.datetime, random: object) -> None:
    first = entitlement_derive(subs, overrides, BOOK, at)
    random.shuffle(subs)  # type: ignore[attr-defined]
    random.shuffle(overrides)  # type: ignore[attr-defined]
    assert entitlement_derive(subs, overrides, BOOK, at) == first


@given(st.lists(SUBS, max_size=4), st.lists(OVERRIDES, max_size=4), MOMENTS, st.integers(1, 10**7))
def test_nothing_changes_before_the_moment_it_names(subs: list, overrides: list, at: dt.datetime, wait: int) -> None:
    first = entitlement_derive(subs, overrides, BOOK, at)
    later = at + dt.timedelta(seconds=wait)
    if first.until is None or later < first.until:
        again = entitlement_derive(subs, overrides, BOOK, later)
        assert again == first
