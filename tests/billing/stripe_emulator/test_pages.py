"""The hosted pages, used as a browser without script would."""

import pytest
import stripe

from tests.billing.emulated import BROKE, CANCEL, DECLINED, GOOD, LATER, SUCCESS, Emulator


def session(emulator: Emulator, **more: object) -> stripe.checkout.Session:
    params: dict[str, object] = {
        "mode": "subscription",
        "line_items": [{"price": emulator.price().id, "quantity": 1}],
        "success_url": SUCCESS,
        "cancel_url": CANCEL,
        **more,
    }
    return emulator.v1.checkout.sessions.create(params)  # type: ignore[arg-type]


def test_a_good_card_subscribes_and_sends_the_buyer_back(emulator: Emulator) -> None:
    customer = emulator.v1.customers.create({"email": "buyer@example.com"})
    made = session(emulator, customer=customer.id, metadata={"plan": "developer"}, client_reference_id="tenant")
    status, text, headers = emulator.page(str(made.url))
    assert status == 200
    assert "$29.00" in text
    assert "4242 4242 4242 4242" in text
    assert "<script" not in text
    status, _, headers = emulator.pay(str(made.url))
    assert (status, headers["Location"]) == (303, SUCCESS.replace("{CHECKOUT_SESSION_ID}", made.id))
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["subscription", "line_items"]})
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    assert done.subscription.status == "active"  # type: ignore[union-attr]
    assert emulator.event_types(customer.id)[-1] == "checkout.session.completed"


def test_the_page_has_a_strict_policy_and_allows_only_the_way_back(emulator: Emulator) -> None:
    _, _, headers = emulator.page(str(session(emulator).url))
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://localhost:8000;" in policy
    assert "script-src" not in policy


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (DECLINED, "Your card was declined."),
        (BROKE, "Your card has insufficient funds."),
        (LATER, "Your card was declined."),
        ("4242424242424241", "Your card number is incorrect."),
        ("4111111111111111", "non test card"),
        ("", "Your card number is incorrect."),
    ],
)
def test_a_refused_card_says_why_and_changes_nothing(emulator: Emulator, number: str, words: str) -> None:
    customer = emulator.v1.customers.create({"email": "buyer@example.com"})
    made = session(emulator, customer=customer.id)
    status, text, _ = emulator.pay(str(made.url), number)
    assert status == 402
    assert words in text
    assert 'role="alert"' in text
    assert emulator.v1.subscriptions.list({"customer": customer.id, "status": "all"}).data == []
    assert emulator.v1.payment_methods.list({"customer": customer.id}).data == []
    assert emulator.pay(str(made.url), GOOD)[0] == 303


@pytest.mark.parametrize(
    "form", [{"expiry": "13/40"}, {"expiry": "12/20"}, {"expiry": "soon"}, {"cvc": "1"}, {"email": ""}]
)
def test_a_form_that_is_not_filled_in_rightly_says_so(emulator: Emulator, form: dict[str, str]) -> None:
    whole = {"number": GOOD, "expiry": "12/40", "cvc": "123", "email": "a@example.com", **form}
    status, text, _ = emulator.page(str(session(emulator).url), whole)
    assert status == 402
    assert 'role="alert"' in text
    assert GOOD not in text


def test_what_a_buyer_types_is_escaped(emulator: Emulator) -> None:
    form = {"number": DECLINED, "expiry": "12/40", "cvc": "123", "email": '"><b>@x', "name": "<i>"}
    _, text, _ = emulator.page(str(session(emulator).url), form)
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_finished_or_expired_session_cannot_be_paid(emulator: Emulator) -> None:
    paid, gone = session(emulator), session(emulator)
    url = str(paid.url)
    emulator.pay(url)
    assert "complete" in emulator.page(url)[1]
    assert emulator.pay(url)[0] == 200
    emulator.v1.checkout.sessions.expire(gone.id)
    assert emulator.pay(str(gone.url))[0] == 410


def test_a_payment_without_a_subscription(emulator: Emulator) -> None:
    line = {"price_data": {"currency": "usd", "unit_amount": 1234, "product_data": {"name": "Credit"}}, "quantity": 2}
    made = session(emulator, mode="payment", line_items=[line], payment_intent_data={"metadata": {"for": "credit"}})
    assert emulator.pay(str(made.url))[0] == 303
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]})
    assert (done.amount_total, done.payment_intent.status) == (2468, "succeeded")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "setup"},
        {"automatic_tax": {"enabled": True}},
        {"tax_id_collection": {"enabled": True}, "customer": "cus_nobody"},
        {"line_items": []},
        {"success_url": "javascript:alert(1)"},
        {"expires_at": 5},
        {"ui_mode": "elements"},
        {"payment_intent_data": {"description": "x"}},
        {"line_items": [{"price": "price_nobody"}]},
    ],
)
def test_a_session_that_cannot_be_is_refused(emulator: Emulator, params: dict[str, object]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        session(emulator, **params)


@pytest.mark.parametrize("path", ["/c/pay/cs_test_nobody", "/p/session/bps_x/emu_y", "/i/in_nobody", "/nowhere"])
def test_a_page_nobody_has_is_404(emulator: Emulator, path: str) -> None:
    assert emulator.page(emulator.url + path)[0] == 404


def test_the_portal_cancels_keeps_and_changes_the_card(emulator: Emulator) -> None:
    subscription = emulator.subscribe()
    customer = str(subscription.customer)
    portal = emulator.v1.billing_portal.sessions.create({"customer": customer, "return_url": CANCEL})
    assert "Renews on" in emulator.page(portal.url)[1]
    assert emulator.page(f"{portal.url}/cancel", {"id": subscription.id})[0] == 303
    assert emulator.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end
    assert "Ends on" in emulator.page(portal.url)[1]
    emulator.page(f"{portal.url}/resume", {"id": subscription.id})
    assert not emulator.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end
    card = {"number": "5555555555554444", "expiry": "01/39", "cvc": "321"}
    assert emulator.page(f"{portal.url}/card", card)[0] == 303
    assert "Mastercard ending in 4444" in emulator.page(portal.url)[1]
    status, text, _ = emulator.page(f"{portal.url}/card", {**card, "number": DECLINED})
    assert status == 402
    assert "Your card was declined." in text


def test_the_portal_does_not_touch_other_customers(emulator: Emulator) -> None:
    mine, theirs = emulator.subscribe(), emulator.subscribe()
    portal = emulator.v1.billing_portal.sessions.create({"customer": str(mine.customer)})
    assert emulator.page(f"{portal.url}/cancel", {"id": theirs.id})[0] == 404
    assert not emulator.v1.subscriptions.retrieve(theirs.id).cancel_at_period_end
    assert emulator.page(portal.url[:-1] + "_")[0] == 404


def test_an_invoice_has_a_page(emulator: Emulator) -> None:
    subscription = emulator.subscribe()
    invoice = emulator.v1.invoices.retrieve(str(subscription.latest_invoice))
    status, text, _ = emulator.page(str(invoice.hosted_invoice_url))
    assert status == 200
    assert str(invoice.number) in text
