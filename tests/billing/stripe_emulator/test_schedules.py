"""Subscription schedules: phases that follow one another."""

import time
from typing import Any

import pytest
import stripe

from tests.billing.emulated import Emulator

DAY = 86400
MONTH = {"interval": "month", "interval_count": 1}


def planned(emulator: Emulator, phases: list[Any], card: str | None = "pm_card_visa", **more: Any) -> Any:
    given: Any = {"customer": emulator.customer(card).id, "start_date": "now", "phases": phases, **more}
    return emulator.v1.subscription_schedules.create(given)


def phase(price: str, **more: Any) -> dict[str, Any]:
    return {"items": [{"price": price, "quantity": 1}], "duration": MONTH, **more}


def totals(emulator: Emulator, subscription: str) -> list[int]:
    return [invoice.total for invoice in emulator.v1.invoices.list({"subscription": subscription}).data][::-1]


def test_phases_are_billed_one_after_the_other_and_then_it_goes_on(clockwork: Emulator) -> None:
    small, big = clockwork.price(1000).id, clockwork.price(5000).id
    made = planned(clockwork, [phase(small), phase(big)], end_behavior="release")
    subscription = made.subscription
    assert clockwork.v1.subscriptions.retrieve(subscription).schedule == made.id
    clockwork.advance(days=100)
    assert totals(clockwork, subscription) == [1000, 5000, 5000, 5000]
    found = clockwork.v1.subscription_schedules.retrieve(made.id)
    assert (found.status, found.released_subscription, found.subscription) == ("released", subscription, None)
    assert clockwork.v1.subscriptions.retrieve(subscription).schedule is None


def test_it_can_end_with_the_last_phase(clockwork: Emulator) -> None:
    made = planned(clockwork, [phase(clockwork.price(1000).id)], end_behavior="cancel")
    clockwork.advance(days=40)
    assert clockwork.v1.subscription_schedules.retrieve(made.id).status == "completed"
    assert clockwork.v1.subscriptions.retrieve(made.subscription).status == "canceled"
    assert totals(clockwork, made.subscription) == [1000]


def test_a_later_start_makes_the_subscription_then(clockwork: Emulator) -> None:
    start = clockwork.control()["now"] + 10 * DAY
    setup = clockwork.v1.prices.create({"currency": "usd", "unit_amount": 300, "product_data": {"name": "Setup"}}).id
    first = phase(clockwork.price(1000).id, add_invoice_items=[{"price": setup}], metadata={"plan": "x"})
    made = planned(clockwork, [first], start_date=start)
    assert (made.status, made.subscription) == ("not_started", None)
    clockwork.advance(days=11)
    found = clockwork.v1.subscription_schedules.retrieve(made.id)
    subscription = clockwork.v1.subscriptions.retrieve(str(found.subscription))
    assert (found.status, subscription.start_date, subscription.status) == ("active", start, "active")
    assert subscription.metadata.to_dict() == {"plan": "x"}
    assert totals(clockwork, subscription.id) == [1300]


def test_a_running_subscription_is_given_one_for_its_next_price(clockwork: Emulator) -> None:
    old, new = clockwork.price(1000).id, clockwork.price(2500).id
    running = clockwork.v1.subscriptions.create({"customer": clockwork.customer().id, "items": [{"price": old}]})
    made = clockwork.v1.subscription_schedules.create({"from_subscription": running.id})
    assert [item.price for item in made.phases[0]["items"]] == [old]
    kept = {"items": [{"price": old}], "start_date": made.phases[0].start_date, "end_date": made.phases[0].end_date}
    phases: Any = [kept, phase(new)]
    clockwork.v1.subscription_schedules.update(made.id, {"phases": phases})
    clockwork.advance(days=32)
    assert totals(clockwork, running.id) == [1000, 2500]
    with pytest.raises(stripe.InvalidRequestError, match="ended, or has a schedule"):
        clockwork.v1.subscription_schedules.create({"from_subscription": running.id})


def test_a_change_of_the_present_phase_holds_at_once(clockwork: Emulator) -> None:
    old, new = clockwork.price(1000).id, clockwork.price(3000).id
    made = planned(clockwork, [phase(old)])
    clockwork.advance(days=15)
    changed: Any = [{**phase(new), "start_date": made.phases[0].start_date}]
    clockwork.v1.subscription_schedules.update(made.id, {"phases": changed, "proration_behavior": "always_invoice"})
    found = totals(clockwork, made.subscription)
    assert found[0] == 1000
    assert 900 < found[1] < 1100


def test_canceling_the_subscription_ends_the_schedule(emulator: Emulator) -> None:
    made = planned(emulator, [phase(emulator.price().id), phase(emulator.price().id)])
    emulator.v1.subscriptions.cancel(made.subscription)
    found = emulator.v1.subscription_schedules.retrieve(made.id)
    assert found.status == "canceled"
    for move in (emulator.v1.subscription_schedules.release, emulator.v1.subscription_schedules.cancel):
        with pytest.raises(stripe.InvalidRequestError, match="canceled"):
            move(made.id)


def test_a_price_that_sleeps_meanwhile_holds_as_agreed(clockwork: Emulator) -> None:
    small, big = clockwork.price(1000).id, clockwork.price(5000).id
    made = planned(clockwork, [phase(small), phase(big)])
    clockwork.v1.prices.update(big, {"active": False})
    clockwork.advance(days=32)
    assert totals(clockwork, made.subscription) == [1000, 5000]


def test_a_phase_that_cannot_begin_ends_the_schedule_and_not_the_subscription(clockwork: Emulator) -> None:
    off = clockwork.v1.coupons.create({"percent_off": 50})
    price = clockwork.price(1000).id
    made = planned(clockwork, [phase(price), phase(price, discounts=[{"coupon": off.id}])])
    clockwork.v1.coupons.delete(off.id)
    clockwork.advance(days=32)
    assert clockwork.v1.subscription_schedules.retrieve(made.id).status == "canceled"
    assert "subscription_schedule.aborted" in clockwork.event_types(made.id)
    assert clockwork.v1.subscriptions.retrieve(made.subscription).status == "active"
    assert totals(clockwork, made.subscription) == [1000, 1000]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_date": 1_000_000_000},
        {"end_behavior": "renew"},
        {"phases": []},
        {"phases": [{"items": []}]},
        {"phases": [{"items": [{"price": "price_nobody"}]}]},
        {"phases": [{"items": [{"price": "PRICE"}], "end_date": 5}]},
        {"phases": [{"items": [{"price": "PRICE"}], "end_date": int(time.time()) + DAY, "duration": MONTH}]},
        {"phases": [{"items": [{"price": "PRICE", "quantity": -1}]}]},
    ],
)
def test_a_schedule_that_cannot_be_is_refused(emulator: Emulator, wrong: Any) -> None:
    price = emulator.price().id
    for one in wrong.get("phases", []):
        one["items"] = [
            {**item, "price": price if item["price"] == "PRICE" else item["price"]} for item in one["items"]
        ]
    with pytest.raises(stripe.InvalidRequestError):
        planned(emulator, **{"phases": [phase(price)], **wrong})
