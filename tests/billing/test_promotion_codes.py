"""Promotion codes that are abused: each is refused in words that say why, and nothing is bought."""

import datetime as dt
import itertools
from typing import Any

import pytest

from billing.errors import PromotionRefused
from billing.models import Subscription, TrialTaken
from billing.selectors.subscriptions import customer_current
from billing.services import promotion_codes
from billing.services.catalogue import catalogue_push
from billing.services.commands import command_finish, commands_send
from billing.services.subscriptions import checkout_start
from billing.services.sync import customer_sync
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.commanded import asked, customer_made
from tests.billing.emulated import CANCEL, SUCCESS, Emulator
from tests.billing.test_plan_pages import words
from tests.billing.test_plan_ways import buy, finish, paid
from tests.billing.test_trials import begun
from tests.conftest import Cast, Person

OTHER_CARD = "6011111111111117"
"""A card that no other test has a trial with: marks are of all organisations, and stay."""

NAMES = (f"OFFER{n}" for n in itertools.count(1))


def coupon(emulator: Emulator, **more: Any) -> str:
    """A quarter off the first invoice."""
    return emulator.v1.coupons.create({"percent_off": 25, "duration": "once", **more}).id  # type: ignore[typeddict-item]


def offered(emulator: Emulator, coupon_id: str = "", **more: Any) -> str:
    """A code of its own for each test."""
    code = next(NAMES)
    promotion = {"type": "coupon", "coupon": coupon_id or coupon(emulator)}
    emulator.v1.promotion_codes.create({"code": code, "promotion": promotion, **more})  # type: ignore[typeddict-item]
    return code


def go(person: Person, code: str, plan: str = "developer") -> str:
    """Where the buyer goes with a code."""
    write = lambda: checkout_start(plan=plan, success_url=SUCCESS, cancel_url=CANCEL, code=code)
    command = asked(person.tenant.id, write)
    assert command.answer is not None
    return str(command.answer["url"])


def refused(person: Person, code: str, words: str, plan: str = "developer") -> None:
    """And nothing was begun."""
    with pytest.raises(PromotionRefused, match=words):
        go(person, code, plan)


def left(person: Person, emulator: Emulator) -> None:
    """The plan has ended, and may be bought again."""
    with tenant_scope(person.tenant.id):
        emulator.v1.subscriptions.cancel(Subscription.objects.get(status="active").stripe_id)
        customer = customer_current()
        assert customer is not None
        customer_sync(customer=customer)


def test_a_code_takes_off_what_it_says_however_it_is_typed(cast: Cast, stripe_house: Emulator) -> None:
    code = offered(stripe_house)
    url = go(cast.owner, f"  {code.lower()} ")
    assert "$21.75" in stripe_house.page(url)[1]
    assert "Promotion code" not in stripe_house.page(url)[1], "no second one on top"
    current = finish(cast.owner, stripe_house, url)
    with tenant_scope(cast.owner.tenant.id):
        assert paid() == [2_175]
    assert current.raw["metadata"]["promotion"] == code


@pytest.mark.parametrize("typed", ["NOSUCHCODE", "nosuchcode"])
def test_a_code_that_does_not_exist(cast: Cast, stripe_house: Emulator, typed: str) -> None:
    refused(cast.owner, typed, "No promotion code is called NOSUCHCODE")


@pytest.mark.parametrize("typed", ["'; DROP TABLE", "A B", "\x00", "ÄÖÜ", "A" * 41, "<b>"])
def test_what_can_be_no_code(cast: Cast, stripe_house: Emulator, typed: str) -> None:
    refused(cast.owner, typed, "letters, digits and dashes only, 40 at most")


def test_a_code_that_is_over(cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = now() + dt.timedelta(days=2)
    code = offered(stripe_house, expires_at=int(ends.timestamp()))
    monkeypatch.setattr(promotion_codes, "now", lambda: ends + dt.timedelta(days=1))
    refused(cast.owner, code, f"The promotion code {code} is over: it could be used until {ends:%-d %B %Y}")


def test_a_code_whose_coupon_is_over(cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = now() + dt.timedelta(days=2)
    code = offered(stripe_house, coupon(stripe_house, redeem_by=int(ends.timestamp())))
    monkeypatch.setattr(promotion_codes, "now", lambda: ends + dt.timedelta(days=1))
    refused(cast.owner, code, "is over")


def test_a_code_that_is_used_up(cast: Cast, stripe_house: Emulator) -> None:
    code = offered(stripe_house, max_redemptions=1)
    late = go(cast.stranger, code)
    finish(cast.owner, stripe_house, go(cast.owner, code))
    assert stripe_house.pay(late)[0] == 400, "a page that was open meanwhile is refused there"
    refused(cast.stranger, code, f"The promotion code {code} is used up")


def test_a_code_that_was_switched_off(cast: Cast, stripe_house: Emulator) -> None:
    code = offered(stripe_house)
    (found,) = stripe_house.v1.promotion_codes.list({"code": code}).data
    stripe_house.v1.promotion_codes.update(found.id, {"active": False})
    refused(cast.owner, code, "is no longer given")


def test_a_code_for_a_first_purchase(cast: Cast, stripe_house: Emulator) -> None:
    code = offered(stripe_house, restrictions={"first_time_transaction": True})
    buy(cast.owner, stripe_house)
    left(cast.owner, stripe_house)
    refused(cast.owner, code, "is for a first purchase, and this organisation has paid before")
    assert "$21.75" in stripe_house.page(go(cast.stranger, code))[1]


def test_a_code_that_is_tried_twice(cast: Cast, stripe_house: Emulator) -> None:
    code = offered(stripe_house)
    finish(cast.owner, stripe_house, go(cast.owner, code))
    left(cast.owner, stripe_house)
    refused(cast.owner, code.lower(), f"The promotion code {code} was used by this organisation before")
    url = go(cast.owner, "")
    assert "Promotion code" not in stripe_house.page(url)[1], "nor on Stripe's page, which would not ask"
    assert stripe_house.page(f"{url}/promotion", {"code": code})[0] != 303


def test_a_code_of_a_trial_that_was_refused_is_still_there(cast: Cast, stripe_house: Emulator) -> None:
    code = offered(stripe_house)
    begun(cast.owner, stripe_house, "team", OTHER_CARD)
    eve = cast.stranger
    session = stripe_house.pay(go(eve, code, "team"), OTHER_CARD)[2]["Location"].split("session=")[1]
    eve.browser.get(f"{eve.home}/billing/", {"session_id": session})
    commands_send(eve.tenant.id)
    with tenant_scope(eve.tenant.id):
        assert TrialTaken.objects.get().refused == "card" and not sum(paid())
        assert Subscription.objects.get().raw["metadata"]["promotion"] == code
    finish(eve, stripe_house, go(eve, code, "team"))
    with tenant_scope(eve.tenant.id):
        assert paid()[-1] == 19_900 * 3 // 4
    left(eve, stripe_house)
    refused(eve, code, "was used by this organisation before", "team")


def test_a_code_of_somebody_else(cast: Cast, stripe_house: Emulator) -> None:
    code = offered(stripe_house, customer=customer_made(cast.stranger.tenant.id))
    refused(cast.owner, code, "is for another organisation")
    assert "$21.75" in stripe_house.page(go(cast.stranger, code))[1]


def test_a_code_in_another_currency(cast: Cast, stripe_house: Emulator) -> None:
    made = stripe_house.v1.coupons.create({"amount_off": 500, "currency": "eur", "duration": "once"}).id
    refused(cast.owner, offered(stripe_house, made), "is for payments in EUR, and this plan is paid in USD")
    least = {"minimum_amount": 100, "minimum_amount_currency": "eur"}
    refused(cast.owner, offered(stripe_house, restrictions=least), "is for payments in EUR")


def test_a_code_for_another_plan(cast: Cast, stripe_house: Emulator) -> None:
    catalogue_push()
    code = offered(stripe_house, coupon(stripe_house, applies_to={"products": ["tunesmith_team"]}))
    refused(cast.owner, code, "is not for the plan Developer; it is for Team")


def test_the_plan_page_takes_a_code_and_says_why_not(cast: Cast, stripe_house: Emulator) -> None:
    ada, code = cast.owner, offered(stripe_house)
    assert b'name="code"' in ada.browser.get(f"{ada.home}/billing/").content
    form = {"plan": "developer", "interval": "month"}
    no = ada.browser.post(f"{ada.home}/billing/checkout", {**form, "code": "NOSUCH"}, follow=True)
    assert no.status_code < 500 and "No promotion code is called NOSUCH" in words(no.content)
    answer = ada.browser.post(f"{ada.home}/billing/checkout", {**form, "code": code})
    assert answer.status_code == 302
    assert "$21.75" in stripe_house.page(answer["Location"])[1]


def test_a_customer_of_another_currency_is_refused_in_words(cast: Cast, stripe_house: Emulator) -> None:
    customer = customer_made(cast.owner.tenant.id)
    method = stripe_house.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    price = stripe_house.price(currency="eur")
    stripe_house.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": price.id}], "default_payment_method": method.id}
    )
    with tenant_scope(cast.owner.tenant.id):
        command = checkout_start(plan="developer", success_url=SUCCESS, cancel_url=CANCEL)
    with pytest.raises(Exception, match="pays in EUR since its first purchase, and the plan is sold in USD"):
        command_finish(command)
