"""Meters, their events and what they are billed; credit grants. All in the time of one test clock."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any

import stripe

from benchmarks.stripe_steps.step import DAY, Tour, refused, same, step


@step("test clocks", "test_helpers.test_clocks.create")
def clock_create(t: Tour) -> None:
    """A clock is ready, and stands at the time given."""
    now = int(time.time())
    made = t.v1.test_helpers.test_clocks.create({"frozen_time": now, "name": f"Tour {t.tail}"})
    t.memory.clock, t.memory.start = made.id, now
    same((made.status, made.frozen_time), ("ready", now))


@step("test clocks", "customers.create")
def clock_customer(t: Tour) -> None:
    """A customer made with a clock lives in its time."""
    made = t.v1.customers.create(
        {"test_clock": t.memory.clock, "name": f"Metered {t.tail}", "payment_method": "pm_card_visa"}
    )
    method = t.v1.customers.payment_methods.list(made.id).data[0].id
    t.v1.customers.update(made.id, {"invoice_settings": {"default_payment_method": method}})
    t.memory.metered = made.id
    same((made.test_clock, made.created), (t.memory.clock, t.memory.start))


@step("meters", "billing.meters.create")
def meter_create(t: Tour) -> None:
    """A meter is active, and an event name has one active meter only."""
    params = {
        "display_name": f"Tokens {t.tail}",
        "event_name": f"tokens_{t.tail}",
        "default_aggregation": {"formula": "sum"},
        "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
        "value_settings": {"event_payload_key": "value"},
    }
    made = t.v1.billing.meters.create(params)
    t.memory.meter = made.id
    same((made.status, made.default_aggregation.formula), ("active", "sum"))
    refused(lambda: t.v1.billing.meters.create(params), status=400)


@step("meters", "billing.meters.update")
def meter_update(t: Tour) -> None:
    """Only the shown name can be changed."""
    same(t.v1.billing.meters.update(t.memory.meter, {"display_name": "Tokens"}).display_name, "Tokens")
    refused(lambda: t.v1.billing.meters.update(t.memory.meter, {"event_name": "x"}), status=400)


@step("meters", "prices.create")
def metered_price(t: Tour) -> None:
    """A metered price names its meter."""
    made = t.v1.prices.create(
        {
            "product": t.memory.product,
            "currency": "usd",
            "unit_amount": 2,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": t.memory.meter},
        }
    )
    t.memory.metered_price = made.id
    same((made.recurring.usage_type, made.recurring.meter), ("metered", t.memory.meter))


@step("meters", "subscriptions.create")
def metered_subscription(t: Tour) -> None:
    """Usage is billed when the period is over: the first invoice is zero, and an item has no quantity."""
    made = t.v1.subscriptions.create(
        {
            "customer": t.memory.metered,
            "items": [{"price": t.memory.metered_price}],
            "expand": ["latest_invoice"],
        }
    )
    t.memory.metered_subscription = made.id
    t.memory.period_end = made["items"].data[0].current_period_end
    same((made.status, made.latest_invoice.total if made.latest_invoice else 0), ("active", 0))
    assert "quantity" not in made["items"].data[0], "the item has a quantity"


def _event(t: Tour, value: int | str, **more: Any) -> dict[str, Any]:
    payload = {"stripe_customer_id": t.memory.metered, "value": str(value)}
    return {"event_name": f"tokens_{t.tail}", "payload": payload, "identifier": uuid.uuid4().hex, **more}


@step("meters", "billing.meter_events.create")
def event_create(t: Tour) -> None:
    """An event is answered with its payload and identifier."""
    given = _event(t, 300, timestamp=t.memory.start)
    made = t.v1.billing.meter_events.create(given)
    t.memory.event_given = given
    same((made.payload["value"], made.identifier), ("300", given["identifier"]))
    t.v1.billing.meter_events.create(_event(t, 200, timestamp=t.memory.start))


@step("meters", "billing.meter_events.create")
def event_twice(t: Tour) -> None:
    """A second event with the same identifier is answered 400."""
    refused(lambda: t.v1.billing.meter_events.create(t.memory.event_given), status=400)


@step("meters", "billing.meter_events.create")
def event_late(t: Tour) -> None:
    """An event from more than 35 days ago, or more than 5 minutes ahead, is refused."""
    for moment in (t.memory.start - 36 * DAY, t.memory.start + 3600):
        refused(lambda moment=moment: t.v1.billing.meter_events.create(_event(t, 1, timestamp=moment)), status=400)


def _sum(t: Tour) -> Any:
    # Summaries are of whole minutes.
    start = t.memory.start // 60 * 60
    window = {"customer": t.memory.metered, "start_time": start, "end_time": start + 600}
    found = t.v1.billing.meters.event_summaries.list(t.memory.meter, window).data
    return found[0].aggregated_value if found else None


@step("meters", "billing.meters.event_summaries.list")
def summaries(t: Tour) -> None:
    """A summary is the sum of the events in the time asked for, some moments later."""
    t.until(lambda: _sum(t) == 500, 120)


@step("meters", "billing.meter_event_adjustments.create")
def adjust(t: Tour) -> None:
    """An event of the last 24 hours is canceled by its identifier."""
    given = _event(t, 40, timestamp=t.memory.start)
    t.v1.billing.meter_events.create(given)
    t.until(lambda: _sum(t) == 540, 120)
    made = t.v1.billing.meter_event_adjustments.create(
        {"event_name": given["event_name"], "type": "cancel", "cancel": {"identifier": given["identifier"]}}
    )
    assert made.status in ("pending", "complete"), made.status
    t.until(lambda: _sum(t) == 500, 120)


@step("meters", "v2.billing.meter_events.create")
def event_v2(t: Tour) -> None:
    """The v2 call takes JSON and checks at once: an unknown customer is refused."""
    made = t.client.v2.billing.meter_events.create(_event(t, 100))
    same(made.object, "v2.billing.meter_event")
    bad = {**_event(t, 1), "payload": {"stripe_customer_id": "cus_nobody", "value": "1"}}
    refused(lambda: t.client.v2.billing.meter_events.create(bad), status=400)


@step("meters", "v2.billing.meter_event_session.create")
def session(t: Tour) -> None:
    """A session gives a token that lives a quarter of an hour."""
    made = t.client.v2.billing.meter_event_session.create()
    t.memory.token = made.authentication_token
    ends, made_at = (datetime.fromisoformat(text) for text in (made.expires_at, made.created))
    same(round((ends - made_at).total_seconds()), 900)


@step("meters", "v2.billing.meter_event_stream.create")
def stream(t: Tour) -> None:
    """A stream takes events under a session's token, not under the key."""
    bases: Any = {"meter_events": t.streams} if t.streams else {}
    event = {**_event(t, 0), "timestamp": datetime.fromtimestamp(t.memory.start, UTC).isoformat()}
    stripe.StripeClient(t.memory.token, base_addresses=bases).v2.billing.meter_event_stream.create({"events": [event]})
    wrong = stripe.StripeClient("sk_test_other", base_addresses=bases, max_network_retries=0)
    refused(lambda: wrong.v2.billing.meter_event_stream.create({"events": [event]}), status=401)


@step("meters", "v2.core.event_destinations.create")
def destination(t: Tour) -> None:
    """A destination of thin events has a secret of its own, told when it is made."""
    made = t.client.v2.core.event_destinations.create(
        {
            "name": f"Meters {t.tail}",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": ["v1.billing.meter.no_meter_found"],
            "webhook_endpoint": {"url": t.hook},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )
    t.memory.destination = made.id
    assert made.webhook_endpoint and str(made.webhook_endpoint.signing_secret).startswith("whsec_"), "no secret"


@step("meters", "v2.core.event_destinations.list")
def destinations(t: Tour) -> None:
    """The list shows no secret, and addresses where they are asked for."""
    found = t.client.v2.core.event_destinations.list({"include": ["webhook_endpoint.url"]})
    mine = next(one for one in found.auto_paging_iter() if one.id == t.memory.destination)
    assert mine.webhook_endpoint is not None
    same((mine.webhook_endpoint.url, mine.webhook_endpoint.signing_secret), (t.hook, None))
    t.client.v2.core.event_destinations.delete(mine.id)


@step("meters", "v2.core.events.list")
def thin_events(t: Tour) -> None:
    """An event of a name that no meter has is told by a thin event, some time later."""
    t.v1.billing.meter_events.create({**_event(t, 1, timestamp=t.memory.start), "event_name": f"nobodys_{t.tail}"})
    kind = "v1.billing.meter.no_meter_found"
    t.until(lambda: bool(t.client.v2.core.events.list({"types": [kind]}).data), 300)


@step("credits", "billing.credit_grants.create")
def grant_create(t: Tour) -> None:
    """A grant is money for metered prices, valid at once."""
    made = t.v1.billing.credit_grants.create(
        {
            "customer": t.memory.metered,
            "name": "Welcome",
            "category": "promotional",
            "amount": {"type": "monetary", "monetary": {"value": 700, "currency": "usd"}},
            "applicability_config": {"scope": {"price_type": "metered"}},
        }
    )
    t.memory.grant = made.id
    same((made.amount.monetary.value, made.category), (700, "promotional"))


def _balance(t: Tour) -> tuple[int, int]:
    asked = {"customer": t.memory.metered, "filter": {"type": "applicability_scope"}}
    asked["filter"]["applicability_scope"] = {"price_type": "metered"}
    found = t.v1.billing.credit_balance_summary.retrieve(asked).balances[0]
    return found.available_balance.monetary.value, found.ledger_balance.monetary.value


@step("credits", "billing.credit_balance_summary.retrieve")
def balance(t: Tour) -> None:
    """The balance of a customer is what his grants have left."""
    same(_balance(t), (700, 700))


@step("credits", "billing.credit_balance_transactions.list")
def transactions(t: Tour) -> None:
    """A grant begins with a credit transaction."""
    found = t.v1.billing.credit_balance_transactions.list({"customer": t.memory.metered}).data
    same(
        [(one.type, one.credit.type, one.credit.amount.monetary.value) for one in found],
        [("credit", "credits_granted", 700)],
    )


@step("test clocks", "test_helpers.test_clocks.advance")
def clock_advance(t: Tour) -> None:
    """An advanced clock is ready at the new time; the past cannot be gone to."""
    to = t.memory.period_end + 2 * 3600
    same(t.advance(t.memory.clock, to).frozen_time, to)
    back = {"frozen_time": t.memory.start}
    refused(lambda: t.v1.test_helpers.test_clocks.advance(t.memory.clock, back), status=400)


@step("meters", "invoices.list")
def metered_invoice(t: Tour) -> None:
    """The period's usage is billed at its end: the units of the meter at the price."""
    found = t.v1.invoices.list({"subscription": t.memory.metered_subscription, "limit": 1}).data[0]
    t.memory.metered_invoice = found.id
    same((found.billing_reason, found.subtotal, found.lines.data[0].quantity), ("subscription_cycle", 1200, 600))


@step("credits", "invoices.retrieve")
def credit_applied(t: Tour) -> None:
    """Credit is taken off when the invoice is final; what is left is due."""
    found = t.v1.invoices.retrieve(t.memory.metered_invoice)
    same((found.status, found.total, found.total_pretax_credit_amounts[0].amount), ("paid", 500, 700))
    same(_balance(t), (0, 0))


@step("credits", "billing.credit_grants.void_grant")
def grant_void(t: Tour) -> None:
    """A grant that was not used can be void; one that was can only expire."""
    made = t.v1.billing.credit_grants.create(
        {
            "customer": t.memory.metered,
            "category": "paid",
            "amount": {"type": "monetary", "monetary": {"value": 900, "currency": "usd"}},
            "applicability_config": {"scope": {"prices": [{"id": t.memory.metered_price}]}},
        }
    )
    assert t.v1.billing.credit_grants.void_grant(made.id).voided_at, "not void"
    refused(lambda: t.v1.billing.credit_grants.void_grant(t.memory.grant), status=400)


@step("credits", "billing.credit_grants.expire")
def grant_expire(t: Tour) -> None:
    """An expired grant has an end, and nothing is left of it."""
    made = t.v1.billing.credit_grants.create(
        {
            "customer": t.memory.metered,
            "category": "paid",
            "amount": {"type": "monetary", "monetary": {"value": 900, "currency": "usd"}},
            "applicability_config": {"scope": {"price_type": "metered"}},
        }
    )
    same(_balance(t), (900, 900))
    assert t.v1.billing.credit_grants.expire(made.id).expires_at, "no end"
    same(_balance(t), (0, 0))


@step("meters", "billing.meters.deactivate")
def meter_deactivate(t: Tour) -> None:
    """A meter that sleeps frees its event name, and can wake again."""
    same(t.v1.billing.meters.deactivate(t.memory.meter).status, "inactive")
    same(t.v1.billing.meters.reactivate(t.memory.meter).status, "active")
