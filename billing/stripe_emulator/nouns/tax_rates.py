"""Tax rates, and what they add to (or find inside) an amount."""

from __future__ import annotations

from decimal import Decimal

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, public

_PLAIN = ("active", "country", "description", "display_name", "jurisdiction", "metadata", "state", "tax_type")
MOST = 5
# What an exempt customer's line says instead of `standard_rated`.
_EXEMPT = {"exempt": "customer_exempt", "reverse": "reverse_charge"}


@route("POST", "/v1/tax_rates")
def rate_create(world: World, params: Obj) -> Obj:
    if not 0 <= params["percentage"] <= 100:
        raise StripeError("Invalid percentage: must be between 0 and 100", param="percentage")
    rate = world.new(
        "tax_rate",
        "txr",
        active=True,
        inclusive=params["inclusive"],
        metadata={},
        percentage=params["percentage"],
        effective_percentage=params["percentage"],
    )
    assign(rate, params, *_PLAIN)
    return world.save(rate, "tax_rate.created")


@route("GET", "/v1/tax_rates/{tax_rate}")
def rate_retrieve(world: World, params: Obj, rate_id: str) -> Obj:
    return world.get("tax_rate", rate_id)


@route("POST", "/v1/tax_rates/{tax_rate}")
def rate_update(world: World, params: Obj, rate_id: str) -> Obj:
    rate = world.get("tax_rate", rate_id)
    assign(rate, params, *_PLAIN)
    return world.save(rate, "tax_rate.updated")


@route("GET", "/v1/tax_rates")
def rate_list(world: World, params: Obj) -> Obj:
    return page(
        world,
        "tax_rate",
        params,
        "/v1/tax_rates",
        {"active": params.get("active"), "inclusive": params.get("inclusive")},
    )


def rates_given(world: World, params: Obj, name: str, param: str | None = None) -> list[Obj]:
    """The tax rates that a parameter names, as the objects which Stripe shows; none when it is not there."""
    where = param or name
    ids = params.get(name) or []
    if len(ids) > MOST:
        raise StripeError(f"At most {MOST} tax rates are taken.", param=where)
    rates = [world.get("tax_rate", rate_id, f"{where}[{index}]") for index, rate_id in enumerate(ids)]
    for rate in rates:
        if not rate["active"]:
            raise StripeError(f"The tax rate {rate['id']} is archived.", param=where)
    return [public(rate) for rate in rates]


def no_automatic_tax(params: Obj) -> None:
    """Automatic tax needs addresses and the law of every land: say that it is not here."""
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise StripeError(
            "The local emulator has no automatic tax. Pass tax rates (default_tax_rates, tax_rates).",
            param="automatic_tax[enabled]",
        )


def taxes_of(rates: list[Obj], amount: int, exempt: str | None) -> list[Obj]:
    """One entry per rate of a line's `taxes` for an amount after discounts (cents)."""
    inside = sum((Decimal(str(rate["percentage"])) for rate in rates if rate["inclusive"]), Decimal(0))
    net = Decimal(amount) / (1 + inside / 100)
    out = []
    for rate in rates:
        tax = (net * Decimal(str(rate["percentage"])) / 100).quantize(Decimal(1), "ROUND_HALF_UP")
        out.append(
            {
                "amount": 0 if exempt in _EXEMPT else int(tax),
                "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
                "tax_rate_details": {"tax_rate": rate["id"]},
                "taxability_reason": _EXEMPT.get(str(exempt), "standard_rated"),
                "taxable_amount": int(net.quantize(Decimal(1), "ROUND_HALF_UP")),
                "type": "tax_rate_details",
            }
        )
    return out


def taxes_sum(lines: list[list[Obj]]) -> list[Obj]:
    """The taxes of several lines, one entry per rate."""
    out: dict[str, Obj] = {}
    for tax in (tax for line in lines for tax in line):
        mine = out.setdefault(tax["tax_rate_details"]["tax_rate"], {**tax, "amount": 0, "taxable_amount": 0})
        mine["amount"] += tax["amount"]
        mine["taxable_amount"] += tax["taxable_amount"]
    return list(out.values())


def exclusive(taxes: list[Obj]) -> int:
    """What taxes add to a sum."""
    return sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
