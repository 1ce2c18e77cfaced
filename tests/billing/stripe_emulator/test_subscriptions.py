"""Subscriptions and invoices over time."""

import datetime as dt

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from billing.stripe_emulator.nouns.periods import period_end, step
from billing.stripe_emulator.nouns.subscriptions import ENDED, MOVES
from tests.billing.emulated import Emulator

DAY = 86400


def period(subscription: stripe.Subscription) -> tuple[int, int]:
    item = subscription["items"].data[0]
    return item.current_period_start, item.current_period_end


def latest(emulator: Emulator, subscription_id: str) -> stripe.Invoice:
    return emulator.v1.invoices.list({"subscription": subscription_id, "limit": 1}).data[0]


def status(emulator: Emulator, subscription_id: str) -> str:
    return emulator.v1.subscriptions.retrieve(subscription_id).status


def test_a_paid_first_invoice_makes_it_active(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    assert subscription.status == "active"
    invoice = latest(clockwork, subscription.id)
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", 2900)
    assert invoice.parent.subscription_details.subscription == subscription.id  # type: ignore[union-attr]


def test_the_events_of_a_first_payment_come_in_stripes_order(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    types = clockwork.event_types(str(subscription.customer))
    wanted = ["customer.subscription.created", "invoice.created", "invoice.finalized", "payment_intent.succeeded"]
    wanted += ["invoice.paid", "customer.subscription.updated"]
    assert [t for t in types if t in wanted] == wanted


def test_a_refused_first_payment_leaves_it_incomplete_and_then_expired(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(card="pm_card_chargeCustomerFail")
    assert subscription.status == "incomplete"
    assert latest(clockwork, subscription.id).status == "open"
    clockwork.advance(days=1)
    assert status(clockwork, subscription.id) == "incomplete_expired"
    assert latest(clockwork, subscription.id).status == "void"


def test_paying_an_incomplete_one_later_starts_it(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(card="pm_card_chargeCustomerFail")
    clockwork.v1.invoices.pay(latest(clockwork, subscription.id).id, {"payment_method": "pm_card_visa"})
    assert status(clockwork, subscription.id) == "active"


def test_error_if_incomplete_leaves_nothing(clockwork: Emulator) -> None:
    with pytest.raises(stripe.CardError) as caught:
        clockwork.subscribe(card="pm_card_chargeCustomerFail", payment_behavior="error_if_incomplete")
    assert caught.value.code == "card_declined"
    newest = clockwork.v1.customers.list({"limit": 1}).data[0]
    assert clockwork.v1.subscriptions.list({"customer": newest.id, "status": "all"}).data == []


def test_without_a_card_a_paid_plan_is_refused_and_a_free_one_is_not(clockwork: Emulator) -> None:
    customer = clockwork.customer(card=None)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        clockwork.v1.subscriptions.create({"customer": customer.id, "items": [{"price": clockwork.price().id}]})
    free = clockwork.v1.subscriptions.create({"customer": customer.id, "items": [{"price": clockwork.price(0).id}]})
    assert free.status == "active"


def test_it_renews_and_charges_an_hour_later(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    _, end = period(subscription)
    now = clockwork.control()["now"]
    clockwork.advance(seconds=end - now + 60)
    renewed = clockwork.v1.subscriptions.retrieve(subscription.id)
    assert period(renewed)[0] == end
    assert latest(clockwork, subscription.id).status == "draft"
    clockwork.advance(seconds=3700)
    invoice = latest(clockwork, subscription.id)
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_cycle")


def test_a_refused_renewal_is_retried_and_recovers(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    customer, good = str(subscription.customer), "pm_card_mastercard"
    bad = clockwork.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer})
    clockwork.v1.subscriptions.update(subscription.id, {"default_payment_method": bad.id})
    clockwork.advance(seconds=period(subscription)[1] - clockwork.control()["now"] + 2 * 3600)
    assert status(clockwork, subscription.id) == "past_due"
    assert clockwork.v1.customers.retrieve(customer).delinquent
    clockwork.v1.subscriptions.update(subscription.id, {"default_payment_method": good})
    clockwork.advance(days=3.5)
    assert status(clockwork, subscription.id) == "active"
    assert not clockwork.v1.customers.retrieve(customer).delinquent


def test_when_every_retry_is_refused_it_is_canceled(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    card = clockwork.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": str(subscription.customer)})
    clockwork.v1.subscriptions.update(subscription.id, {"default_payment_method": card.id})
    clockwork.advance(seconds=period(subscription)[1] - clockwork.control()["now"] + 2 * 3600)
    clockwork.advance(days=20)
    ended = clockwork.v1.subscriptions.retrieve(subscription.id)
    assert ended.status == "canceled"
    assert ended.cancellation_details.reason == "payment_failed"  # type: ignore[union-attr]
    assert latest(clockwork, subscription.id).attempt_count == 4


def test_cancel_at_period_end_and_the_change_of_mind(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    clockwork.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    kept = clockwork.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    assert (kept.cancel_at, kept.canceled_at) == (None, None)
    clockwork.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    clockwork.advance(seconds=period(subscription)[1] - clockwork.control()["now"] + 1)
    assert status(clockwork, subscription.id) == "canceled"
    assert clockwork.event_types(subscription.id)[-1] == "customer.subscription.deleted"


def test_a_canceled_one_cannot_be_changed_or_canceled_again(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    assert clockwork.v1.subscriptions.cancel(subscription.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        clockwork.v1.subscriptions.cancel(subscription.id)
    with pytest.raises(stripe.InvalidRequestError):
        clockwork.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})


def test_a_deleted_customer_takes_the_subscription_along(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    clockwork.v1.customers.delete(str(subscription.customer))
    assert status(clockwork, subscription.id) == "canceled"


def test_a_trial_costs_nothing_until_it_ends(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(trial_period_days=7)
    assert subscription.status == "trialing"
    assert latest(clockwork, subscription.id).total == 0
    clockwork.advance(days=7.1)
    assert status(clockwork, subscription.id) == "active"
    assert latest(clockwork, subscription.id).amount_paid == 2900


def test_an_upgrade_in_the_middle_charges_the_difference_of_the_rest(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(3000)
    start, end = period(subscription)
    clockwork.advance(seconds=(end - start) // 2)
    change = {"items": [{"id": subscription["items"].data[0].id, "price": clockwork.price(9000).id}]}
    details = {**change, "proration_behavior": "always_invoice"}
    preview = clockwork.v1.invoices.create_preview({"subscription": subscription.id, "subscription_details": details})  # type: ignore[typeddict-item]
    changed = clockwork.v1.subscriptions.update(subscription.id, {**change, "proration_behavior": "always_invoice"})  # type: ignore[typeddict-item]
    invoice = latest(clockwork, subscription.id)
    assert invoice.total == preview.total
    assert abs(invoice.total - 3000) <= 2
    assert (invoice.status, period(changed)) == ("paid", (start, end))


def test_a_refused_upgrade_leaves_the_old_plan(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(3000)
    clockwork.control("/payments/fail", {"decline_code": "generic_decline", "count": 1})
    with pytest.raises(stripe.CardError):
        clockwork.v1.subscriptions.update(
            subscription.id,
            {
                "items": [{"id": subscription["items"].data[0].id, "price": clockwork.price(9000).id}],
                "proration_behavior": "always_invoice",
                "payment_behavior": "error_if_incomplete",
            },
        )
    found = clockwork.v1.subscriptions.retrieve(subscription.id)
    assert found["items"].data[0].price.unit_amount == 3000
    assert clockwork.control()["planned_refusals"] == []


def test_a_downgrade_credits_the_customers_balance(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(9000)
    clockwork.v1.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": subscription["items"].data[0].id, "price": clockwork.price(3000).id}],
            "proration_behavior": "always_invoice",
        },
    )
    credit = clockwork.v1.customers.retrieve(str(subscription.customer)).balance or 0
    assert -6001 <= credit <= -5990
    preview = clockwork.v1.invoices.create_preview({"subscription": subscription.id})
    assert preview.total == 3000
    assert preview.amount_due == max(0, 3000 + credit)


def test_waiting_items_go_onto_the_next_invoice_once(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe()
    customer = str(subscription.customer)
    clockwork.v1.invoice_items.create({"customer": customer, "amount": 777, "currency": "usd", "description": "Usage"})
    assert clockwork.v1.invoices.create_preview({"subscription": subscription.id}).total == 2900 + 777
    clockwork.advance(seconds=period(subscription)[1] - clockwork.control()["now"] + 2 * 3600)
    assert latest(clockwork, subscription.id).total == 2900 + 777
    assert clockwork.v1.invoices.create_preview({"subscription": subscription.id}).total == 2900


def test_a_manual_invoice_goes_from_draft_to_paid(clockwork: Emulator) -> None:
    customer = clockwork.customer()
    invoice = clockwork.v1.invoices.create({"customer": customer.id})
    item = clockwork.v1.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "amount": 1500, "currency": "usd"}
    )
    clockwork.v1.invoice_items.update(item.id, {"amount": 1600})
    assert clockwork.v1.invoices.finalize_invoice(invoice.id).amount_due == 1600
    with pytest.raises(stripe.InvalidRequestError):
        clockwork.v1.invoice_items.update(item.id, {"amount": 1})
    paid = clockwork.v1.invoices.pay(invoice.id)
    assert (paid.status, paid.amount_remaining) == ("paid", 0)
    with pytest.raises(stripe.InvalidRequestError):
        clockwork.v1.invoices.void_invoice(invoice.id)


def test_a_voided_invoice_cancels_its_payment(clockwork: Emulator) -> None:
    customer = clockwork.customer()
    clockwork.v1.invoice_items.create({"customer": customer.id, "amount": 100, "currency": "usd"})
    invoice = clockwork.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    clockwork.v1.invoices.finalize_invoice(invoice.id)
    assert clockwork.v1.invoices.void_invoice(invoice.id).status == "void"
    payment = clockwork.v1.invoice_payments.list({"invoice": invoice.id}).data[0]
    assert payment.status == "canceled"


def test_an_invoice_to_be_sent_waits_for_its_due_date(clockwork: Emulator) -> None:
    customer = clockwork.customer(card=None)
    subscription = clockwork.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": clockwork.price().id}],
            "collection_method": "send_invoice",
            "days_until_due": 30,
        }
    )
    invoice = latest(clockwork, subscription.id)
    assert (subscription.status, invoice.status) == ("active", "open")
    assert invoice.due_date == invoice.created + 30 * DAY
    paid = clockwork.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid_off_stripe) == ("paid", 2900)


def test_days_to_pay_count_from_when_an_invoice_is_final(clockwork: Emulator) -> None:
    customer = clockwork.customer(card=None)
    clockwork.v1.invoice_items.create({"customer": customer.id, "amount": 100, "currency": "usd"})
    draft = clockwork.v1.invoices.create(
        {
            "customer": customer.id,
            "collection_method": "send_invoice",
            "days_until_due": 14,
            "pending_invoice_items_behavior": "include",
        }
    )
    assert draft.due_date is None
    clockwork.advance(days=3)
    final = clockwork.v1.invoices.finalize_invoice(draft.id)
    at = final.status_transitions.finalized_at
    assert at is not None and at >= final.created + 3 * DAY
    assert (final.effective_at, final.due_date) == (at, at + 14 * DAY)


def test_a_coupon_takes_its_part_off_once(clockwork: Emulator) -> None:
    coupon = clockwork.v1.coupons.create({"percent_off": 25, "duration": "once"})
    subscription = clockwork.subscribe(4000, discounts=[{"coupon": coupon.id}])
    assert latest(clockwork, subscription.id).total == 3000
    assert clockwork.v1.invoices.create_preview({"subscription": subscription.id}).total == 4000


def test_a_refund_cannot_exceed_the_charge(clockwork: Emulator) -> None:
    intent = clockwork.v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    clockwork.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    with pytest.raises(stripe.InvalidRequestError):
        clockwork.v1.refunds.create({"payment_intent": intent.id, "amount": 501})
    clockwork.v1.refunds.create({"payment_intent": intent.id})
    assert clockwork.v1.charges.retrieve(str(intent.latest_charge)).refunded


def test_tiers_are_summed_as_graduated_prices(clockwork: Emulator) -> None:
    price = clockwork.v1.prices.create(
        {
            "currency": "usd",
            "product_data": {"name": "Seats"},
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": 5, "unit_amount": 700}, {"up_to": "inf", "unit_amount": 500}],
            "recurring": {"interval": "month"},
        }
    )
    customer = clockwork.customer()
    made = clockwork.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id, "quantity": 8}]})
    assert latest(clockwork, made.id).total == 5 * 700 + 3 * 500


def test_every_state_is_known_and_the_last_ones_are_final() -> None:
    assert set().union(*MOVES.values()) <= set(MOVES)
    assert all(not MOVES[status] for status in ENDED)


MOMENTS = st.integers(1_600_000_000, 2_000_000_000)


@given(anchor=MOMENTS, later=st.integers(0, 400 * DAY), interval=st.sampled_from(["day", "week", "month", "year"]))
def test_the_end_of_a_period_lies_after_its_start_and_on_the_anchors_grid(
    anchor: int, later: int, interval: str
) -> None:
    end = period_end(anchor, interval, 1, anchor + later)
    assert end > anchor + later
    moment = dt.datetime.fromtimestamp(end, dt.UTC)
    start = dt.datetime.fromtimestamp(anchor, dt.UTC)
    assert moment.time() == start.time()
    if interval in ("month", "year"):
        assert moment.day == start.day or (moment.day < start.day and (moment + dt.timedelta(days=1)).day == 1)


def test_the_31st_comes_back_after_a_short_month() -> None:
    anchor = int(dt.datetime(2028, 1, 31, 12, tzinfo=dt.UTC).timestamp())
    days = [dt.datetime.fromtimestamp(step(anchor, "month", 1, n), dt.UTC).day for n in range(1, 5)]
    assert days == [29, 31, 30, 31]
