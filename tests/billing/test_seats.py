"""Seats: shown, bought with the price before the click, given back, and kept by a change of the plan."""

import datetime as dt
import re

import pytest

from billing.errors import CardRefused, ChangePending
from billing.models import StripeCommand, SubscriptionChange
from billing.plans import plan_book
from billing.selectors.bills import invoice_preview
from billing.selectors.items import interval_of, items_of, plan_item, seat_item
from billing.selectors.recurring import worth_nano
from billing.selectors.seats import seats_now
from billing.selectors.subscriptions import entitlement_for, subscription_current
from billing.services import reconcile
from billing.services.commands import command_finish, commands_send
from billing.services.entitlements import override_set
from billing.services.seats import seats_change, seats_preview
from billing.services.subscriptions import plan_change, plan_preview
from billing.stripe_port import stripe_port
from kit.errors import BadRequest, Conflict
from kit.money import NANO
from tenants.scope import tenant_scope
from tests.billing.commanded import asked
from tests.billing.emulated import Emulator
from tests.billing.test_plan_pages import words
from tests.billing.test_plan_ways import buy, paid, sync
from tests.billing.test_trials import begun, ended
from tests.conftest import Cast, Person

INCLUDED = plan_book().latest("developer").limits.members


def have(person: Person, seats: int) -> None:
    """Buy or give back, at the price of its preview."""
    with tenant_scope(person.tenant.id):
        said = seats_preview(seats=seats)()
        before = sum(paid())
    asked(person.tenant.id, lambda: seats_change(seats=seats, at=said["at"]))
    with tenant_scope(person.tenant.id):
        assert sum(paid()) - before == said["total"], "what was shown is what is charged"
        assert seats_now().bought == seats


def invited(person: Person, number: int) -> None:
    """Open invitations."""
    for n in range(number):
        form = {"email": f"new{n}@example.com", "role": "viewer"}
        assert person.browser.post(f"{person.home}/members", form).status_code == 302


def test_seats_are_charged_as_shown_and_make_room_at_once(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    have(ada, 3)
    with tenant_scope(ada.tenant.id):
        assert 2_600 < paid()[-1] <= 2_700, "the rest of the month of three seats of $9"
        assert entitlement_for(ada.tenant.id).limits.members == INCLUDED + 3
        assert invoice_preview().seats_cents == 2_700
        last = SubscriptionChange.objects.order_by("-at").first()
        assert last is not None
        assert (last.plan, last.plan_version, last.seats, last.extra_seats) == ("developer", 6, 1, 3)
    with pytest.raises(Conflict, match="3 bought seats already"), tenant_scope(ada.tenant.id):
        seats_change(seats=3)


def test_seats_given_back_are_credited_as_shown(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    have(ada, 3)
    with tenant_scope(ada.tenant.id):
        said = seats_preview(seats=0)()
        assert (said["total"], 2_600 < said["credit"] <= 2_700) == (0, True)
    have(ada, 0)
    with tenant_scope(ada.tenant.id):
        current = subscription_current()
        assert current is not None
        assert seat_item(items_of(current.raw)) is None and current.plan == "developer"
        assert entitlement_for(ada.tenant.id).limits.members == INCLUDED
        customer = stripe_house.v1.customers.retrieve(current.raw["customer"])
        assert customer.balance == -said["credit"]


@pytest.mark.parametrize("interval", ["month", "year"])
def test_an_upgrade_keeps_the_seats_and_charges_what_its_preview_said(
    cast: Cast, stripe_house: Emulator, interval: str
) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    have(ada, 2)
    with tenant_scope(ada.tenant.id):
        said, before = plan_preview(plan="team", interval=interval)(), sum(paid())
    asked(ada.tenant.id, lambda: plan_change(plan="team", interval=interval, at=said["at"]))
    team = plan_book().latest("team")
    with tenant_scope(ada.tenant.id):
        current = subscription_current()
        assert current is not None
        assert (current.plan, current.plan_version, interval_of(current)) == ("team", team.version, interval)
        assert seats_now().bought == 2 and seats_now().price_cents == team.seat_price(interval)
        assert sum(paid()) - before == said["total"]
        assert entitlement_for(ada.tenant.id).limits.members == team.limits.members + 2


def test_the_plan_is_found_wherever_stripe_lists_it(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    current = buy(ada, stripe_house)
    have(ada, 2)
    with tenant_scope(ada.tenant.id):
        current.refresh_from_db()
        turned = {"data": items_of(current.raw)[::-1]}
        current.raw = {**current.raw, "items": turned}
        current.save()
        assert seats_now().bought == 2 and interval_of(current) == "month"
        found = plan_item(items_of(current.raw))
        assert found is not None and found["price"]["id"] == current.price_id
    asked(ada.tenant.id, lambda: plan_change(plan="team"))
    with tenant_scope(ada.tenant.id):
        sync(current)
        assert seats_now().bought == 2 and entitlement_for(ada.tenant.id).plan == "team"


@pytest.mark.parametrize("plan", ["developer", "team"])
def test_paid_seats_stay_beside_a_plan_that_staff_granted(cast: Cast, stripe_house: Emulator, plan: str) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    have(ada, 2)
    granted, developer = plan_book().latest(plan), plan_book().latest("developer")
    with tenant_scope(ada.tenant.id):
        override_set(plan=plan, reason="a trial of more", created_by="staff")
        assert entitlement_for(ada.tenant.id).subscription == "", "the plan rests on what was granted"
        assert entitlement_for(ada.tenant.id).limits.members == granted.limits.members + 2
        seats = seats_now()
        assert (seats.plan, seats.bought, seats.included) == (granted, 2, granted.limits.members)
        assert seats.price_cents == developer.seat_price("month"), "charged with the plan that is paid"
    have(ada, 3)
    assert "Bought 3" in words(ada.browser.get(f"{ada.home}/billing/seats").content)


def test_mrr_counts_seats(cast: Cast) -> None:
    assert worth_nano("usd", "active", "developer", 5, "month", 1, 3) == (29 + 3 * 9) * NANO
    assert worth_nano("usd", "active", "developer", 5, "year", 1, 3) == round((290 + 3 * 90) * NANO / 12)
    assert worth_nano("usd", "active", "developer", 4, "month", 1, 3) is None, "that version never sold seats"
    assert worth_nano("usd", "canceled", "developer", 5, "month", 1, 3) == 0


def test_the_daily_comparison_tells_seats_that_differ(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "ON_ITS_WAY", dt.timedelta(days=-30))  # what is new counts
    ada = cast.owner
    current = buy(ada, stripe_house)
    have(ada, 1)
    with tenant_scope(ada.tenant.id):
        current.refresh_from_db()
        item = seat_item(items_of(current.raw))
        assert item is not None
        item["quantity"] = 4
        current.save()
    owners = {str(current.raw["customer"]): ada.tenant.id}
    (mine,) = [one for one in reconcile._subscriptions(owners) if one.object == current.stripe_id]
    assert mine.kind == "stripe.subscription_differs"
    assert mine.expected.endswith("and 1 seats") and mine.found.endswith("and 4 seats")


def test_seats_in_use_cannot_be_given_back(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    have(ada, 4)
    with tenant_scope(ada.tenant.id):
        members = seats_now().members
    invited(ada, INCLUDED + 2 - members)
    with tenant_scope(ada.tenant.id):
        assert seats_now().least == 2
        with pytest.raises(Conflict, match=rf"{INCLUDED + 2} seats are in use .* at least 2 bought seats must stay"):
            seats_preview(seats=1)
        with pytest.raises(Conflict, match="withdraw an invitation"):
            seats_change(seats=0)
    have(ada, 2)


def test_an_invitation_above_the_seats_says_what_to_do(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        members = seats_now().members
    invited(ada, INCLUDED - members)
    page = f"{ada.home}/members"
    form = {"email": "one-more@example.com", "role": "viewer"}
    refused = ada.browser.post(page, form)
    assert refused.status_code == 422
    assert f"You have {INCLUDED} seats" in words(refused.content)
    assert "add seats under Billing, Seats" in words(refused.content)
    have(ada, 1)
    assert ada.browser.post(page, form).status_code == 302


def test_no_one_is_invited_to_a_seat_that_is_being_given_back(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    have(ada, 1)
    with tenant_scope(ada.tenant.id):
        invite = INCLUDED - seats_now().members
    invited(ada, invite)
    with tenant_scope(ada.tenant.id):
        seats_change(seats=0)
        with pytest.raises(ChangePending):
            seats_change(seats=3)
    refused = ada.browser.post(f"{ada.home}/members", {"email": "late@example.com", "role": "viewer"})
    assert refused.status_code == 422 and f"You have {INCLUDED} seats" in words(refused.content)


def test_a_refused_card_leaves_the_seats_as_they_were(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    current = buy(ada, stripe_house)
    stripe_house.control("/payments/fail", {"decline_code": "insufficient_funds"})
    with pytest.raises(CardRefused, match="insufficient funds"):
        asked(ada.tenant.id, lambda: seats_change(seats=5))
    with tenant_scope(ada.tenant.id):
        sync(current)
        assert seats_now().bought == 0
        assert entitlement_for(ada.tenant.id).limits.members == INCLUDED


@pytest.mark.parametrize("seats", [-1, 1_001, 2**70])
def test_a_number_of_seats_that_cannot_be_is_refused(cast: Cast, stripe_house: Emulator, seats: int) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest, match="from 0 to 1,000"):
        seats_change(seats=seats)


def test_a_plan_without_seats_to_buy_says_so(cast: Cast, stripe_house: Emulator) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(Conflict, match="Take a plan that sells more"):
        seats_change(seats=1)


def test_the_seats_page_shows_the_price_and_charges_it_once(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    page, change = f"{ada.home}/billing/seats", f"{ada.home}/billing/seats/change"
    assert f"Included in Developer {INCLUDED}" in words(ada.browser.get(page).content)
    preview = ada.browser.get(f"{change}?seats=2")
    assert preview.status_code == 200
    said = words(preview.content)
    assert "Bought seats 0 2" in said and "Their price a month $0 $18" in said
    shown = re.search(r"Charged now, before tax \$([\d.]+)", said)
    pin = re.search(r'name="pin" value="([^"]+)"', preview.content.decode())
    assert shown and pin
    assert ada.browser.post(change, {"pin": "forged"}).status_code == 409
    answer = ada.browser.post(change, {"pin": pin[1]}, follow=True)
    assert "There are now 2 bought seats." in words(answer.content)
    assert ada.browser.post(change, {"pin": pin[1]}).status_code == 409, "the price shown was of other seats"
    with tenant_scope(ada.tenant.id):
        assert f"{paid()[-1] / 100:.2f}" == shown[1]
        assert StripeCommand.objects.filter(operation="seats_change").count() == 1
    assert "Bought seats $18.00" in words(ada.browser.get(f"{ada.home}/billing/").content)
    for wanted in ("", "x", "-1", "2.5", "99999", "2"):
        assert ada.browser.get(change, {"seats": wanted}).status_code == 422


def test_a_price_that_was_shown_holds_for_what_it_was_of(cast: Cast, stripe_house: Emulator) -> None:
    ada, eve = cast.owner, cast.stranger
    current = buy(ada, stripe_house)
    buy(eve, stripe_house)
    change = f"{ada.home}/billing/seats/change"

    def pin(person: Person) -> str:
        shown = person.browser.get(f"{person.home}/billing/seats/change?seats=2").content.decode()
        found = re.search(r'name="pin" value="([^"]+)"', shown)
        assert found
        return found[1]

    assert ada.browser.post(change, {"pin": pin(eve)}).status_code == 409, "shown to another organisation"
    mine = pin(ada)
    with tenant_scope(ada.tenant.id):
        current.status = "trialing"  # nothing would be prorated now
        current.save()
    answer = ada.browser.post(change, {"pin": mine})
    assert answer.status_code == 409 and b"changed since the price was shown" in answer.content
    with tenant_scope(ada.tenant.id):
        sync(current)
    asked(ada.tenant.id, lambda: plan_change(plan="team"))
    assert ada.browser.post(change, {"pin": mine}).status_code == 409, "seats of another plan have another price"
    with tenant_scope(ada.tenant.id):
        assert not StripeCommand.objects.filter(operation="seats_change").exists()


def test_seats_in_a_trial_cost_nothing_until_it_ends(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    begun(ada, stripe_house)
    have(ada, 2)
    with tenant_scope(ada.tenant.id):
        assert sum(paid()) == 0 and invoice_preview().total_cents == 0 and invoice_preview().trial
        current = subscription_current()
        assert current is not None
        upcoming = stripe_port().upcoming_fetch(current.stripe_id)
    assert upcoming is not None and upcoming["total"] == 900 + 2 * 900
    assert "goes on for $27 a month" in words(ada.browser.get(f"{ada.home}/billing/").content)
    ended(ada, current, "paused")
    assert "it goes on for $27 a month" in words(ada.browser.get(f"{ada.home}/billing/").content), "also where it rests"


def test_a_page_shows_what_is_so_when_the_worker_was_faster(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        command = seats_change(seats=2)
    commands_send(ada.tenant.id)
    with tenant_scope(ada.tenant.id):  # as if it had not come to fetching what follows
        current = subscription_current()
        assert current is not None
        current.raw = {**current.raw, "items": {"data": items_of(current.raw)[:1]}}
        current.save()
        assert seats_now().bought == 0
    command_finish(command)
    with tenant_scope(ada.tenant.id):
        assert seats_now().bought == 2
