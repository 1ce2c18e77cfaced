"""Subscriptions that rest, trials that end without a card, cards that are only saved, prices by the package."""

from typing import Any

import pytest
import stripe

from tests.billing.emulated import DECLINED, GOOD, SUCCESS, Emulator

ALWAYS, NAMED_ALWAYS = "4000002760003184", "pm_card_authenticationRequired"
NAMED_ONCE = "pm_card_authenticationRequiredOnSetup"
DAY, HOUR = 86400, 3600


def now_of(emulator: Emulator, subscription: stripe.Subscription) -> stripe.Subscription:
    return emulator.v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})


def renew(emulator: Emulator, subscription: stripe.Subscription) -> stripe.Subscription:
    end = now_of(emulator, subscription)["items"].data[0].current_period_end
    emulator.advance(seconds=end - emulator.control()["now"] + 2 * HOUR)
    return now_of(emulator, subscription)


@pytest.mark.parametrize(
    ("behavior", "status"), [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
def test_while_collection_rests_nothing_is_charged(clockwork: Emulator, behavior: Any, status: str) -> None:
    subscription = clockwork.subscribe()
    clockwork.v1.subscriptions.update(subscription.id, {"pause_collection": {"behavior": behavior}})
    renewed = renew(clockwork, subscription)
    assert renewed.status == "active"
    assert renewed.latest_invoice.status == status  # type: ignore[union-attr]
    clockwork.v1.subscriptions.update(subscription.id, {"pause_collection": ""})
    again = renew(clockwork, subscription)
    assert again.pause_collection is None
    assert again.latest_invoice.status == "paid"  # type: ignore[union-attr]


def test_collection_goes_on_by_itself_when_its_day_comes(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    back = clockwork.control()["now"] + 5 * DAY
    pause: Any = {"behavior": "void", "resumes_at": back}
    assert clockwork.v1.subscriptions.update(subscription.id, {"pause_collection": pause}).pause_collection
    clockwork.advance(days=5.1)
    assert now_of(clockwork, subscription).pause_collection is None
    with pytest.raises(stripe.InvalidRequestError, match="in the future"):
        clockwork.v1.subscriptions.update(subscription.id, {"pause_collection": pause})


def test_a_paused_subscription_has_no_invoices_until_it_is_resumed(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    paused = clockwork.v1.subscriptions.pause(subscription.id, {"type": "subscription"})
    assert paused.status == "paused"
    assert paused.status_details.paused.subscription.type == "pause_requested"  # type: ignore[union-attr]
    clockwork.advance(days=70)
    assert len(clockwork.v1.invoices.list({"subscription": subscription.id}).data) == 1
    resumed = clockwork.v1.subscriptions.resume(subscription.id, {"billing_cycle_anchor": {"type": "now"}})
    assert resumed.status == "active"
    assert abs(resumed["items"].data[0].current_period_start - clockwork.control()["now"]) < 60
    assert now_of(clockwork, subscription).latest_invoice.amount_paid == 2900  # type: ignore[union-attr]
    kinds = clockwork.event_types(subscription.id)
    assert "customer.subscription.paused" in kinds
    assert "customer.subscription.resumed" in kinds
    with pytest.raises(stripe.InvalidRequestError, match="Only a paused"):
        clockwork.v1.subscriptions.resume(subscription.id)


def test_a_return_that_is_not_paid_stays_paused(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    clockwork.v1.subscriptions.pause(subscription.id, {"type": "subscription"})
    clockwork.advance(days=40)
    clockwork.control("/payments/fail", {"count": 1})
    resumed = clockwork.v1.subscriptions.resume(subscription.id, {"payment_behavior": "resume_on_payment_success"})
    assert resumed.status == "paused"
    clockwork.v1.invoices.pay(str(resumed.latest_invoice))
    assert now_of(clockwork, subscription).status == "active"
    clockwork.v1.subscriptions.pause(subscription.id, {"type": "subscription"})
    clockwork.control("/payments/fail", {"count": 1})
    assert clockwork.v1.subscriptions.resume(subscription.id).status == "past_due"


def test_within_its_period_a_return_costs_nothing(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    clockwork.v1.subscriptions.pause(subscription.id, {"type": "subscription"})
    resumed = clockwork.v1.subscriptions.resume(subscription.id, {"billing_cycle_anchor": {"type": "unchanged"}})
    assert (resumed.status, resumed.latest_invoice) == ("active", subscription.latest_invoice)


def test_unused_time_of_a_pause_is_credited(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(3000)
    clockwork.v1.subscriptions.pause(
        subscription.id, {"type": "subscription", "bill_for": {"unused_time_from": {"type": "now"}}}
    )
    waiting = clockwork.v1.invoice_items.list({"customer": str(subscription.customer), "pending": True}).data
    assert sum(item.amount for item in waiting) in range(-3000, -2995)
    resumed = clockwork.v1.subscriptions.resume(subscription.id)
    assert resumed.status == "active"


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_unused_time_of_a_plan_with_a_meter_is_credited_too(clockwork: Emulator, how: str) -> None:
    subscriptions, counting = clockwork.v1.subscriptions, {"display_name": "Calls", "event_name": f"calls_{how}"}
    summed: Any = {**counting, "default_aggregation": {"formula": "sum"}}
    meter = clockwork.v1.billing.meters.create(summed).id
    subscription = clockwork.subscribe(3000)
    calls = clockwork.price(2, recurring={"interval": "month", "usage_type": "metered", "meter": meter})
    subscriptions.update(subscription.id, {"items": [{"price": calls.id}]})
    if how == "pause":
        credit: Any = {"type": "subscription", "bill_for": {"unused_time_from": {"type": "now"}}}
        subscriptions.pause(subscription.id, credit)
    else:
        subscriptions.cancel(subscription.id, {"prorate": True})
    waiting = clockwork.v1.invoice_items.list({"customer": str(subscription.customer), "pending": True}).data
    assert sum(item.amount for item in waiting) in range(-3000, -2995)
    assert len(now_of(clockwork, subscription)["items"].data) == 2


@pytest.mark.parametrize(
    ("ending", "status"), [("cancel", "canceled"), ("pause", "paused"), ("create_invoice", "past_due")]
)
def test_a_trial_without_a_card_ends_as_it_says(clockwork: Emulator, ending: str, status: str) -> None:
    customer = clockwork.customer(card=None)
    subscription = clockwork.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": clockwork.price().id}],
            "trial_period_days": 7,
            "trial_settings": {"end_behavior": {"missing_payment_method": ending}},  # type: ignore[typeddict-item]
        }
    )
    clockwork.advance(days=4.1)
    assert "customer.subscription.trial_will_end" in clockwork.event_types(subscription.id)
    clockwork.advance(days=3.1)
    assert now_of(clockwork, subscription).status == status
    if status == "paused":
        card = clockwork.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        clockwork.v1.subscriptions.update(subscription.id, {"default_payment_method": card.id})
        assert clockwork.v1.subscriptions.resume(subscription.id).status == "active"


def test_a_trial_with_a_card_goes_on_whatever_it_says(clockwork: Emulator) -> None:
    settings: Any = {"end_behavior": {"missing_payment_method": "cancel"}}
    subscription = clockwork.subscribe(trial_period_days=7, trial_settings=settings)
    clockwork.advance(days=7.2)
    assert now_of(clockwork, subscription).status == "active"


def checkout(emulator: Emulator, **more: Any) -> stripe.checkout.Session:
    customer = emulator.v1.customers.create({"email": "buyer@example.com"})
    return emulator.v1.checkout.sessions.create({"customer": customer.id, "success_url": SUCCESS, **more})


def trial(emulator: Emulator, **more: Any) -> stripe.checkout.Session:
    line = {"price": emulator.price().id, "quantity": 1}
    data = {"trial_period_days": 7, "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}}}
    return checkout(emulator, mode="subscription", line_items=[line], subscription_data=data, **more)


def test_a_trial_starts_at_checkout_without_a_card(emulator: Emulator) -> None:
    made = trial(emulator, payment_method_collection="if_required")
    assert emulator.page(str(made.url), {"email": "buyer@example.com"})[0] == 303
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["subscription"]})
    assert (done.payment_status, done.subscription.status) == ("no_payment_required", "trialing")  # type: ignore[union-attr]
    assert done.subscription.default_payment_method is None  # type: ignore[union-attr]
    with_card = trial(emulator)
    assert emulator.page(str(with_card.url), {"email": "buyer@example.com"})[0] == 402


def test_a_card_of_a_trial_is_confirmed_at_checkout(clockwork: Emulator) -> None:
    made = trial(clockwork)
    _, _, headers = clockwork.pay(str(made.url), "4000002500003155")
    assert "/a/seti_" in headers["Location"]
    assert "saving your card" in clockwork.page(headers["Location"])[1]
    assert clockwork.page(f"{headers['Location']}/complete", {})[0] == 303
    done = clockwork.v1.checkout.sessions.retrieve(made.id, {"expand": ["subscription"]})
    assert done.subscription.pending_setup_intent is None  # type: ignore[union-attr]
    clockwork.advance(days=7.2)
    found = clockwork.v1.subscriptions.retrieve(done.subscription.id)  # type: ignore[union-attr]
    assert found.status == "active"


def test_a_card_is_saved_without_a_payment(emulator: Emulator) -> None:
    made = checkout(emulator, mode="setup", currency="usd", setup_intent_data={"metadata": {"why": "later"}})
    assert "Save card" in emulator.page(str(made.url))[1]
    assert emulator.pay(str(made.url), DECLINED)[0] == 402
    assert emulator.pay(str(made.url), GOOD)[0] == 303
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["setup_intent"]})
    intent: Any = done.setup_intent
    assert (done.status, done.payment_status, intent.status) == ("complete", "no_payment_required", "succeeded")
    assert intent.metadata["why"] == "later"
    cards = emulator.v1.payment_methods.list({"customer": str(made.customer)}).data
    assert [card.id for card in cards] == [intent.payment_method]


def test_a_card_to_confirm_is_saved_after_its_owner_did(emulator: Emulator) -> None:
    made = checkout(emulator, mode="setup", currency="usd")
    _, _, headers = emulator.pay(str(made.url), ALWAYS)
    _, _, back = emulator.page(f"{headers['Location']}/fail", {})
    assert "unable to authenticate" in emulator.page(emulator.url + back["Location"])[1]
    _, _, headers = emulator.pay(str(made.url), ALWAYS)
    assert emulator.page(f"{headers['Location']}/complete", {})[0] == 303
    assert emulator.v1.checkout.sessions.retrieve(made.id).status == "complete"


def test_a_setup_intent_by_the_api(emulator: Emulator) -> None:
    customer = emulator.customer(card=None)
    intent = emulator.v1.setup_intents.create({"customer": customer.id})
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        emulator.v1.setup_intents.confirm(intent.id)
    with pytest.raises(stripe.CardError):
        emulator.v1.setup_intents.confirm(intent.id, {"payment_method": "pm_card_chargeDeclined"})
    waiting = emulator.v1.setup_intents.confirm(intent.id, {"payment_method": NAMED_ONCE})
    assert waiting.status == "requires_action"
    emulator.control(f"/authentications/{intent.id}", {"outcome": "complete"})
    done = emulator.v1.setup_intents.retrieve(intent.id)
    assert done.status == "succeeded"
    payment = emulator.v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "customer": customer.id,
            "payment_method": str(done.payment_method),
            "off_session": True,
            "confirm": True,
        }
    )
    assert payment.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        emulator.v1.setup_intents.cancel(intent.id)
    other = emulator.v1.setup_intents.create({"customer": customer.id})
    assert emulator.v1.setup_intents.cancel(other.id).status == "canceled"
    assert len(emulator.v1.setup_intents.list({"customer": customer.id}).data) == 2


@pytest.mark.parametrize(("how", "quantity", "total"), [("up", 1001, 600), ("down", 1999, 300), ("up", 1000, 300)])
def test_a_price_by_the_package(emulator: Emulator, how: Any, quantity: int, total: int) -> None:
    price = emulator.price(300, transform_quantity={"divide_by": 1000, "round": how})
    items: Any = [{"price": price.id, "quantity": quantity}]
    made = emulator.v1.subscriptions.create({"customer": emulator.customer().id, "items": items})
    assert emulator.v1.invoices.retrieve(str(made.latest_invoice)).total == total
    once = emulator.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 300,
            "product": str(price.product),
            "transform_quantity": {"divide_by": 1000, "round": how},
        }
    )
    item = emulator.v1.invoice_items.create(
        {"customer": str(made.customer), "pricing": {"price": once.id}, "quantity": quantity}
    )
    assert item.amount == total


def test_a_package_that_cannot_be_is_refused(emulator: Emulator) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="at least 1"):
        emulator.price(300, transform_quantity={"divide_by": 0, "round": "up"})
