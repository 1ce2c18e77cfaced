"""Products and prices."""

from __future__ import annotations

from decimal import Decimal

from billing.stripe_emulator.answers import assign, merged_metadata, page
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_PRODUCT = (
    "active",
    "description",
    "images",
    "marketing_features",
    "metadata",
    "name",
    "package_dimensions",
    "shippable",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
)


@route("POST", "/v1/products")
def product_create(world: World, params: Obj) -> Obj:
    product = world.new("product", "prod", active=True, type="service", updated=world.now)
    if "id" in params:
        if world.maybe(params["id"]) is not None:
            raise StripeError(f"Product already exists: {params['id']}", code="resource_already_exists", param="id")
        product["id"] = params["id"]
    assign(product, params, *_PRODUCT)
    world.save(product, "product.created")
    if "default_price_data" in params:
        price = price_make(world, {**params["default_price_data"], "product": product["id"]})
        product["default_price"] = price["id"]
        world.save(product, "product.updated")
    return product


@route("GET", "/v1/products/{id}")
def product_retrieve(world: World, params: Obj, product_id: str) -> Obj:
    return world.get("product", product_id)


@route("POST", "/v1/products/{id}")
def product_update(world: World, params: Obj, product_id: str) -> Obj:
    product = world.get("product", product_id)
    before = dict(product)
    assign(product, params, *_PRODUCT)
    if "default_price" in params:
        product["default_price"] = world.get("price", params["default_price"], "default_price")["id"]
    if product != before:
        product["updated"] = world.now
    return world.save(product, "product.updated")


@route("DELETE", "/v1/products/{id}")
def product_delete(world: World, params: Obj, product_id: str) -> Obj:
    product = world.get("product", product_id)
    if world.find("price", product=product_id):
        raise wrong_state("This product cannot be deleted because it has one or more user-created prices.")
    world.drop(product, "product.deleted")
    return {"id": product_id, "object": "product", "deleted": True}


@route("GET", "/v1/products")
def product_list(world: World, params: Obj) -> Obj:
    where = {"active": params.get("active"), "id": params.get("ids"), "url": params.get("url")}
    return page(world, "product", params, "/v1/products", where)


def price_make(world: World, params: Obj) -> Obj:
    """Create and log a price of an existing product, or of `product_data`."""
    product_id = params.get("product")
    if product_id is None and "product_data" in params:
        product_id = product_create(world, params["product_data"])["id"]
    if product_id is None:
        raise missing("product")
    world.get("product", product_id, "product")
    if params.get("billing_scheme") == "tiered" and not params.get("tiers"):
        raise missing("tiers")
    price = world.new(
        "price",
        "price",
        active=params.get("active", True),
        billing_scheme=params.get("billing_scheme", "per_unit"),
        currency=_currency(params["currency"]),
        product=product_id,
        type="recurring" if "recurring" in params else "one_time",
        tax_behavior=params.get("tax_behavior", "unspecified"),
        tiers_mode=params.get("tiers_mode"),
    )
    _amount(price, params)
    if "transform_quantity" in params:
        if "tiers" in params:
            raise StripeError("transform_quantity cannot be combined with tiers.", param="transform_quantity")
        if params["transform_quantity"]["divide_by"] < 1:
            raise StripeError("Invalid divide_by: must be at least 1", param="transform_quantity[divide_by]")
        price["transform_quantity"] = dict(params["transform_quantity"])
    if "recurring" in params:
        _meter_check(world, params["recurring"])
        price["recurring"] = {
            "interval": params["recurring"]["interval"],
            "interval_count": params["recurring"].get("interval_count", 1),
            "meter": params["recurring"].get("meter"),
            "trial_period_days": params["recurring"].get("trial_period_days"),
            "usage_type": params["recurring"].get("usage_type", "licensed"),
        }
    assign(price, params, "metadata", "nickname")
    _lookup_key(world, price, params)
    return world.save(price, "price.created")


def _meter_check(world: World, recurring: Obj) -> None:
    counted = recurring.get("usage_type") == "metered"
    if counted and "meter" not in recurring:
        raise StripeError("A metered price needs the meter that counts for it.", param="recurring[meter]")
    if not counted and "meter" in recurring:
        raise StripeError("A meter goes with usage_type=metered, and only with it.", param="recurring[usage_type]")
    if counted:
        world.get("billing.meter", recurring["meter"], "recurring[meter]")


def _currency(text: str) -> str:
    if len(text) != 3 or not text.isascii() or not text.isalpha():
        raise StripeError(
            f"Invalid currency: {text[:20]}. Stripe currently supports these currencies: usd, eur, gbp, "
            "cny, jpy and others.",
            param="currency",
        )
    return text.lower()


def _amount(price: Obj, params: Obj) -> None:
    if "tiers" in params:
        price["tiers"] = [_tier(tier) for tier in params["tiers"]]
        return
    given = params.get("unit_amount_decimal", params.get("unit_amount"))
    if given is None:
        raise missing("unit_amount")
    exact = Decimal(given)
    if exact < 0:
        raise StripeError("Invalid non-negative integer", code="parameter_invalid_integer", param="unit_amount")
    price["unit_amount_decimal"] = format(exact.normalize(), "f")
    price["unit_amount"] = int(exact) if exact == int(exact) else None


def _tier(given: Obj) -> Obj:
    """One tier; the last one, up to infinity, has no top."""
    tier: Obj = {"up_to": None if given["up_to"] == "inf" else given["up_to"]}
    for name in ("unit_amount", "flat_amount"):
        amount = given.get(f"{name}_decimal", given.get(name))
        tier[name] = tier[f"{name}_decimal"] = None
        if amount is not None:
            exact = Decimal(amount)
            tier[name] = int(exact) if exact == int(exact) else None
            tier[f"{name}_decimal"] = format(exact.normalize(), "f")
    return tier


def _lookup_key(world: World, price: Obj, params: Obj) -> None:
    key = params.get("lookup_key")
    if key is None:
        return
    for other in world.find("price", lookup_key=key, active=True):
        if other["id"] == price["id"]:
            continue
        if not params.get("transfer_lookup_key"):
            raise StripeError(
                f"A price (`{other['id']}`) already uses that lookup key. Set `transfer_lookup_key` to move it.",
                param="lookup_key",
            )
        other["lookup_key"] = None
        world.save(other, "price.updated")
    price["lookup_key"] = key or None


@route("POST", "/v1/prices")
def price_create(world: World, params: Obj) -> Obj:
    return price_make(world, params)


@route("GET", "/v1/prices/{price}")
def price_retrieve(world: World, params: Obj, price_id: str) -> Obj:
    return world.get("price", price_id)


@route("POST", "/v1/prices/{price}")
def price_update(world: World, params: Obj, price_id: str) -> Obj:
    price = world.get("price", price_id)
    assign(price, params, "active", "nickname", "tax_behavior")
    if "metadata" in params:
        price["metadata"] = merged_metadata(price["metadata"], params["metadata"])
    _lookup_key(world, price, params)
    return world.save(price, "price.updated")


@route("GET", "/v1/prices")
def price_list(world: World, params: Obj) -> Obj:
    where = {
        "active": params.get("active"),
        "currency": params.get("currency"),
        "product": params.get("product"),
        "type": params.get("type"),
        "lookup_key": params.get("lookup_keys"),
        "recurring.interval": params.get("recurring", {}).get("interval"),
    }
    return page(world, "price", params, "/v1/prices", where)


def amount_of(price: Obj, quantity: int) -> int:
    """What a quantity costs, in the currency's smallest unit; halves round up as Stripe does."""
    if price["billing_scheme"] == "tiered":
        return _tiered(price, quantity)
    exact = Decimal(price["unit_amount_decimal"]) * packages(price, quantity)
    return int(exact.quantize(Decimal(1), "ROUND_HALF_UP"))


def packages(price: Obj, quantity: int) -> int:
    """How many times the unit amount is charged for a quantity: by packages, where the price sells those."""
    rule = price["transform_quantity"]
    if rule is None:
        return quantity
    rest = rule["divide_by"] - 1 if rule["round"] == "up" else 0
    return int((quantity + rest) // rule["divide_by"])


def _tiered(price: Obj, quantity: int) -> int:
    total, below = Decimal(0), 0
    for tier in price["tiers"]:
        top = tier["up_to"]
        inside = quantity if top is None else min(quantity, top)
        unit, flat = Decimal(tier["unit_amount_decimal"] or 0), Decimal(tier["flat_amount_decimal"] or 0)
        last = top is None or quantity <= top
        if price["tiers_mode"] == "volume":
            if last:
                return int((unit * quantity + flat).quantize(Decimal(1), "ROUND_HALF_UP"))
        else:
            total += unit * (inside - below) + (flat if inside > below or (quantity == 0 and below == 0) else 0)
        below = inside
        if last:
            break
    return int(total.quantize(Decimal(1), "ROUND_HALF_UP"))


def plan_of(price: Obj) -> Obj:
    """The old `plan` view of a price, which subscription items still carry."""
    recurring = price["recurring"] or {}
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring.get("interval", "month"),
        "interval_count": recurring.get("interval_count", 1),
        "livemode": False,
        "metadata": price["metadata"],
        "meter": recurring.get("meter"),
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": recurring.get("trial_period_days"),
        "usage_type": recurring.get("usage_type", "licensed"),
    }


def price_for(world: World, item: Obj, param: str, *, recurring: bool | None = None) -> Obj:
    """The price of an item given as `price` or `price_data`; it must be active and of the wanted kind."""
    if "price" in item:
        price = world.get("price", item["price"], f"{param}[price]")
    elif "price_data" in item:
        price = price_make(world, item["price_data"])
    else:
        raise missing(f"{param}[price]")
    # A price that was agreed on stays, whether it is still sold or not.
    if not price["active"] and not item.get("_agreed"):
        raise StripeError(
            f"The price specified is inactive. This field only accepts active prices. (price: {price['id']})",
            param=f"{param}[price]",
        )
    if recurring is not None and (price["type"] == "recurring") != recurring:
        wanted, got = ("recurring", "one_time") if recurring else ("one_time", "recurring")
        raise StripeError(
            f"The price specified is set to `type={got}` but this field only accepts prices with `type={wanted}`.",
            param=f"{param}[price]",
        )
    return price
