"""Payments, refunds, checkout, the portal, webhook endpoints."""

from __future__ import annotations

import json
import time

import stripe

from benchmarks.stripe_steps.step import Tour, refused, same, step

CARD = {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}, "confirm": True}


@step("payments", "payment_intents.create")
def intent_create(t: Tour) -> None:
    """A confirmed intent with a good card has succeeded, with a charge."""
    made = t.v1.payment_intents.create(
        {"amount": 1200, "currency": "usd", "customer": t.memory.customer, "payment_method": t.memory.method, **CARD}
    )
    t.memory.intent, t.memory.charge = made.id, made.latest_charge
    same((made.status, made.amount_received), ("succeeded", 1200))


@step("payments", "payment_intents.create")
def intent_declined(t: Tour) -> None:
    """A refused card is a CardError 402 with its decline code."""
    params = {"amount": 1200, "currency": "usd", "payment_method": "pm_card_chargeDeclinedInsufficientFunds", **CARD}
    error = refused(lambda: t.v1.payment_intents.create(params), status=402, code="card_declined")
    same(error.error.decline_code, "insufficient_funds")


@step("payments", "payment_intents.create")
def intent_owner(t: Tour) -> None:
    """A card with 3-D Secure leaves the intent at requires_action."""
    params = {"amount": 1200, "currency": "usd", "payment_method": "pm_card_authenticationRequired", **CARD}
    made = t.v1.payment_intents.create({**params, "return_url": "https://example.com/back"})
    t.memory.waiting = made.id
    same(made.status, "requires_action")


@step("payments", "payment_intents.cancel")
def intent_cancel(t: Tour) -> None:
    """An intent that is not paid can be canceled, a paid one cannot."""
    same(t.v1.payment_intents.cancel(t.memory.waiting).status, "canceled")
    refused(lambda: t.v1.payment_intents.cancel(t.memory.intent), status=400, code="payment_intent_unexpected_state")


@step("payments", "charges.retrieve")
def charge_retrieve(t: Tour) -> None:
    """The charge of a paid intent is captured."""
    same(t.v1.charges.retrieve(t.memory.charge).amount_captured, 1200)


@step("refunds", "refunds.create")
def refund_create(t: Tour) -> None:
    """A part is refunded; the charge says how much."""
    made = t.v1.refunds.create({"payment_intent": t.memory.intent, "amount": 200})
    t.memory.refund = made.id
    same((made.status, t.v1.charges.retrieve(t.memory.charge).amount_refunded), ("succeeded", 200))


@step("refunds", "refunds.create")
def refund_too_much(t: Tour) -> None:
    """More than is left is refused."""
    refused(lambda: t.v1.refunds.create({"payment_intent": t.memory.intent, "amount": 1100}), status=400)


@step("refunds", "refunds.list")
def refund_list(t: Tour) -> None:
    """The refunds of a charge are listed."""
    same([one.id for one in t.v1.refunds.list({"charge": t.memory.charge}).data], [t.memory.refund])


def _session(t: Tour, **more: object) -> dict[str, object]:
    return {
        "mode": "subscription",
        "customer": t.memory.customer,
        "line_items": [{"price": t.memory.price, "quantity": 1}],
        "success_url": "https://example.com/back?session={CHECKOUT_SESSION_ID}",
        **more,
    }


@step("checkout", "checkout.sessions.create")
def session_create(t: Tour) -> None:
    """A session is open, unpaid, and has the address of its page and its sum."""
    made = t.v1.checkout.sessions.create(_session(t))
    t.memory.session = made.id
    same((made.status, made.payment_status, made.amount_total), ("open", "unpaid", 2900))
    assert made.url.startswith("http"), made.url


@step("checkout", "checkout.sessions.create")
def session_coupon(t: Tour) -> None:
    """A coupon is off the session's sum."""
    made = t.v1.checkout.sessions.create(_session(t, discounts=[{"coupon": t.memory.coupon}]))
    same((made.amount_subtotal, made.amount_total), (2900, 2175))


@step("checkout", "checkout.sessions.line_items.list")
def session_lines(t: Tour) -> None:
    """What is sold is listed."""
    found = t.v1.checkout.sessions.line_items.list(t.memory.session)
    same([(one.price.id, one.quantity) for one in found.data], [(t.memory.price, 1)])


@step("checkout", "checkout.sessions.expire")
def session_expire(t: Tour) -> None:
    """An open session expires on request, once."""
    same(t.v1.checkout.sessions.expire(t.memory.session).status, "expired")
    refused(lambda: t.v1.checkout.sessions.expire(t.memory.session), status=400)


@step("portal", "billing_portal.configurations.create")
def portal_configure(t: Tour) -> None:
    """A configuration says what the portal offers."""
    features = {"invoice_history": {"enabled": True}, "subscription_cancel": {"enabled": True}}
    made = t.v1.billing_portal.configurations.create({"features": features})
    t.memory.portal = made.id
    same((made.active, made.features.subscription_cancel.enabled), (True, True))


@step("portal", "billing_portal.sessions.create")
def portal_create(t: Tour) -> None:
    """A portal session has an address, for one customer."""
    made = t.v1.billing_portal.sessions.create(
        {"customer": t.memory.customer, "configuration": t.memory.portal, "return_url": "https://example.com/"}
    )
    same(made.customer, t.memory.customer)
    assert made.url.startswith("http"), made.url


@step("webhooks", "webhook_endpoints.create")
def endpoint_create(t: Tour) -> None:
    """The secret of an endpoint is in the answer to its creation, and in no later one."""
    made = t.v1.webhook_endpoints.create({"url": f"{t.hook}-{t.tail}", "enabled_events": ["invoice.paid"]})
    t.memory.endpoint = made.id
    assert made.secret.startswith("whsec_"), "no secret"
    same(t.v1.webhook_endpoints.retrieve(made.id).to_dict().get("secret"), None)


@step("webhooks", "webhook_endpoints.update")
def endpoint_update(t: Tour) -> None:
    """An endpoint can be disabled."""
    same(t.v1.webhook_endpoints.update(t.memory.endpoint, {"disabled": True}).status, "disabled")


@step("webhooks", "webhook_endpoints.delete")
def endpoint_delete(t: Tour) -> None:
    """An endpoint can be deleted, once."""
    same(t.v1.webhook_endpoints.delete(t.memory.endpoint).deleted, True)
    refused(lambda: t.v1.webhook_endpoints.delete(t.memory.endpoint), status=404)


@step("webhooks", "events.list")
def event_list(t: Tour) -> None:
    """What happened is an event of its type, with the object as it was."""

    def look() -> list[stripe.Event]:
        found = t.v1.events.list({"type": "customer.created", "limit": 100}).data
        return [one for one in found if one.data.object["id"] == t.memory.customer]

    found = t.until(look)
    t.memory.event = found[0].id
    same((len(found), found[0].data.object["name"]), (1, f"Ada {t.tail}"))


@step("webhooks", "events.retrieve")
def event_retrieve(t: Tour) -> None:
    """An event is read by its id."""
    same(t.v1.events.retrieve(t.memory.event).type, "customer.created")


@step("webhooks", "construct_event")
def event_construct(t: Tour) -> None:
    """An event whose signature fits is taken; a forged or a stale one is refused."""
    body, secret = json.dumps({"id": "evt_1", "object": "event", "type": "ping"}), "whsec_tour"
    sign = stripe.WebhookSignature.generate_signature_header
    now = int(time.time())
    same(t.client.construct_event(body, sign(body, secret, timestamp=now), secret).id, "evt_1")
    for header in (sign(body, "whsec_other", timestamp=now), sign(body, secret, timestamp=now - 600)):
        try:
            t.client.construct_event(body, header, secret)
        except stripe.SignatureVerificationError:
            continue
        raise AssertionError("it was accepted")
