"""Products, prices, coupons, promotion codes, tax rates."""

from __future__ import annotations

from decimal import Decimal

from benchmarks.stripe_steps.step import Tour, refused, same, step


@step("products", "products.create")
def product_create(t: Tour) -> None:
    """A product is created active, with its name and metadata."""
    made = t.v1.products.create({"name": f"Tour {t.tail}", "metadata": {"tour": t.tail}})
    t.memory.product = made.id
    same((made.active, made.metadata["tour"]), (True, t.tail))


@step("products", "products.update")
def product_update(t: Tour) -> None:
    """Metadata merges: other keys stay, an empty value unsets its key."""
    made = t.v1.products.update(t.memory.product, {"metadata": {"more": "1"}})
    same(made.metadata.to_dict(), {"tour": t.tail, "more": "1"})
    made = t.v1.products.update(t.memory.product, {"metadata": {"more": ""}})
    same(made.metadata.to_dict(), {"tour": t.tail})


@step("products", "products.retrieve")
def product_retrieve(t: Tour) -> None:
    """An id that names nothing is answered 404, resource_missing."""
    same(t.v1.products.retrieve(t.memory.product).id, t.memory.product)
    refused(lambda: t.v1.products.retrieve("prod_nobody"), status=404, code="resource_missing")


@step("products", "products.list")
def product_list(t: Tour) -> None:
    """Lists are pages, newest first, with has_more and cursors."""
    t.v1.products.create({"name": f"Tour again {t.tail}"})
    page = t.v1.products.list({"limit": 1})
    same((len(page.data), page.has_more), (1, True))
    older = t.v1.products.list({"limit": 1, "starting_after": page.data[0].id})
    assert older.data[0].id != page.data[0].id, "the cursor did not move"


@step("prices", "prices.create")
def price_create(t: Tour) -> None:
    """A recurring price has an interval, and its amount as whole and as decimal."""
    made = t.v1.prices.create(
        {
            "product": t.memory.product,
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
            "lookup_key": f"tour_{t.tail}",
        }
    )
    t.memory.price = made.id
    same((made.type, made.recurring.interval, made.unit_amount), ("recurring", "month", 2900))
    same(Decimal(made.unit_amount_decimal), Decimal(2900))
    bigger = {"product": t.memory.product, "currency": "usd", "unit_amount": 9900, "recurring": {"interval": "month"}}
    t.memory.bigger = t.v1.prices.create(bigger).id
    t.memory.once = t.v1.prices.create({"product": t.memory.product, "currency": "usd", "unit_amount": 500}).id


@step("prices", "prices.create")
def price_tiers(t: Tour) -> None:
    """Graduated tiers are kept; the last one, up to infinity, has no top."""
    made = t.v1.prices.create(
        {
            "product": t.memory.product,
            "currency": "usd",
            "recurring": {"interval": "month"},
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": 10, "unit_amount": 100}, {"up_to": "inf", "unit_amount": 50}],
            "expand": ["tiers"],
        }
    )
    same([tier.up_to for tier in made.tiers], [10, None])


@step("prices", "prices.create")
def price_twice(t: Tour) -> None:
    """The same Idempotency-Key with the same parameters gives the same object; with others it is an error."""
    params = {"product": t.memory.product, "currency": "usd", "unit_amount": 700}
    options = {"idempotency_key": f"tour-{t.tail}"}
    first, second = (t.v1.prices.create(params, options) for _ in range(2))
    same(first.id, second.id)
    refused(lambda: t.v1.prices.create({**params, "unit_amount": 800}, options), status=400)


@step("prices", "prices.create")
def price_unknown(t: Tour) -> None:
    """An unknown parameter is refused by name."""
    error = refused(lambda: t.v1.prices.create({"curency": "usd"}), status=400, code="parameter_unknown")
    same(getattr(error, "param", None), "curency")


@step("prices", "prices.list")
def price_list(t: Tour) -> None:
    """A lookup key finds its price."""
    same([one.id for one in t.v1.prices.list({"lookup_keys": [f"tour_{t.tail}"]}).data], [t.memory.price])


@step("prices", "prices.update")
def price_update(t: Tour) -> None:
    """A lookup key that another price has moves only with transfer_lookup_key."""
    key = {"lookup_key": f"tour_{t.tail}"}
    refused(lambda: t.v1.prices.update(t.memory.bigger, key), status=400)
    t.v1.prices.update(t.memory.bigger, {**key, "transfer_lookup_key": True})
    same(t.v1.prices.retrieve(t.memory.price).lookup_key, None)


@step("prices", "prices.retrieve")
def price_retrieve(t: Tour) -> None:
    """`expand` puts an object where its id was."""
    same(t.v1.prices.retrieve(t.memory.price, {"expand": ["product"]}).product.id, t.memory.product)


@step("coupons", "coupons.create")
def coupon_create(t: Tour) -> None:
    """A coupon takes a percentage or a sum off, not both."""
    made = t.v1.coupons.create({"percent_off": 25, "duration": "once"})
    t.memory.coupon = made.id
    same((made.percent_off, made.valid), (25, True))
    both = {"percent_off": 25, "amount_off": 100, "currency": "usd", "duration": "once"}
    refused(lambda: t.v1.coupons.create(both), status=400)


@step("coupons", "coupons.retrieve")
def coupon_retrieve(t: Tour) -> None:
    """A fresh coupon was redeemed zero times."""
    same(t.v1.coupons.retrieve(t.memory.coupon).times_redeemed, 0)


@step("coupons", "promotion_codes.create")
def code_create(t: Tour) -> None:
    """A promotion code is a word that customers type for a coupon."""
    promotion = {"type": "coupon", "coupon": t.memory.coupon}
    made = t.v1.promotion_codes.create({"promotion": promotion, "code": f"TOUR{t.tail.upper()}"})
    t.memory.code = made.id
    same((made.active, made.promotion.coupon), (True, t.memory.coupon))


@step("coupons", "promotion_codes.list")
def code_list(t: Tour) -> None:
    """A code is found by its word."""
    same([one.id for one in t.v1.promotion_codes.list({"code": f"TOUR{t.tail.upper()}"}).data], [t.memory.code])


@step("taxes", "tax_rates.create")
def rate_create(t: Tour) -> None:
    """A tax rate has a percentage and is inclusive or not."""
    made = t.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    t.memory.rate = made.id
    same((made.percentage, made.inclusive), (19, False))
