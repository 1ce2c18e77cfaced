"""What subscriptions become is kept as the mirror sees it, and each month's end once."""

import datetime as dt

import pytest
from django.db import IntegrityError, InternalError, ProgrammingError, transaction

from billing.models import BillingCustomer, Subscription, SubscriptionChange, SubscriptionMonth
from billing.periods import bounds, month_of, next_month, start_of
from billing.plans import plan_book
from billing.selectors.recurring import (
    by_plan,
    month_rows,
    months,
    paid_by_month,
    revenue_by_month,
    standing_at,
    worth_nano,
)
from billing.services.catalogue import catalogue_push
from billing.services.changes import change_note, month_take, months_due
from billing.services.receivables import mirrors_book_all
from billing.services.subscriptions import plan_change
from billing.services.sync import customer_sync
from kit.clock import now
from tenants.scope import ops_scope, tenant_scope
from tests.billing.commanded import asked
from tests.billing.emulated import Emulator
from tests.billing.subscribed import YEARS, changed
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person

NANO = 10**9


def sync(person: Person) -> None:
    """What a webhook leads to."""
    with tenant_scope(person.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())


def history(person: Person) -> list[tuple[str, str]]:
    """Status and plan, oldest first."""
    with tenant_scope(person.tenant.id):
        return list(SubscriptionChange.objects.order_by("at").values_list("status", "plan"))


def test_buying_changing_and_leaving_a_plan_are_kept_once_each(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    catalogue_push()
    buy(ada, stripe_house)
    sync(ada)
    assert history(ada) == [("active", "developer")]
    asked(ada.tenant.id, lambda: plan_change(plan="team"))
    with tenant_scope(ada.tenant.id):
        first, second = SubscriptionChange.objects.order_by("at")
        row = Subscription.objects.get()
        assert first.at == row.started_at and second.at > first.at
        assert (second.interval, second.seats, second.plan_version) == ("month", 1, plan_book().latest("team").version)
    stripe_house.v1.subscriptions.cancel(row.stripe_id)
    sync(ada)
    sync(ada)
    assert history(ada) == [("active", "developer"), ("active", "team"), ("canceled", "team")]
    with tenant_scope(ada.tenant.id):
        row.refresh_from_db()
        assert SubscriptionChange.objects.order_by("-at")[0].at == max(row.ended_at, second.at + dt.timedelta(0, 0, 1))


def test_a_paused_collection_counts_as_paused(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        row = Subscription.objects.create(stripe_id=f"sub_{cast.owner.tenant.id.hex}", status="active", plan="team")
        change_note(row)
        row.raw = {"pause_collection": {"behavior": "void"}}
        made = change_note(row)
        assert made is not None and made.status == "paused" and change_note(row) is None


def test_a_trial_that_is_paid_for_counts_from_its_end(cast: Cast) -> None:
    began, ended = now() - dt.timedelta(days=14), now() - dt.timedelta(hours=5)
    with tenant_scope(cast.owner.tenant.id):
        row = Subscription.objects.create(
            stripe_id=f"sub_{cast.owner.tenant.id.hex}",
            status="trialing",
            plan="team",
            started_at=began,
            trial_end=ended,
        )
        first = change_note(row)
        row.status = "active"
        second = change_note(row)
        assert first is not None and second is not None and (first.at, second.at) == (began, ended)


def test_what_was_kept_cannot_be_changed(cast: Cast) -> None:
    changed(cast.owner, now())
    for work in (
        lambda: SubscriptionChange.objects.update(plan="team"),
        lambda: SubscriptionChange.objects.all().delete(),
    ):
        with (
            pytest.raises((ProgrammingError, InternalError, IntegrityError)),
            tenant_scope(cast.owner.tenant.id),
            transaction.atomic(),
        ):
            work()


def test_a_months_mrr_is_what_plans_cost_at_its_end(cast: Cast) -> None:
    year = next(YEARS)
    first = dt.date(year, 1, 1)
    ada, eve = cast.owner, cast.stranger
    changed(ada, start_of(first) + dt.timedelta(days=3), status="trialing")
    changed(ada, start_of(first) + dt.timedelta(days=17))
    changed(ada, start_of(dt.date(year, 2, 11)), plan="team", status="past_due")
    changed(eve, start_of(dt.date(year, 2, 20)), plan="enterprise")
    changed(ada, start_of(dt.date(year, 4, 1)), plan="team", status="canceled")
    with ops_scope("test"):
        ends = paid_by_month(dt.date(year, 4, 1))
        told = {month.month.month: month for month in months(dt.date(year, 4, 1)) if month.month.year == year}
        lines, unpriced = by_plan(month_rows(dt.date(year, 3, 1)))
    price = {plan.code: (plan.price_cents or 0) * NANO // 100 for plan in plan_book().offered()}
    mine = [ends[dt.date(year, month, 1)].get(ada.tenant.id, 0) for month in (1, 2, 3, 4)]
    assert mine == [price["developer"], price["team"], price["team"], 0], "owed counts, a trial and an ended one do not"
    assert told[1].moves.nano["new"] == price["developer"]
    assert told[2].moves.nano["expansion"] == price["team"] - price["developer"]
    assert told[4].moves.nano["churn"] == -price["team"] and told[4].moves.tenants["churn"] == 1
    assert unpriced == 1 and [(line.plan, line.nano) for line in lines] == [("team", price["team"])]


def test_a_yearly_plan_is_worth_a_twelfth_of_its_own_price_a_month() -> None:
    assert worth_nano("usd", "active", "developer", 5, "month", 1) == 29 * NANO
    assert worth_nano("usd", "active", "developer", 5, "year", 1) == round(290 * NANO / 12)
    assert worth_nano("usd", "active", "developer", 4, "year", 1) is None, "that version was never sold by the year"


def test_a_month_is_kept_once_and_late_news_move_the_next(cast: Cast) -> None:
    year = next(YEARS)
    january, february = dt.date(year, 1, 1), dt.date(year, 2, 1)
    changed(cast.owner, start_of(january))
    assert month_take(january) >= 1 and month_take(january) == 0
    changed(cast.owner, bounds(january)[1] - dt.timedelta(seconds=1), status="canceled")
    with ops_scope("test"):
        ends = paid_by_month(february)
        kept = SubscriptionMonth.ops.get(month=january, tenant=cast.owner.tenant)
        stands = {row.tenant_id: row.mrr_nano for row in standing_at(january)}
    assert ends[january][cast.owner.tenant.id] == kept.mrr_nano == 29 * NANO
    assert stands[cast.owner.tenant.id] == 0 and cast.owner.tenant.id not in ends[february]


def test_months_fall_due_three_days_after_their_end() -> None:
    first = dt.date(2026, 11, 1)
    assert months_due(first, None, dt.datetime(2026, 12, 3, 23, tzinfo=dt.UTC)) == []
    assert months_due(first, None, dt.datetime(2026, 12, 4, tzinfo=dt.UTC)) == [first]
    assert months_due(first, first, dt.datetime(2027, 3, 4, tzinfo=dt.UTC)) == [
        dt.date(2026, 12, 1), dt.date(2027, 1, 1), dt.date(2027, 2, 1)
    ]  # fmt: skip


def test_ledger_revenue_of_a_month_keeps_usage_apart_from_plans(cast: Cast, stripe_house: Emulator) -> None:
    month = month_of(now())
    mirrors_book_all()
    with ops_scope("test"):
        before = revenue_by_month(month, month).get(month)
    buy(cast.owner, stripe_house)
    mirrors_book_all()
    with ops_scope("test"):
        after = revenue_by_month(month, month)[month]
    assert after.plans - (before.plans if before else 0) == 29 * NANO
    assert after.usage == (before.usage if before else 0)
    assert next_month(month) not in revenue_by_month_of(next_month(month))


def revenue_by_month_of(month: dt.date) -> dict[dt.date, object]:
    """Of a month that has not begun."""
    with ops_scope("test"):
        return dict(revenue_by_month(month, month))
