"""What time does, seen in the time of a second test clock: renewals, trials, declines and retries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from benchmarks.stripe_steps.step import DAY, Tour, refused, same, step


@step("test clocks", "test_helpers.test_clocks.retrieve")
def month_end(t: Tour) -> None:
    """A subscription of the 31st renews on the last day of a shorter month, and on the 31st again after it."""
    start = int(datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp())
    made = t.v1.test_helpers.test_clocks.create({"frozen_time": start})
    t.memory.second_clock = made.id
    customer = t.v1.customers.create({"test_clock": made.id, "name": f"Months {t.tail}"})
    method = t.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    t.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    t.memory.months = customer.id
    made = t.v1.subscriptions.create({"customer": customer.id, "items": [{"price": t.memory.price}]})
    t.memory.monthly = made.id
    ends = [_end(made)]
    t.advance(t.memory.second_clock, ends[0] + 2 * 3600)
    ends.append(_end(t.v1.subscriptions.retrieve(made.id)))
    same([datetime.fromtimestamp(end, UTC).strftime("%d %b") for end in ends], ["28 Feb", "31 Mar"])
    same(t.v1.test_helpers.test_clocks.retrieve(t.memory.second_clock).status, "ready")


def _end(subscription: Any) -> int:
    return int(subscription["items"].data[0].current_period_end)


@step("test clocks", "subscriptions.retrieve")
def renewal(t: Tour) -> None:
    """A renewal is an invoice of its own, final and paid an hour after the period began."""
    found = t.v1.invoices.list({"subscription": t.memory.monthly}).data
    same(
        [(one.billing_reason, one.status) for one in found],
        [("subscription_cycle", "paid"), ("subscription_create", "paid")],
    )


@step("test clocks", "subscriptions.create")
def trial_ends(t: Tour) -> None:
    """A trial without a card ends as its settings say: canceled."""
    customer = t.v1.customers.create({"test_clock": t.memory.second_clock, "name": f"No card {t.tail}"})
    made = t.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": t.memory.price}],
            "trial_period_days": 7,
            "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
        }
    )
    t.advance(t.memory.second_clock, made.trial_end + 3600)
    same(t.v1.subscriptions.retrieve(made.id).status, "canceled")


@step("test clocks", "payment_methods.detach")
def dunning(t: Tour) -> None:
    """A renewal that the card refuses makes the subscription past due; paying its invoice brings it back."""
    bad = t.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": t.memory.months})
    t.v1.customers.update(t.memory.months, {"invoice_settings": {"default_payment_method": bad.id}})
    t.advance(t.memory.second_clock, _end(t.v1.subscriptions.retrieve(t.memory.monthly)) + 2 * 3600)
    found = t.v1.subscriptions.retrieve(t.memory.monthly, {"expand": ["latest_invoice"]})
    same((found.status, found.latest_invoice.status, found.latest_invoice.attempt_count), ("past_due", "open", 1))
    assert found.latest_invoice.next_payment_attempt, "no further try"
    good = t.v1.payment_methods.attach("pm_card_visa", {"customer": t.memory.months})
    same(t.v1.invoices.pay(found.latest_invoice.id, {"payment_method": good.id}).status, "paid")
    same(t.v1.subscriptions.retrieve(t.memory.monthly).status, "active")
    same(t.v1.payment_methods.detach(bad.id).customer, None)
    t.v1.customers.update(t.memory.months, {"invoice_settings": {"default_payment_method": good.id}})


@step("test clocks", "subscriptions.update")
def ends_with_period(t: Tour) -> None:
    """cancel_at_period_end ends the subscription at the period's end, without another invoice."""
    made = t.v1.subscriptions.update(t.memory.monthly, {"cancel_at_period_end": True})
    before = len(t.v1.invoices.list({"subscription": t.memory.monthly}).data)
    t.advance(t.memory.second_clock, _end(made) + 2 * 3600)
    same(t.v1.subscriptions.retrieve(t.memory.monthly).status, "canceled")
    same(len(t.v1.invoices.list({"subscription": t.memory.monthly}).data), before)


@step("schedules", "subscription_schedules.retrieve")
def phases(t: Tour) -> None:
    """At the end of a phase the subscription has the next one's price."""
    month = {"interval": "month", "interval_count": 1}
    made = t.v1.subscription_schedules.create(
        {
            "customer": t.memory.months,
            "start_date": "now",
            "end_behavior": "release",
            "phases": [
                {"items": [{"price": t.memory.price}], "duration": month},
                {"items": [{"price": t.memory.bigger}], "duration": month},
            ],
        }
    )
    t.advance(t.memory.second_clock, made.phases[0].end_date + 2 * 3600)
    found = t.v1.subscription_schedules.retrieve(made.id, {"expand": ["subscription"]})
    same((found.status, found.subscription["items"].data[0].price.id), ("active", t.memory.bigger))
    invoice = t.v1.invoices.list({"subscription": found.subscription.id, "limit": 1}).data[0]
    same(invoice.total, 9900)
    t.advance(t.memory.second_clock, made.phases[1].end_date + 2 * 3600)
    same(t.v1.subscription_schedules.retrieve(made.id).status, "released")


@step("test clocks", "test_helpers.test_clocks.advance")
def too_far(t: Tour) -> None:
    """A clock advances by at most two intervals of its shortest subscription."""
    now = t.v1.test_helpers.test_clocks.retrieve(t.memory.second_clock).frozen_time
    far = {"frozen_time": now + 800 * DAY}
    refused(lambda: t.v1.test_helpers.test_clocks.advance(t.memory.second_clock, far), status=400)


@step("test clocks", "customers.list")
def apart(t: Tour) -> None:
    """A list of customers leaves those of clocks out, unless the clock is named."""
    found = t.v1.customers.list({"test_clock": t.memory.second_clock}).data
    assert t.memory.months in [one.id for one in found], "not among its clock's"
    newest = t.v1.customers.list({"limit": 20}).data
    same([one.id for one in newest if one.test_clock], [])


@step("test clocks", "test_helpers.test_clocks.delete")
def clock_delete(t: Tour) -> None:
    """A deleted clock takes its customers along."""
    for clock in (t.memory.clock, t.memory.second_clock):
        same(t.v1.test_helpers.test_clocks.delete(clock).deleted, True)
    same(t.v1.customers.retrieve(t.memory.months).deleted, True)
