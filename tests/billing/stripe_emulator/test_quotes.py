"""Quotes: what they come to, what they become, and their PDF."""

import time
import urllib.request
from typing import Any

import pytest
import stripe

from tests.billing.emulated import Emulator

DAY = 86400


def once(emulator: Emulator, cents: int = 50000) -> str:
    given: Any = {"currency": "usd", "unit_amount": cents, "product_data": {"name": "A model (custom)"}}
    return emulator.v1.prices.create(given).id


def offered(emulator: Emulator, customer: str | None, *prices: str, **more: Any) -> stripe.Quote:
    lines = [{"price": price, "quantity": 1} for price in prices]
    given: Any = {"line_items": lines, **({"customer": customer} if customer else {}), **more}
    return emulator.v1.quotes.create(given)


def test_an_order_of_a_model_is_quoted_and_becomes_a_net_30_invoice(emulator: Emulator) -> None:
    customer = emulator.customer(None).id
    rate = emulator.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    off = emulator.v1.coupons.create({"percent_off": 10})
    quote = offered(
        emulator,
        customer,
        once(emulator),
        once(emulator, 10000),
        collection_method="send_invoice",
        invoice_settings={"days_until_due": 30, "custom_fields": [{"name": "PO", "value": "7"}]},
        default_tax_rates=[rate.id],
        discounts=[{"coupon": off.id}],
    )
    assert (quote.amount_subtotal, quote.amount_total) == (60000, 64260)
    assert (quote.total_details.amount_discount, quote.total_details.amount_tax) == (6000, 10260)
    assert quote.computed.recurring is None
    emulator.v1.quotes.finalize_quote(quote.id)
    quote = emulator.v1.quotes.accept(quote.id)
    invoice = emulator.v1.invoices.retrieve(str(quote.invoice))
    assert (invoice.status, invoice.total, invoice.collection_method) == ("draft", 64260, "send_invoice")
    assert [(one.name, one.value) for one in invoice.custom_fields or []] == [("PO", "7")]
    invoice = emulator.v1.invoices.finalize_invoice(invoice.id)
    assert int(invoice.due_date or 0) - int(invoice.status_transitions.finalized_at or 0) == 30 * DAY
    assert emulator.v1.coupons.retrieve(off.id).times_redeemed == 1
    kinds = emulator.event_types(quote.id)
    assert kinds == ["quote.created", "quote.finalized", "quote.accepted"]


def test_a_trial_leaves_the_one_off_price_for_today(emulator: Emulator) -> None:
    plan = emulator.price(3000).id
    quote = offered(
        emulator, emulator.customer().id, plan, once(emulator, 700), subscription_data={"trial_period_days": 14}
    )
    assert quote.amount_total == 700
    assert quote.computed.recurring is not None
    assert (quote.computed.recurring.amount_total, quote.computed.recurring.interval) == (3000, "month")
    upfront = emulator.v1.quotes.computed_upfront_line_items.list(quote.id)
    assert [line.amount_total for line in upfront.data] == [700]
    emulator.v1.quotes.finalize_quote(quote.id)
    made = emulator.v1.quotes.accept(quote.id, {"expand": ["subscription.latest_invoice"]}).subscription
    assert isinstance(made, stripe.Subscription)
    assert isinstance(made.latest_invoice, stripe.Invoice)
    assert (made.status, made.latest_invoice.total) == ("trialing", 700)


def test_a_start_in_the_future_is_a_schedule(emulator: Emulator) -> None:
    later = int(time.time()) + 40 * DAY
    quote = offered(emulator, emulator.customer().id, emulator.price().id, subscription_data={"effective_date": later})
    emulator.v1.quotes.finalize_quote(quote.id)
    quote = emulator.v1.quotes.accept(quote.id)
    schedule = emulator.v1.subscription_schedules.retrieve(str(quote.subscription_schedule))
    assert (quote.subscription, schedule.status, schedule.phases[0].start_date) == (None, "not_started", later)


def test_without_a_card_an_accepted_quote_waits_for_payment(emulator: Emulator) -> None:
    quote = offered(emulator, emulator.customer(None).id, emulator.price().id)
    emulator.v1.quotes.finalize_quote(quote.id)
    made = emulator.v1.quotes.accept(quote.id, {"expand": ["subscription"]}).subscription
    assert isinstance(made, stripe.Subscription)
    assert made.status == "incomplete"


def test_a_revision_takes_the_place_of_an_open_quote(emulator: Emulator) -> None:
    first = offered(emulator, emulator.customer().id, once(emulator))
    first = emulator.v1.quotes.finalize_quote(first.id)
    second = emulator.v1.quotes.create({"from_quote": {"quote": first.id, "is_revision": True}})
    lines = emulator.v1.quotes.line_items.list(second.id).data
    emulator.v1.quotes.update(second.id, {"line_items": [{"id": lines[0].id, "quantity": 2}]})
    second = emulator.v1.quotes.finalize_quote(second.id)
    assert (second.amount_total, emulator.v1.quotes.retrieve(first.id).status) == (100000, "canceled")
    assert (str(first.number)[-1], str(second.number)[-1]) == ("1", "2")
    assert str(first.number)[:-1] == str(second.number)[:-1]
    other = offered(emulator, str(first.customer), once(emulator))
    assert str(emulator.v1.quotes.finalize_quote(other.id).number).endswith("-0002-1")


def test_a_quote_is_over_when_its_time_is(clockwork: Emulator) -> None:
    quote = offered(clockwork, clockwork.customer().id, once(clockwork))
    clockwork.v1.quotes.finalize_quote(quote.id)
    clockwork.advance(days=31)
    assert clockwork.v1.quotes.retrieve(quote.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="Only an open quote"):
        clockwork.v1.quotes.accept(quote.id)


def test_a_quote_for_nobody_or_nothing_cannot_be_final(emulator: Emulator) -> None:
    for quote in (offered(emulator, None, once(emulator)), offered(emulator, emulator.customer().id)):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            emulator.v1.quotes.finalize_quote(quote.id)
        assert caught.value.code == "parameter_missing"


def test_a_pdf_says_what_is_offered(emulator: Emulator) -> None:
    quote = offered(emulator, emulator.customer().id, once(emulator), header="For you – 北京", footer="Thanks")
    with pytest.raises(stripe.InvalidRequestError):
        downloads(emulator).v1.quotes.pdf(quote.id)
    emulator.v1.quotes.finalize_quote(quote.id)
    data = downloads(emulator).v1.quotes.pdf(quote.id).io.read()
    assert data.startswith(b"%PDF-1.4")
    assert data.endswith(b"%%EOF\n")
    assert b"A model \\(custom\\)" in data
    assert "For you – ??".encode("cp1252") in data
    assert b"$500.00" in data
    # The table of places at the end leads to the objects.
    table = data[int(data.rsplit(b"startxref\n", 1)[1].split()[0]) :].split(b"\n")
    for number, line in enumerate(table[3:8], 1):
        assert data[int(line[:10]) :].startswith(b"%d 0 obj" % number)


def downloads(emulator: Emulator) -> stripe.StripeClient:
    bases: Any = {"api": emulator.url, "files": emulator.url}
    return stripe.StripeClient("sk_test_x", base_addresses=bases, max_network_retries=0)


def test_an_invoice_is_a_pdf_too(emulator: Emulator) -> None:
    invoice = emulator.v1.invoices.retrieve(str(emulator.subscribe(2900).latest_invoice))
    status, headers, data = raw(str(invoice.invoice_pdf))
    assert (status, headers["Content-Type"]) == (200, "application/pdf")
    assert str(invoice.number).encode() in data
    assert b"$29.00" in data


def raw(url: str) -> tuple[int, Any, bytes]:
    with urllib.request.urlopen(url) as answer:
        return answer.status, answer.headers, answer.read()
