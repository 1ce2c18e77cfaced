"""What meters count, what is wrong with an event, what is billed of it, and what credit takes off."""

import uuid
from typing import Any

import pytest
import stripe

from tests.billing.emulated import KEY, Emulator

DAY = 86400
START = 1_800_000_000 // DAY * DAY


class Metered:
    """A meter, a customer in a time of his own, and a subscription that it counts for."""

    def __init__(self, emulator: Emulator, formula: str = "sum", cents: str = "2", **meter: Any) -> None:
        self.v1, self.client, self.emulator = emulator.v1, emulator.client, emulator
        self.name = f"calls_{uuid.uuid4().hex[:12]}"
        aggregation: Any = {"formula": formula}
        self.meter = self.v1.billing.meters.create(
            {"display_name": "Calls", "event_name": self.name, "default_aggregation": aggregation, **meter}
        ).id
        self.clock = self.v1.test_helpers.test_clocks.create({"frozen_time": START}).id
        self.customer = self.v1.customers.create({"test_clock": self.clock}).id
        card = self.v1.payment_methods.attach("pm_card_visa", {"customer": self.customer})
        self.v1.customers.update(self.customer, {"invoice_settings": {"default_payment_method": card.id}})
        recurring: Any = {"interval": "month", "usage_type": "metered", "meter": self.meter}
        product: Any = {"name": "Calls"}
        price: Any = {"currency": "usd", "unit_amount_decimal": cents, "recurring": recurring, "product_data": product}
        self.price = self.v1.prices.create(price).id
        self.subscription = self.v1.subscriptions.create({"customer": self.customer, "items": [{"price": self.price}]})
        self.end = int(self.subscription["items"]["data"][0]["current_period_end"])

    def event(self, value: int | str, at: int = START, **more: Any) -> dict[str, Any]:
        payload = {"stripe_customer_id": self.customer, "value": str(value)}
        return {"event_name": self.name, "payload": payload, "timestamp": at, **more}

    def send(self, value: int | str, at: int = START, **more: Any) -> None:
        self.v1.billing.meter_events.create(self.event(value, at, **more))

    def counted(self, start: int = START, end: int = START + DAY, **more: Any) -> list[float]:
        window: Any = {"customer": self.customer, "start_time": start, "end_time": end, **more}
        found = self.v1.billing.meters.event_summaries.list(self.meter, window)
        return [one.aggregated_value for one in found.data]

    def advance(self, to: int) -> None:
        self.v1.test_helpers.test_clocks.advance(self.clock, {"frozen_time": to})

    def invoice(self) -> stripe.Invoice:
        return self.v1.invoices.list({"subscription": self.subscription.id}).data[0]

    def grant(self, cents: int, **more: Any) -> str:
        given: Any = {
            "customer": self.customer,
            "category": "paid",
            "amount": {"type": "monetary", "monetary": {"value": cents, "currency": "usd"}},
            "applicability_config": {"scope": {"price_type": "metered"}},
            **more,
        }
        return self.v1.billing.credit_grants.create(given).id

    def left(self) -> int:
        asked: Any = {"type": "applicability_scope", "applicability_scope": {"price_type": "metered"}}
        found = self.v1.billing.credit_balance_summary.retrieve({"customer": self.customer, "filter": asked})
        money = found.balances[0].available_balance.monetary
        return money.value if money else -1


def reports(emulator: Emulator) -> list[str]:
    """The codes of the error reports, newest first, as `GET /v2/core/events/{id}` gives them."""
    found = emulator.page(f"{emulator.url}/objects/v2.core.event")[1]
    ids = dict.fromkeys(part.split('"')[0] for part in found.split("/objects/v2.core.event/")[1:])
    events = [emulator.client.v2.core.events.retrieve(one) for one in ids]
    return [event["data"]["reason"]["error_types"][0]["code"] for event in events]


@pytest.mark.parametrize(("formula", "wanted"), [("sum", 12), ("count", 3), ("last", 2)])
def test_a_meter_sums_counts_or_takes_the_last(emulator: Emulator, formula: str, wanted: int) -> None:
    metered = Metered(emulator, formula)
    for value, at in ((3, START), (7, START - DAY), (2, START + 60)):
        metered.send(value, at)
    assert metered.counted(START - DAY) == [wanted]
    assert metered.counted(START - DAY, START + DAY, value_grouping_window="day") == (
        [5, 7] if formula == "sum" else [2, 1] if formula == "count" else [2, 7]
    )


def test_of_sums_made_before_only_the_newest_of_a_window_counts(emulator: Emulator) -> None:
    metered = Metered(emulator, event_time_window="hour")
    metered.send(10, START)
    metered.send(25, START + 100)
    metered.send(4, START + 240)
    metered.send(1, START - 60)
    assert metered.counted(START - 3600) == [4 + 1]


def test_an_identifier_counts_once_and_its_event_can_be_taken_back(emulator: Emulator) -> None:
    metered, name = Metered(emulator), uuid.uuid4().hex
    metered.send(5, identifier=name)
    with pytest.raises(stripe.InvalidRequestError) as again:
        metered.send(5, identifier=name)
    assert again.value.http_status == 400
    assert metered.counted() == [5]
    cancel: Any = {"event_name": metered.name, "type": "cancel", "cancel": {"identifier": name}}
    metered.v1.billing.meter_event_adjustments.create(cancel)
    assert metered.counted() == []
    metered.advance(START + DAY + 60)
    metered.send(5, START + DAY, identifier=name)


@pytest.mark.parametrize(("at", "code"), [(-36 * DAY, "timestamp_too_far_in_past"), (301, "timestamp_in_future")])
def test_too_late_and_too_early_are_refused(emulator: Emulator, at: int, code: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        Metered(emulator).send(1, START + at)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"payload": {"stripe_customer_id": "cus_nobody", "value": "1"}}, "meter_event_customer_not_found"),
        ({"payload": {"value": "1"}}, "meter_event_no_customer_defined"),
        ({"value": "1.5"}, "meter_event_invalid_value"),
        ({"value": "many"}, "meter_event_invalid_value"),
        ({"event_name": "nobodys"}, "no_meter"),
    ],
)
def test_what_else_is_wrong_is_told_afterwards(emulator: Emulator, wrong: Any, code: str) -> None:
    metered = Metered(emulator)
    event = metered.event(1)
    # Without a customer it is no clock's.
    del event["timestamp"]
    if "value" in wrong:
        wrong = {"payload": {**event["payload"], **wrong}}
    metered.v1.billing.meter_events.create({**event, **wrong})
    assert reports(emulator)[0] == code
    assert metered.counted() == []
    with pytest.raises(stripe.InvalidRequestError) as caught:
        metered.client.v2.billing.meter_events.create({**event, **wrong})
    assert caught.value.code == code


def test_a_stream_takes_many_under_a_sessions_token(emulator: Emulator) -> None:
    metered = Metered(emulator)
    session = emulator.client.v2.billing.meter_event_session.create()
    bases: Any = {"api": emulator.url, "meter_events": emulator.url}
    streamer = stripe.StripeClient(session.authentication_token, base_addresses=bases, max_network_retries=0)
    events = [{**metered.event(value), "timestamp": "2027-01-15T00:00:00Z"} for value in (1, 2)]
    events.append({**events[0], "identifier": "twice"})
    events.append({**events[0], "identifier": "twice"})
    old = {**events[0], "timestamp": "2026-01-15T00:00:00Z"}
    streamer.v2.billing.meter_event_stream.create({"events": [*events, old]})
    assert metered.counted() == [1 + 2 + 1]
    assert reports(emulator)[0] == "timestamp_too_far_in_past"
    bad = stripe.StripeClient(KEY, base_addresses=bases, max_network_retries=0)
    with pytest.raises(stripe.StripeError):
        bad.v2.billing.meter_event_stream.create({"events": events})


def test_usage_is_billed_at_the_end_with_what_came_in_the_hour_after(emulator: Emulator) -> None:
    metered = Metered(emulator)
    assert "quantity" not in metered.subscription["items"]["data"][0]
    metered.send(100)
    assert metered.v1.invoices.create_preview({"subscription": metered.subscription.id}).total == 200
    metered.advance(metered.end + 60)
    assert (metered.invoice().status, metered.invoice().total) == ("draft", 200)
    metered.send(50, metered.end - 1)
    metered.send(7, metered.end)
    metered.advance(metered.end + 3700)
    line = metered.invoice().lines.data[0]
    assert (metered.invoice().status, metered.invoice().total, line.quantity) == ("paid", 300, 150)
    assert (line.period.start, line.period.end) == (START, metered.end)
    metered.send(1000, metered.end - 1)
    assert metered.invoice().total == 300


def test_a_fraction_of_a_cent_is_rounded_once_for_the_whole_line(emulator: Emulator) -> None:
    metered = Metered(emulator, cents="0.3")
    for _ in range(5):
        metered.send(1)
    metered.advance(metered.end + 3700)
    assert metered.invoice().total == 2


def test_below_zero_is_billed_as_nothing(emulator: Emulator) -> None:
    metered = Metered(emulator)
    metered.send(-5)
    metered.advance(metered.end + 3700)
    assert (metered.invoice().total, metered.invoice().status) == (0, "paid")


def test_what_was_used_is_billed_when_it_ends(emulator: Emulator) -> None:
    metered = Metered(emulator)
    metered.v1.subscriptions.update(metered.subscription.id, {"cancel_at_period_end": True})
    metered.send(10)
    metered.advance(metered.end + 3700)
    assert metered.v1.subscriptions.retrieve(metered.subscription.id).status == "canceled"
    assert (metered.invoice().total, metered.invoice().status) == (20, "paid")
    other = Metered(emulator)
    other.send(10)
    other.advance(START + 3600)
    other.v1.subscriptions.cancel(other.subscription.id, {"invoice_now": True})
    assert other.invoice().total == 20


def test_credit_is_used_by_priority_then_by_its_end_promotional_first(emulator: Emulator) -> None:
    metered = Metered(emulator, cents="100")
    last = metered.grant(100_00, priority=90)
    paid = metered.grant(2_00, expires_at=metered.end + DAY * 5)
    promo = metered.grant(3_00, expires_at=metered.end + DAY * 5, category="promotional")
    first = metered.grant(1_00, priority=0)
    metered.send(7)
    metered.advance(metered.end + 3700)
    assert (metered.invoice().total, metered.invoice().status) == (0, "paid")
    entries = metered.invoice().total_pretax_credit_amounts or []
    made = [metered.v1.billing.credit_balance_transactions.retrieve(str(e.credit_balance_transaction)) for e in entries]
    assert [one.credit_grant for one in made] == [first, promo, paid, last]
    assert [entry.amount for entry in entries] == [100, 300, 200, 100]
    assert metered.left() == 99_00


def test_credit_of_a_void_invoice_comes_back_and_ends_with_its_time(emulator: Emulator) -> None:
    metered = Metered(emulator)
    metered.grant(150, expires_at=metered.end + 3 * DAY)
    bad = metered.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": metered.customer})
    metered.v1.customers.update(metered.customer, {"invoice_settings": {"default_payment_method": bad.id}})
    metered.send(100)
    metered.advance(metered.end + 3700)
    assert (metered.invoice().status, metered.invoice().amount_due, metered.left()) == ("open", 50, 0)
    metered.v1.invoices.void_invoice(metered.invoice().id)
    assert metered.left() == 150
    metered.advance(metered.end + 4 * DAY)
    assert metered.left() == 0
    found = metered.v1.billing.credit_balance_transactions.list({"customer": metered.customer}).data
    kinds = [(one.debit or one.credit).type for one in found if one.debit or one.credit]
    assert kinds == ["credits_expired", "credits_application_invoice_voided", "credits_applied", "credits_granted"]


def test_credit_pays_for_its_own_prices_before_tax(emulator: Emulator) -> None:
    metered = Metered(emulator)
    rate = metered.v1.tax_rates.create({"display_name": "VAT", "percentage": 10, "inclusive": False})
    metered.v1.subscriptions.update(metered.subscription.id, {"default_tax_rates": [rate.id]})
    other = Metered(emulator)
    metered.grant(10_00, applicability_config={"scope": {"prices": [{"id": other.price}]}})
    metered.grant(100, applicability_config={"scope": {"prices": [{"id": metered.price}]}})
    metered.send(100)
    metered.advance(metered.end + 3700)
    invoice = metered.invoice()
    assert (invoice.subtotal, invoice.total, invoice.total_excluding_tax) == (200, 110, 100)
    assert metered.left() == 10_00


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": {"type": "monetary", "monetary": {"value": 0, "currency": "usd"}}},
        {"priority": 101},
        {"expires_at": START - 1},
        {"applicability_config": {"scope": {}}},
        {"applicability_config": {"scope": {"prices": [{"id": "price_nobody"}]}}},
    ],
)
def test_a_grant_that_cannot_be_is_refused(emulator: Emulator, wrong: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        Metered(emulator).grant(100, **wrong)
