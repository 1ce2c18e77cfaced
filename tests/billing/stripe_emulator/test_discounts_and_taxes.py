"""Coupons, promotion codes, tax rates and tax ids: on invoices, subscriptions and at checkout."""

from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from billing.stripe_emulator.nouns.coupons import spread
from billing.stripe_emulator.nouns.tax_rates import taxes_of
from tests.billing.emulated import GOOD, SUCCESS, Emulator

DAY = 86400


def coupon(emulator: Emulator, **more: Any) -> stripe.Coupon:
    return emulator.v1.coupons.create({"percent_off": 50, "duration": "forever", **more})


def code(emulator: Emulator, of: stripe.Coupon, **more: Any) -> stripe.PromotionCode:
    return emulator.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": of.id}, **more})


def totals(emulator: Emulator, subscription: stripe.Subscription) -> list[int]:
    """Of its invoices, oldest first."""
    return [i.total for i in emulator.v1.invoices.list({"subscription": subscription.id}).data][::-1]


def renew(emulator: Emulator, subscription: stripe.Subscription, times: int = 1) -> None:
    for _ in range(times):
        now = emulator.v1.subscriptions.retrieve(subscription.id)
        end = now["items"].data[0].current_period_end
        emulator.advance(seconds=end - emulator.control()["now"] + 7200)


def test_once_lasts_for_one_invoice_and_repeating_for_its_months(clockwork: Emulator) -> None:
    once = clockwork.subscribe(4000, discounts=[{"coupon": coupon(clockwork, duration="once").id}])
    three = coupon(clockwork, duration="repeating", duration_in_months=3)
    months = clockwork.subscribe(4000, discounts=[{"coupon": three.id}])
    assert once.discounts == []
    for subscription in (once, months):
        renew(clockwork, subscription)
    renew(clockwork, months, 2)
    assert totals(clockwork, once)[:2] == [2000, 4000]
    assert totals(clockwork, months)[:4] == [2000, 2000, 2000, 4000]
    assert "customer.discount.deleted" in clockwork.event_types(str(once.customer))


def test_a_coupon_given_later_takes_its_part_off_the_next_invoice(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(4000)
    clockwork.v1.subscriptions.update(
        subscription.id, {"discounts": [{"coupon": coupon(clockwork, duration="once").id}]}
    )
    assert clockwork.v1.invoices.create_preview({"subscription": subscription.id}).total == 2000
    renew(clockwork, subscription)
    assert totals(clockwork, subscription) == [4000, 2000]
    assert clockwork.v1.invoices.create_preview({"subscription": subscription.id}).total == 4000


def test_a_discount_can_be_taken_away(emulator: Emulator) -> None:
    subscription = emulator.subscribe(4000, discounts=[{"coupon": coupon(emulator).id}])
    assert emulator.v1.invoices.create_preview({"subscription": subscription.id}).total == 2000
    emulator.v1.subscriptions.delete_discount(subscription.id)
    assert emulator.v1.invoices.create_preview({"subscription": subscription.id}).total == 4000
    with pytest.raises(stripe.InvalidRequestError):
        emulator.v1.subscriptions.delete_discount(subscription.id)


def test_discounts_come_one_after_the_other_and_never_below_zero(emulator: Emulator) -> None:
    fixed = coupon(emulator, percent_off=None, amount_off=500, currency="usd")
    both = [{"coupon": coupon(emulator).id}, {"coupon": fixed.id}]
    invoice = emulator.v1.invoices.retrieve(str(emulator.subscribe(4000, discounts=both).latest_invoice))
    assert invoice.total == 1500
    assert [entry.amount for entry in invoice.total_discount_amounts or []] == [2000, 500]
    assert [entry.amount for entry in invoice.lines.data[0].discount_amounts or []] == [2000, 500]
    assert totals(emulator, emulator.subscribe(300, discounts=[{"coupon": fixed.id}])) == [0]


def test_what_must_not_be_discounted_is_not(emulator: Emulator) -> None:
    customer = emulator.customer()
    for amount, discountable in ((1000, True), (700, False)):
        emulator.v1.invoice_items.create(
            {"customer": customer.id, "amount": amount, "currency": "usd", "discountable": discountable}
        )
    emulator.v1.invoice_items.create({"customer": customer.id, "amount": -300, "currency": "usd"})
    free = coupon(emulator, percent_off=100)
    invoice = emulator.v1.invoices.create(
        {
            "customer": customer.id,
            "pending_invoice_items_behavior": "include",
            "discounts": [{"coupon": free.id}],
        }
    )
    assert (invoice.subtotal, invoice.total) == (1400, 400)


def test_a_coupon_for_some_products_leaves_the_others(emulator: Emulator) -> None:
    mine, other = emulator.price(1000), emulator.price(3000)
    some = coupon(emulator, applies_to={"products": [str(mine.product)]})
    shown = emulator.v1.coupons.retrieve(some.id, {"expand": ["applies_to"]})
    assert shown.applies_to.products == [mine.product]  # type: ignore[union-attr]
    customer = emulator.customer()
    made = emulator.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": mine.id}, {"price": other.id}],
            "discounts": [{"coupon": some.id}],
        }
    )
    assert totals(emulator, made) == [3500]


def test_an_upgrade_under_a_lasting_discount_is_prorated_with_it(clockwork: Emulator) -> None:
    subscription = clockwork.subscribe(3000, discounts=[{"coupon": coupon(clockwork).id}])
    item = subscription["items"].data[0]
    clockwork.advance(seconds=(item.current_period_end - item.current_period_start) // 2)
    changed = clockwork.v1.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": item.id, "price": clockwork.price(9000).id}],
            "proration_behavior": "always_invoice",
        },
    )
    assert abs(clockwork.v1.invoices.retrieve(str(changed.latest_invoice)).total - 1500) <= 2


@pytest.mark.parametrize(
    "params",
    [
        {"percent_off": 101},
        {"percent_off": 0},
        {"percent_off": None, "amount_off": -1, "currency": "usd"},
        {"percent_off": None, "amount_off": 100},
        {"duration": "repeating"},
        {"duration_in_months": 3},
        {"max_redemptions": 0},
        {"redeem_by": 5},
        {"applies_to": {"products": ["prod_nobody"]}},
    ],
)
def test_a_coupon_that_cannot_be_is_refused(emulator: Emulator, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        coupon(emulator, **params)


def test_a_coupon_is_used_as_often_as_it_says(emulator: Emulator) -> None:
    twice = coupon(emulator, max_redemptions=2)
    for _ in range(2):
        emulator.subscribe(discounts=[{"coupon": twice.id}])
    found = emulator.v1.coupons.retrieve(twice.id)
    assert (found.times_redeemed, found.valid) == (2, False)
    with pytest.raises(stripe.InvalidRequestError, match="no longer valid"):
        emulator.subscribe(discounts=[{"coupon": twice.id}])
    with pytest.raises(stripe.InvalidRequestError, match="takes off eur"):
        fixed = coupon(emulator, percent_off=None, amount_off=5, currency="eur")
        emulator.subscribe(discounts=[{"coupon": fixed.id}])


def test_a_promotion_code_gives_its_coupon(emulator: Emulator) -> None:
    made = code(emulator, coupon(emulator), code="SPRING-24")
    subscription = emulator.subscribe(4000, discounts=[{"promotion_code": made.id}])
    assert totals(emulator, subscription) == [2000]
    discount = emulator.v1.subscriptions.retrieve(subscription.id, {"expand": ["discounts"]}).discounts[0]
    assert discount.promotion_code == made.id  # type: ignore[union-attr]
    assert emulator.v1.promotion_codes.retrieve(made.id).times_redeemed == 1
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        code(emulator, coupon(emulator), code="spring-24")
    emulator.v1.promotion_codes.update(made.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="not active"):
        emulator.subscribe(discounts=[{"promotion_code": made.id}])


def test_a_code_for_a_first_payment_refuses_who_paid_before(emulator: Emulator) -> None:
    first = code(emulator, coupon(emulator), restrictions={"first_time_transaction": True})
    subscription = emulator.subscribe(discounts=[{"promotion_code": first.id}])
    with pytest.raises(stripe.InvalidRequestError, match="paid before"):
        emulator.v1.subscriptions.create(
            {
                "customer": str(subscription.customer),
                "items": [{"price": emulator.price().id}],
                "discounts": [{"promotion_code": first.id}],
            }
        )


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"restrictions": {"minimum_amount": 5000, "minimum_amount_currency": "usd"}}, "below its minimum"),
        ({"restrictions": {"minimum_amount": 1, "minimum_amount_currency": "eur"}}, "payments in eur"),
        ({"customer": "other"}, "another customer"),
    ],
)
def test_a_code_keeps_to_its_restrictions(emulator: Emulator, params: dict[str, Any], words: str) -> None:
    if "customer" in params:
        params = {"customer": emulator.customer().id}
    made = code(emulator, coupon(emulator), **params)
    with pytest.raises(stripe.InvalidRequestError, match=words):
        emulator.subscribe(4000, discounts=[{"promotion_code": made.id}])
    assert emulator.v1.promotion_codes.retrieve(made.id).times_redeemed == 0


def test_a_code_is_over_after_its_time_or_its_uses(clockwork: Emulator) -> None:
    now = clockwork.control()["now"]
    timed = code(clockwork, coupon(clockwork), expires_at=now + DAY)
    single = code(clockwork, coupon(clockwork), max_redemptions=1)
    clockwork.subscribe(discounts=[{"promotion_code": single.id}])
    assert not clockwork.v1.promotion_codes.retrieve(single.id).active
    clockwork.advance(days=2)
    for made in (timed, single):
        with pytest.raises(stripe.InvalidRequestError, match="cannot be redeemed"):
            clockwork.subscribe(discounts=[{"promotion_code": made.id}])
    with pytest.raises(stripe.InvalidRequestError, match="used up"):
        clockwork.v1.promotion_codes.update(single.id, {"active": True})


def session(emulator: Emulator, **more: Any) -> stripe.checkout.Session:
    return emulator.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": emulator.price(4000).id, "quantity": 1}],
            "success_url": SUCCESS,
            **more,
        }
    )


def test_a_buyer_types_a_code_in_at_checkout(emulator: Emulator) -> None:
    made = code(emulator, coupon(emulator), code="HALFOFF")
    bought = session(emulator, allow_promotion_codes=True)
    url = str(bought.url)
    status, text, _ = emulator.page(f"{url}/promotion", {"code": "NOSUCH"})
    assert (status, "This code is invalid." in text) == (400, True)
    assert emulator.page(f"{url}/promotion", {"code": " halfoff "})[0] == 303
    assert "Subscribe $20.00" in emulator.page(url)[1]
    shown = emulator.v1.checkout.sessions.retrieve(bought.id)
    assert (shown.amount_total, shown.total_details.amount_discount) == (2000, 2000)  # type: ignore[union-attr]
    assert shown.discounts[0].promotion_code == made.id  # type: ignore[index]
    assert emulator.page(f"{url}/promotion", {"code": ""})[0] == 303
    assert "Subscribe $40.00" in emulator.page(url)[1]
    emulator.page(f"{url}/promotion", {"code": "HALFOFF"})
    assert emulator.v1.promotion_codes.retrieve(made.id).times_redeemed == 0
    assert emulator.pay(url)[0] == 303
    assert emulator.v1.promotion_codes.retrieve(made.id).times_redeemed == 1
    done = emulator.v1.checkout.sessions.retrieve(bought.id, {"expand": ["invoice"]})
    assert done.invoice.total == 2000  # type: ignore[union-attr]


def test_a_code_is_taken_only_where_the_seller_allows_it(emulator: Emulator) -> None:
    made = code(emulator, coupon(emulator), code="NOTHERE")
    assert emulator.page(f"{session(emulator).url}/promotion", {"code": "NOTHERE"})[0] == 404
    with pytest.raises(stripe.InvalidRequestError, match="only specify one"):
        session(emulator, allow_promotion_codes=True, discounts=[{"promotion_code": made.id}])


def test_a_single_payment_counts_its_coupon(emulator: Emulator) -> None:
    half = coupon(emulator)
    line = {"price_data": {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Credit"}}, "quantity": 1}
    made = session(emulator, mode="payment", line_items=[line], discounts=[{"coupon": half.id}])
    emulator.pay(str(made.url))
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["payment_intent"]})
    assert done.payment_intent.amount_received == 500  # type: ignore[union-attr]
    assert emulator.v1.coupons.retrieve(half.id).times_redeemed == 1


def rate(emulator: Emulator, percentage: float = 19, *, inclusive: bool = False) -> stripe.TaxRate:
    return emulator.v1.tax_rates.create({"display_name": "VAT", "percentage": percentage, "inclusive": inclusive})


def test_tax_comes_on_top_after_the_discount(emulator: Emulator) -> None:
    made = emulator.subscribe(4000, default_tax_rates=[rate(emulator).id], discounts=[{"coupon": coupon(emulator).id}])
    invoice = emulator.v1.invoices.retrieve(str(made.latest_invoice))
    assert (invoice.subtotal, invoice.total_excluding_tax, invoice.total) == (4000, 2000, 2380)
    assert [(tax.amount, tax.taxable_amount) for tax in invoice.total_taxes or []] == [(380, 2000)]
    assert emulator.v1.invoices.create_preview({"subscription": made.id}).total == 2380
    text = emulator.page(str(invoice.hosted_invoice_url))[1]
    assert all(amount in text for amount in ("−$20.00", "$3.80", "$23.80"))


def test_tax_inside_a_price_leaves_its_total(emulator: Emulator) -> None:
    made = emulator.subscribe(11900, default_tax_rates=[rate(emulator, inclusive=True).id])
    invoice = emulator.v1.invoices.retrieve(str(made.latest_invoice))
    assert (invoice.total, invoice.total_excluding_tax, invoice.subtotal_excluding_tax) == (11900, 10000, 10000)


@pytest.mark.parametrize(("exempt", "reason"), [("reverse", "reverse_charge"), ("exempt", "customer_exempt")])
def test_an_exempt_customer_pays_none(emulator: Emulator, exempt: Any, reason: str) -> None:
    customer = emulator.customer()
    emulator.v1.customers.update(customer.id, {"tax_exempt": exempt})
    emulator.v1.invoice_items.create(
        {"customer": customer.id, "amount": 1000, "currency": "usd", "tax_rates": [rate(emulator).id]}
    )
    invoice = emulator.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    assert (invoice.total, invoice.total_taxes[0].taxability_reason) == (1000, reason)  # type: ignore[index]


def test_a_credit_note_gives_back_the_tax_and_the_discount_of_its_part(emulator: Emulator) -> None:
    made = emulator.subscribe(4000, default_tax_rates=[rate(emulator).id], discounts=[{"coupon": coupon(emulator).id}])
    invoice = emulator.v1.invoices.retrieve(str(made.latest_invoice))
    lines: Any = [{"type": "invoice_line_item", "invoice_line_item": invoice.lines.data[0].id, "amount": 1000}]
    note = emulator.v1.credit_notes.create({"invoice": invoice.id, "lines": lines, "refund_amount": 595})
    assert (note.subtotal, note.discount_amount, note.total_excluding_tax, note.total) == (1000, 500, 500, 595)


def test_checkout_shows_the_tax_and_takes_a_tax_id(emulator: Emulator) -> None:
    price = emulator.price(4000)
    line = {"price": price.id, "quantity": 1, "tax_rates": [rate(emulator).id]}
    made = session(emulator, line_items=[line], tax_id_collection={"enabled": True})
    assert (made.amount_subtotal, made.amount_total) == (4000, 4760)
    assert "Tax ID number" in emulator.page(str(made.url))[1]
    form = {"number": GOOD, "expiry": "12/40", "cvc": "123", "email": "a@example.com", "tax_type": "eu_vat"}
    status, text, _ = emulator.page(str(made.url), {**form, "tax_value": "nonsense!"})
    assert (status, "Invalid value for eu_vat." in text) == (400, True)
    assert emulator.page(str(made.url), {**form, "tax_value": "DE123456789"})[0] == 303
    done = emulator.v1.checkout.sessions.retrieve(made.id, {"expand": ["invoice"]})
    assert done.customer_details.tax_ids[0].value == "DE123456789"  # type: ignore[union-attr,index]
    assert done.invoice.total == 4760  # type: ignore[union-attr]
    assert done.invoice.customer_tax_ids[0].type == "eu_vat"  # type: ignore[union-attr,index]


def test_tax_ids_of_a_customer(emulator: Emulator) -> None:
    customer = emulator.v1.customers.create({"tax_id_data": [{"type": "eu_vat", "value": "DE000000000"}]})
    found = emulator.v1.customers.retrieve(customer.id, {"expand": ["tax_ids"]}).tax_ids.data[0]  # type: ignore[union-attr]
    assert (found.country, found.verification.status) == ("DE", "verified")  # type: ignore[union-attr]
    other = emulator.v1.customers.create({})
    with pytest.raises(stripe.InvalidRequestError):
        emulator.v1.customers.tax_ids.retrieve(other.id, found.id)
    with pytest.raises(stripe.InvalidRequestError, match="Invalid value"):
        emulator.v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "12"})
    assert emulator.v1.customers.tax_ids.delete(customer.id, found.id).deleted
    assert emulator.v1.customers.tax_ids.list(customer.id).data == []


def test_a_tax_rate_that_cannot_be_is_refused(emulator: Emulator) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        rate(emulator, 101)
    gone = rate(emulator)
    emulator.v1.tax_rates.update(gone.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="archived"):
        emulator.subscribe(default_tax_rates=[gone.id])
    with pytest.raises(stripe.InvalidRequestError, match="no automatic tax"):
        emulator.subscribe(automatic_tax={"enabled": True})


@given(amount=st.integers(0, 10**9), weights=st.lists(st.integers(0, 10**9), min_size=1, max_size=12))
def test_a_sum_that_is_spread_stays_the_same_sum(amount: int, weights: list[int]) -> None:
    parts = spread(min(amount, sum(weights)), weights)
    assert sum(parts) == min(amount, sum(weights))
    assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True))


@given(amount=st.integers(-(10**9), 10**9), percentage=st.decimals(0, 100, places=2))
def test_tax_inside_an_amount_and_the_rest_are_the_amount(amount: int, percentage: Any) -> None:
    tax = taxes_of([{"id": "txr", "inclusive": True, "percentage": float(percentage)}], amount, "none")[0]
    assert abs(tax["taxable_amount"] + tax["amount"] - amount) <= 1
