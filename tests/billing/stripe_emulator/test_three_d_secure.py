"""Cards whose owner must confirm: at checkout, on an upgrade, on a renewal."""

import pytest
import stripe

from tests.billing.emulated import BROKE, GOOD, SUCCESS, Emulator

ALWAYS, ONCE = "4000002760003184", "4000002500003155"
NAMED_ALWAYS, NAMED_ONCE = "pm_card_authenticationRequired", "pm_card_authenticationRequiredOnSetup"
NAMED_BROKE = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"
HOUR, DAY = 3600, 86400


def intent_of(emulator: Emulator, subscription_id: str) -> stripe.PaymentIntent:
    found = emulator.v1.subscriptions.retrieve(
        subscription_id, {"expand": ["latest_invoice.payments.data.payment.payment_intent"]}
    )
    return found.latest_invoice.payments.data[0].payment.payment_intent  # type: ignore[union-attr,return-value]


def page_of(intent: stripe.PaymentIntent) -> str:
    action = intent.next_action
    assert action is not None
    if action.type == "redirect_to_url":
        return str(action.redirect_to_url.url)  # type: ignore[union-attr]
    return str(action.use_stripe_sdk["stripe_js"])  # type: ignore[index]


def confirm(emulator: Emulator, subscription_id: str, deed: str = "complete") -> tuple[int, str, dict[str, str]]:
    return emulator.page(f"{page_of(intent_of(emulator, subscription_id))}/{deed}", {})


def to_renewal(emulator: Emulator, subscription: stripe.Subscription) -> stripe.Subscription:
    end = subscription["items"].data[0].current_period_end
    emulator.advance(seconds=end - emulator.control()["now"] + 2 * HOUR)
    return emulator.v1.subscriptions.retrieve(subscription.id)


def upgrade(emulator: Emulator, subscription: stripe.Subscription, behavior: str) -> stripe.Subscription:
    return emulator.v1.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": subscription["items"].data[0].id, "price": emulator.price(9000).id}],
            "proration_behavior": "always_invoice",
            "payment_behavior": behavior,  # type: ignore[typeddict-item]
        },
    )


def confirmed_subscription(emulator: Emulator, card: str = NAMED_ALWAYS) -> stripe.Subscription:
    subscription = emulator.subscribe(3000, card=card)
    confirm(emulator, subscription.id)
    return emulator.v1.subscriptions.retrieve(subscription.id)


def test_a_payment_waits_until_its_owner_confirms(emulator: Emulator) -> None:
    intent = emulator.v1.payment_intents.create(
        {
            "amount": 900,
            "currency": "usd",
            "payment_method": NAMED_ALWAYS,
            "confirm": True,
            "return_url": "http://localhost:8000/back?a=1",
        }
    )
    assert (intent.status, intent.amount_received) == ("requires_action", 0)
    status, text, headers = emulator.page(page_of(intent))
    assert (status, "$9.00" in text, "ending in 3184" in text) == (200, True, True)
    assert "form-action 'self' http://localhost:8000;" in headers["Content-Security-Policy"]
    status, _, headers = emulator.page(f"{page_of(intent)}/complete", {})
    assert status == 303
    assert headers["Location"].startswith(f"http://localhost:8000/back?a=1&payment_intent={intent.id}")
    assert headers["Location"].endswith("redirect_status=succeeded")
    done = emulator.v1.payment_intents.retrieve(intent.id)
    assert (done.status, done.amount_received, done.next_action) == ("succeeded", 900, None)
    kinds = emulator.event_types(intent.id)
    assert kinds == ["payment_intent.created", "payment_intent.requires_action", "payment_intent.succeeded"]
    assert emulator.page(f"{page_of(intent)}/complete", {})[0] == 400


def test_an_owner_who_does_not_confirm_leaves_it_unpaid(emulator: Emulator) -> None:
    intent = emulator.v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": NAMED_ALWAYS, "confirm": True}
    )
    emulator.page(f"{page_of(intent)}/fail", {})
    found = emulator.v1.payment_intents.retrieve(intent.id)
    assert (found.status, found.payment_method) == ("requires_payment_method", None)
    assert found.last_payment_error.code == "payment_intent_authentication_failure"  # type: ignore[union-attr]
    again = emulator.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert again.status == "succeeded"


def test_a_wrong_secret_opens_no_page(emulator: Emulator) -> None:
    intent = emulator.v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": NAMED_ALWAYS, "confirm": True}
    )
    assert emulator.page(f"{emulator.url}/a/{intent.id}/abc")[0] == 404
    assert emulator.page(f"{emulator.url}/a/{intent.id}/abc/complete", {})[0] == 404


@pytest.mark.parametrize("more", [{"off_session": True}, {"error_on_requires_action": True}])
def test_without_its_owner_the_card_is_refused(emulator: Emulator, more: dict[str, bool]) -> None:
    customer = emulator.customer(NAMED_ALWAYS)
    method = emulator.v1.payment_methods.list({"customer": customer.id}).data[0]
    with pytest.raises(stripe.CardError) as caught:
        emulator.v1.payment_intents.create(
            {
                "amount": 900,
                "currency": "usd",
                "customer": customer.id,
                "payment_method": method.id,
                "confirm": True,
                **more,  # type: ignore[typeddict-item]
            }
        )
    assert caught.value.code == "authentication_required"
    assert caught.value.json_body["error"]["decline_code"] == "authentication_required"


def test_a_card_set_up_once_is_charged_without_its_owner_from_then_on(emulator: Emulator) -> None:
    customer = emulator.customer(card=None)
    first: stripe.params.PaymentIntentCreateParams = {"amount": 900, "currency": "usd", "customer": customer.id}
    made = emulator.v1.payment_intents.create(
        {**first, "payment_method": NAMED_ONCE, "confirm": True, "setup_future_usage": "off_session"}
    )
    emulator.control(f"/authentications/{made.id}", {"outcome": "complete"})
    method = str(emulator.v1.payment_intents.retrieve(made.id).payment_method)
    emulator.v1.payment_methods.attach(method, {"customer": customer.id})
    later = emulator.v1.payment_intents.create(
        {**first, "payment_method": method, "confirm": True, "off_session": True}
    )
    assert later.status == "succeeded"


def test_a_bank_may_refuse_after_the_yes(emulator: Emulator) -> None:
    intent = emulator.v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": NAMED_BROKE, "confirm": True}
    )
    emulator.page(f"{page_of(intent)}/complete", {})
    found = emulator.v1.payment_intents.retrieve(intent.id)
    assert found.status == "requires_payment_method"
    assert found.last_payment_error.decline_code == "insufficient_funds"  # type: ignore[union-attr]
    assert found.last_payment_error.message == "Your card has insufficient funds."  # type: ignore[union-attr]


def checkout(emulator: Emulator, **more: object) -> stripe.checkout.Session:
    customer = emulator.v1.customers.create({"email": "buyer@example.com"})
    return emulator.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": customer.id,
            "line_items": [{"price": emulator.price().id, "quantity": 1}],
            "success_url": SUCCESS,
            **more,  # type: ignore[typeddict-item]
        }
    )


def test_checkout_sends_the_buyer_to_his_bank_and_back(emulator: Emulator) -> None:
    made = checkout(emulator)
    status, _, headers = emulator.pay(str(made.url), ALWAYS)
    assert status == 303
    assert "/a/pi_" in headers["Location"]
    waiting = emulator.v1.checkout.sessions.retrieve(made.id)
    assert (waiting.status, waiting.payment_status, waiting.subscription) == ("open", "unpaid", None)
    status, _, headers = emulator.page(f"{headers['Location']}/complete", {})
    assert (status, headers["Location"]) == (303, SUCCESS.replace("{CHECKOUT_SESSION_ID}", made.id))
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["subscription"]})
    assert (done.status, done.payment_status) == ("complete", "paid")
    assert done.subscription.status == "active"  # type: ignore[union-attr]
    kinds = emulator.event_types(str(made.customer))
    wanted = ["payment_intent.requires_action", "invoice.payment_action_required", "payment_intent.succeeded"]
    wanted += ["invoice.paid", "checkout.session.completed"]
    assert [kind for kind in kinds if kind in wanted] == wanted


def test_after_a_no_the_checkout_takes_another_card_for_the_same_subscription(emulator: Emulator) -> None:
    made = checkout(emulator)
    _, _, headers = emulator.pay(str(made.url), ALWAYS)
    _, _, headers = emulator.page(f"{headers['Location']}/fail", {})
    status, text, _ = emulator.page(emulator.url + headers["Location"])
    assert (status, "unable to authenticate" in text) == (402, True)
    assert emulator.pay(str(made.url), BROKE)[0] == 402
    assert emulator.pay(str(made.url), GOOD)[0] == 303
    found = emulator.v1.subscriptions.list({"customer": str(made.customer), "status": "all"}).data
    assert [subscription.status for subscription in found] == ["active"]


def test_a_payment_at_checkout_waits_as_well(emulator: Emulator) -> None:
    line = {"price_data": {"currency": "usd", "unit_amount": 1234, "product_data": {"name": "Credit"}}, "quantity": 1}
    made = checkout(emulator, mode="payment", line_items=[line])
    _, _, headers = emulator.pay(str(made.url), ALWAYS)
    assert emulator.page(f"{headers['Location']}/complete", {})[0] == 303
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]})
    assert (done.status, done.payment_intent.status) == ("complete", "succeeded")  # type: ignore[union-attr]


def test_an_unconfirmed_first_payment_leaves_it_incomplete(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(card=NAMED_ALWAYS)
    assert subscription.status == "incomplete"
    assert intent_of(clockwork, subscription.id).status == "requires_action"
    confirm(clockwork, subscription.id)
    assert clockwork.v1.subscriptions.retrieve(subscription.id).status == "active"
    with pytest.raises(stripe.CardError) as caught:
        clockwork.subscribe(card=NAMED_ALWAYS, payment_behavior="error_if_incomplete")
    assert caught.value.code == "subscription_payment_intent_requires_action"


def test_a_renewal_that_needs_its_owner_is_past_due_until_he_confirms(clockwork: Emulator) -> None:
    renewed = to_renewal(clockwork, confirmed_subscription(clockwork))
    assert renewed.status == "past_due"
    assert "invoice.payment_action_required" in clockwork.event_types(str(renewed.customer))
    invoice = clockwork.v1.invoices.retrieve(str(renewed.latest_invoice))
    with pytest.raises(stripe.CardError) as caught:
        clockwork.v1.invoices.pay(invoice.id)
    assert caught.value.code == "invoice_payment_intent_requires_action"
    text = clockwork.page(str(invoice.hosted_invoice_url))[1]
    assert page_of(intent_of(clockwork, renewed.id)) in text
    _, _, headers = confirm(clockwork, renewed.id)
    assert headers["Location"] == f"/i/{invoice.id}"
    assert clockwork.v1.subscriptions.retrieve(renewed.id).status == "active"


def test_a_renewal_with_a_card_set_up_at_the_start_is_paid(clockwork: Emulator) -> None:
    assert to_renewal(clockwork, confirmed_subscription(clockwork, NAMED_ONCE)).status == "active"


def test_an_open_invoice_is_paid_on_its_page_with_another_card(clockwork: Emulator) -> None:
    renewed = to_renewal(clockwork, confirmed_subscription(clockwork))
    url = str(clockwork.v1.invoices.retrieve(str(renewed.latest_invoice)).hosted_invoice_url)
    assert clockwork.pay(url, BROKE)[0] == 402
    assert "/a/pi_" in clockwork.pay(url, ALWAYS)[2]["Location"]
    assert clockwork.pay(url, GOOD)[0] == 303
    assert clockwork.v1.subscriptions.retrieve(renewed.id).status == "active"


def test_an_upgrade_waits_for_its_owner_with_the_old_plan(clockwork: Emulator) -> None:
    subscription = confirmed_subscription(clockwork)
    waiting = upgrade(clockwork, subscription, "pending_if_incomplete")
    assert (waiting.status, waiting["items"].data[0].price.unit_amount) == ("active", 3000)
    assert waiting.pending_update.subscription_items[0].price.unit_amount == 9000  # type: ignore[union-attr,index]
    confirm(clockwork, subscription.id)
    done = clockwork.v1.subscriptions.retrieve(subscription.id)
    assert (done.status, done["items"].data[0].price.unit_amount, done.pending_update) == ("active", 9000, None)
    assert clockwork.event_types(subscription.id)[-1] == "customer.subscription.pending_update_applied"


def test_an_upgrade_that_nobody_confirms_is_forgotten(clockwork: Emulator) -> None:
    subscription = confirmed_subscription(clockwork)
    invoice = str(upgrade(clockwork, subscription, "pending_if_incomplete").latest_invoice)
    clockwork.advance(days=1)
    found = clockwork.v1.subscriptions.retrieve(subscription.id)
    assert (found.status, found["items"].data[0].price.unit_amount, found.pending_update) == ("active", 3000, None)
    assert clockwork.v1.invoices.retrieve(invoice).status == "void"
    assert clockwork.event_types(subscription.id)[-1] == "customer.subscription.pending_update_expired"
    assert clockwork.v1.invoices.create_preview({"subscription": subscription.id}).total == 3000


def test_what_other_behaviours_do_with_an_upgrade_to_confirm(clockwork: Emulator) -> None:
    subscription = confirmed_subscription(clockwork)
    with pytest.raises(stripe.CardError) as caught:
        upgrade(clockwork, subscription, "error_if_incomplete")
    assert caught.value.code == "subscription_payment_intent_requires_action"
    assert clockwork.v1.subscriptions.retrieve(subscription.id)["items"].data[0].price.unit_amount == 3000
    changed = upgrade(clockwork, subscription, "allow_incomplete")
    assert (changed.status, changed["items"].data[0].price.unit_amount) == ("past_due", 9000)
    other = confirmed_subscription(clockwork)
    assert upgrade(clockwork, other, "default_incomplete").status == "past_due"
    confirm_needed = intent_of(clockwork, other.id)
    assert confirm_needed.status == "requires_payment_method"


def test_a_pending_change_takes_only_what_stripe_lets_wait(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    with pytest.raises(stripe.InvalidRequestError, match="you can only pass"):
        clockwork.v1.subscriptions.update(
            subscription.id, {"payment_behavior": "pending_if_incomplete", "metadata": {"a": "b"}}
        )
    with pytest.raises(stripe.InvalidRequestError, match="when you update"):
        clockwork.subscribe(payment_behavior="pending_if_incomplete")
