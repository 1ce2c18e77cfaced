"""Trials with and without a card: begun, announced, ended, and nobody gets two. Against the emulator."""

import datetime as dt
from typing import Any

import pytest
from django.core import mail

from billing.models import AllowanceChange, StripeCommand, Subscription, TrialMark, TrialTaken
from billing.plans import AllowanceFrom, SubscriptionFacts, allowance_of, entitlement_derive, plan_book
from billing.selectors.bills import allowance_nano
from billing.selectors.subscriptions import customer_current, entitlement_for, plan_named, subscription_held
from billing.selectors.trials import mailbox, trial_due, trial_lapsed
from billing.services.commands import commands_send
from billing.services.entitlements import entitlement_refresh
from billing.services.metering import usage_rollup
from billing.services.subscriptions import plan_change, plan_preview
from billing.services.sync import customer_sync
from billing.services.trials import trial_begun, trial_remind
from billing.services.webhooks import event_handle, event_receive
from billing.stripe_port import StripePort
from kit.clock import now
from kit.errors import Conflict
from kit.money import NANO
from tenants.models import Member
from tenants.scope import tenant_scope
from tests.billing.commanded import asked
from tests.billing.emulated import CANCEL, KEY, SUCCESS, Emulator
from tests.billing.money import call, store_events
from tests.billing.test_plan_pages import words
from tests.billing.test_plan_ways import OCTOBER, finish, paid, start
from tests.conftest import Cast, Person, make_person

DEBIT, MASTERCARD, AMEX = "4000056655665556", "5555555555554444", "378282246310005"
"""Cards that no other test has a trial with: marks are of all organisations, and stay."""


def begun(person: Person, emulator: Emulator, plan: str = "starter", number: str = "") -> Subscription:
    """Start a trial as the buyer does, without a card unless one is named."""
    url = start(person, plan)
    if not number:
        status, _, headers = emulator.page(url, {"email": "buyer@example.com", "name": "Ada"})
    else:
        status, _, headers = emulator.pay(url, number)
    assert status == 303
    session = headers["Location"].split("session=")[1]
    person.browser.get(f"{person.home}/billing/", {"session_id": session})
    commands_send(person.tenant.id)
    with tenant_scope(person.tenant.id):
        row: Subscription = Subscription.objects.get()
        return row


def look(person: Person) -> None:
    """What a webhook leads to."""
    with tenant_scope(person.tenant.id):
        customer = customer_current()
        assert customer is not None
        customer_sync(customer=customer)


def card_added(person: Person, emulator: Emulator, card: str) -> None:
    """As in the portal."""
    with tenant_scope(person.tenant.id):
        customer = customer_current()
        assert customer is not None
    method = emulator.v1.payment_methods.attach(card, {"customer": customer.stripe_id})
    settings = {"default_payment_method": method.id}
    emulator.v1.customers.update(customer.stripe_id, {"invoice_settings": settings})
    look(person)


def ended(person: Person, row: Subscription, status: str) -> None:
    """The trial's end as the mirror would have it, without moving the shared clock."""
    at = now() - dt.timedelta(minutes=5)
    with tenant_scope(person.tenant.id):
        row.status, row.trial_end = status, at
        row.ended_at = at if status == "canceled" else None
        row.raw = {**row.raw, "cancellation_details": {"reason": "payment_failed"}}
        row.save()
        entitlement_refresh()


def test_a_trial_without_a_card_is_offered_begun_and_shown(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    page = words(ada.browser.get(f"{ada.home}/billing/").content)
    assert "14 days free, no card." in page and "Try Starter" in page
    assert "14 days free, with a card." in page and "Try Team" in page
    row = begun(ada, stripe_house)
    assert (row.status, row.plan) == ("trialing", "starter")
    assert entitlement_for(ada.tenant.id).plan == "starter"
    found = stripe_house.v1.subscriptions.retrieve(row.stripe_id)
    assert found.trial_settings is not None
    assert found.trial_settings.end_behavior.missing_payment_method == "cancel"
    page = words(ada.browser.get(f"{ada.home}/billing/").content)
    assert "No card is known: the plan ends then" in page and "goes on for $9 a month" in page
    with tenant_scope(ada.tenant.id):
        assert sum(paid()) == 0
        assert TrialTaken.objects.get().refused == ""


def test_a_trial_without_a_card_spends_what_it_includes_and_no_more(cast: Cast, stripe_house: Emulator) -> None:
    begun(cast.owner, stripe_house)
    found = entitlement_for(cast.owner.tenant.id)
    assert found.allowance_nano == found.limits.monthly_spend_nano == 3 * NANO
    with tenant_scope(cast.owner.tenant.id):
        assert allowance_nano() >= 3 * NANO, "all of it, in the month in which it began"


@pytest.mark.parametrize("plan", ["developer", "team"])
def test_a_trial_without_a_card_becomes_no_plan_that_needs_one(cast: Cast, stripe_house: Emulator, plan: str) -> None:
    ada = cast.owner
    begun(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        for ask in (plan_preview, plan_change):
            with pytest.raises(Conflict, match=r"This trial has no card, and .* needs one. Add a card under Billing"):
                ask(plan=plan)
    card_added(ada, stripe_house, "pm_card_threeDSecureOptional")
    asked(ada.tenant.id, lambda: plan_change(plan=plan))
    assert entitlement_for(ada.tenant.id).plan == plan


def test_paying_brings_the_whole_plan() -> None:
    plan = plan_book().latest("starter")
    trialing, active = (
        entitlement_derive([SubscriptionFacts("sub_1", status, *plan.key)], [], plan_book(), now())
        for status in ("trialing", "active")
    )
    assert (trialing.allowance_nano, active.allowance_nano) == (3 * NANO, 6 * NANO)
    assert active.limits.monthly_spend_nano == 6 * NANO
    team = plan_book().latest("team")
    assert team.trial is not None
    on_trial = entitlement_derive([SubscriptionFacts("sub_1", "trialing", *team.key)], [], plan_book(), now())
    assert on_trial.allowance_nano == team.trial.usage_nano
    assert on_trial.limits.monthly_spend_nano == team.limits.monthly_spend_nano, "a card is known: more is charged"


@pytest.mark.parametrize("day", [1, 2, 16, 31])
def test_a_month_without_overage_bills_no_usage_whenever_the_plan_came_and_went(day: int) -> None:
    came, went = (dt.datetime(2026, 10, d, 12, tzinfo=dt.UTC) for d in (day, min(day + 14, 31)))
    changes = [AllowanceFrom(came, 3 * NANO, whole=True), AllowanceFrom(went, 2 * NANO)]
    assert allowance_of(OCTOBER, before=2 * NANO, changes=changes) == 3 * NANO
    assert allowance_of(dt.date(2026, 11, 1), before=2 * NANO, changes=changes) == 2 * NANO
    assert allowance_of(dt.date(2026, 9, 1), before=2 * NANO, changes=changes) == 2 * NANO


def test_no_usage_of_a_trial_is_on_a_bill(cast: Cast, stripe_house: Emulator) -> None:
    begun(cast.owner, stripe_house)
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        rows: list[Any] = list(AllowanceChange.objects.order_by("since"))
        assert [row.allowance_nano for row in rows][-1] == 3 * NANO
    store_events([call(tenant_id, 1, cost=3 * NANO, at=now())])
    usage_rollup(tenant_id=tenant_id)
    page = words(cast.owner.browser.get(f"{cast.owner.home}/billing/").content)
    assert "Included in the plan of $3.00 this month −$3.00" in page


def test_its_end_is_announced_once_to_those_who_pay(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    assert cast.teammate.role == "developer"
    row = begun(ada, stripe_house)
    event = {
        "id": f"evt_{ada.tenant.id.hex}",
        "type": "customer.subscription.trial_will_end",
        "created": int(now().timestamp()),
        "data": {"object": {"object": "subscription", "id": row.stripe_id, "customer": row.raw["customer"]}},
    }
    mail.outbox.clear()
    assert event_handle(event_receive(event).pk) == "done"
    with tenant_scope(ada.tenant.id):
        assert trial_remind(subscription_id=row.stripe_id) == 0, "once"
    (sent,) = [one for one in mail.outbox if "trial" in one.subject]
    assert sent.to == [ada.user.email]
    assert sent.subject.startswith("The trial of Starter ends on ")
    assert "No card is known, so the plan then ends" in sent.body and "$9 a month" in sent.body


def test_the_mail_names_the_card_that_will_be_charged(cast: Cast, stripe_house: Emulator) -> None:
    row = begun(cast.owner, stripe_house, "team", DEBIT)
    mail.outbox.clear()
    with tenant_scope(cast.owner.tenant.id):
        assert trial_remind(subscription_id=row.stripe_id) == 1
    assert f"Then $199 a month is charged to visa {DEBIT[-4:]}" in mail.outbox[-1].body
    page = words(cast.owner.browser.get(f"{cast.owner.home}/billing/").content)
    assert "Then $199 a month is charged. End the plan before that day to pay nothing." in page


def test_a_trial_that_ended_without_a_card_is_told_and_not_given_again(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    row = begun(ada, stripe_house)
    ended(ada, row, "canceled")
    with tenant_scope(ada.tenant.id):
        assert trial_lapsed() == row
        assert trial_due(plan_named("team")) is None
    page = words(ada.browser.get(f"{ada.home}/billing/").content)
    assert "no card was known, so the plan ended with it" in page
    assert "days free" not in page and "Choose Starter" in page


def test_a_plan_that_rests_after_its_trial_says_what_to_do(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    row = begun(ada, stripe_house)
    ended(ada, row, "paused")
    page = words(ada.browser.get(f"{ada.home}/billing/").content)
    assert "no card is known, so the plan rests" in page and "then resume: it goes on for $9 a month" in page


def test_what_the_plan_says_of_its_end_is_what_stripe_is_told(tmp_path: Any) -> None:
    own = Emulator(tmp_path)  # its clock is moved
    real = StripePort(KEY, own.url)
    customer = own.customer(card=None).id
    made = real.checkout_create(
        customer_id=customer, price_id=own.price().id, success_url=SUCCESS, cancel_url=CANCEL,
        metadata={"tenant_id": "t"}, key="trial", trial_days=7, trial_card=False, trial_at_end="pause",
    )  # fmt: skip
    assert own.page(made["url"], {"email": "buyer@example.com"})[0] == 303
    (subscription_id,) = real.subscription_ids(customer)
    own.advance(days=5)
    assert "customer.subscription.trial_will_end" in own.event_types(subscription_id)
    own.advance(days=3)
    found = real.subscription_fetch(subscription_id)
    own.stop()
    assert found is not None and found["status"] == "paused"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.com", "ada@example.com"),
        ("ada+trial2@example.com", "ada@example.com"),
        ("a.d.a+x@gmail.com", "ada@googlemail.com"),
    ],
)
def test_an_address_is_the_same_however_it_is_written(one: str, other: str) -> None:
    assert mailbox(one) == mailbox(other)


def test_dots_count_where_they_mean_something() -> None:
    assert mailbox("a.da@example.com") != mailbox("ada@example.com")


def test_an_owner_gets_no_second_trial_with_another_organisation(cast: Cast, stripe_house: Emulator) -> None:
    begun(cast.owner, stripe_house)
    other = cast.stranger
    with tenant_scope(other.tenant.id):
        assert trial_due(plan_named("starter")) is not None
        Member.objects.create(user=cast.owner.user, role="owner")
        assert trial_due(plan_named("starter")) is None
    page = words(other.browser.get(f"{other.home}/billing/").content)
    assert "days free" not in page
    row = finish(other, stripe_house, start(other, "starter"))
    assert row.status == "active", "paid from its first day"


def test_two_organisations_of_one_owner_that_begin_together_get_one_trial(cast: Cast, stripe_house: Emulator) -> None:
    other = cast.stranger
    with tenant_scope(other.tenant.id):
        Member.objects.create(user=cast.owner.user, role="owner")
    first, second = start(cast.owner, "starter"), start(other, "starter")
    assert first != second
    for url in (first, second):
        assert stripe_house.page(url, {"email": "buyer@example.com"})[0] == 303
    rows = []
    for person in (cast.owner, other):
        look(person)
        with tenant_scope(person.tenant.id):
            row = Subscription.objects.get()
            rows.append(trial_begun(subscription_id=row.stripe_id))
            again = trial_begun(subscription_id=row.stripe_id)
            assert again == rows[-1], "safe to run twice"
        commands_send(person.tenant.id)
    assert [row and row.refused for row in rows] == ["", "owner"]
    with tenant_scope(other.tenant.id):
        assert Subscription.objects.get().status == "canceled"
        assert StripeCommand.objects.get(operation="trial_refuse").state == "done"
        assert sum(paid()) == 0
    assert entitlement_for(other.tenant.id).plan == "free"


def test_a_card_gets_no_second_trial(cast: Cast, stripe_house: Emulator) -> None:
    begun(cast.owner, stripe_house, "team", MASTERCARD)
    eve = cast.stranger
    begun(eve, stripe_house, "team", MASTERCARD)
    with tenant_scope(eve.tenant.id):
        assert TrialTaken.objects.get().refused == "card"
        assert subscription_held() is None and sum(paid()) == 0
    page = words(eve.browser.get(f"{eve.home}/billing/").content)
    assert "This card has had a trial with another organisation" in page and "Nothing was charged" in page
    row = finish(eve, stripe_house, start(eve, "team"))
    assert row.status == "active"
    assert "has had a trial" not in words(eve.browser.get(f"{eve.home}/billing/").content)


def test_a_card_that_came_after_a_trial_without_one_has_had_it(cast: Cast, stripe_house: Emulator) -> None:
    begun(cast.owner, stripe_house)
    card_added(cast.owner, stripe_house, "pm_card_amex")
    begun(cast.stranger, stripe_house, "team", AMEX)
    with tenant_scope(cast.stranger.tenant.id):
        assert TrialTaken.objects.get().refused == "card" and sum(paid()) == 0


def test_marks_cannot_be_read(cast: Cast, stripe_house: Emulator) -> None:
    mal = make_person("mal")
    begun(mal, stripe_house)
    marks = TrialMark.objects.filter(organisation=mal.tenant.id)
    assert marks.count() == 1 and all(len(mark.digest) == 64 for mark in marks)
    assert mal.user.email not in str(list(marks.values()))
