"""The calls on credit grants, their transactions and the balance."""

from __future__ import annotations

from typing import Any

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.nouns.credits import GRANT, TRANSACTION, applies_to, grants_of, transaction_make
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.metering import metered
from billing.stripe_emulator.registry import route, timer
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_PATH = "/v1/billing/credit_grants"
_TRANSACTIONS = "/v1/billing/credit_balance_transactions"
MOST_PRICES = 20
MOST_GRANTS = 100


@route("POST", _PATH)
def grant_create(world: World, params: Obj) -> Obj:
    if "customer" not in params:
        raise missing("customer")
    customer = customer_alive(world, params["customer"], "customer")
    money = params["amount"].get("monetary")
    if money is None:
        raise missing("amount[monetary]")
    if not 1 <= money["value"] <= 99_999_999:
        raise StripeError("Invalid amount: must be at least 1.", param="amount[monetary][value]")
    priority = params.get("priority", 50)
    if not 0 <= priority <= 100:
        raise StripeError("Invalid priority: must be from 0 (first) to 100.", param="priority")
    effective = params.get("effective_at", world.now)
    if (params.get("expires_at") or effective + 1) <= max(effective, world.now):
        raise StripeError("expires_at must be in the future, and after effective_at.", param="expires_at")
    if len(grants_of(world, customer["id"], now=False)) >= MOST_GRANTS:
        raise StripeError(f"A customer can have at most {MOST_GRANTS} unused credit grants.", param="customer")
    grant = world.new(
        GRANT,
        "credgr_test",
        customer=customer["id"],
        amount={"type": "monetary", "monetary": {"currency": money["currency"].lower(), "value": money["value"]}},
        applicability_config={"scope": _scope(world, params["applicability_config"]["scope"])},
        category=params.get("category", "paid"),
        effective_at=effective,
        expires_at=params.get("expires_at"),
        priority=priority,
        metadata={},
        updated=world.now,
        _left=0,
    )
    assign(grant, params, "metadata", "name")
    world.save(grant, "billing.credit_grant.created")
    transaction_make(world, grant, "credit", "credits_granted", money["value"])
    return grant


def _scope(world: World, given: Obj) -> Obj:
    if ("price_type" in given) == bool(given.get("prices")):
        raise StripeError(
            "Pass either price_type or prices in the scope, and not both.", param="applicability_config[scope]"
        )
    prices = given.get("prices")
    for index, entry in enumerate(prices or []):
        param = f"applicability_config[scope][prices][{index}][id]"
        if index >= MOST_PRICES or not metered(world.get("price", entry["id"], param)):
            raise StripeError(f"A grant is for metered prices, {MOST_PRICES} at most.", param=param)
    return {"price_type": given.get("price_type"), "prices": prices or None}


@route("GET", _PATH + "/{id}")
def grant_retrieve(world: World, params: Obj, grant_id: str) -> Obj:
    return world.get(GRANT, grant_id)


@route("POST", _PATH + "/{id}")
def grant_update(world: World, params: Obj, grant_id: str) -> Obj:
    grant = world.get(GRANT, grant_id)
    if isinstance(params.get("expires_at"), int) and params["expires_at"] <= world.now:
        raise StripeError("expires_at must be in the future.", param="expires_at")
    assign(grant, params, "metadata", "expires_at")
    grant["updated"] = world.now
    return world.save(grant, "billing.credit_grant.updated")


@route("GET", _PATH)
def grant_list(world: World, params: Obj) -> Obj:
    return page(world, GRANT, params, _PATH, {"customer": params.get("customer")})


@route("POST", _PATH + "/{id}/expire")
def grant_expire(world: World, params: Obj, grant_id: str) -> Obj:
    grant = world.get(GRANT, grant_id)
    if grant["voided_at"] or (grant["expires_at"] or world.now + 1) <= world.now:
        raise wrong_state("This credit grant is already over.")
    grant["expires_at"] = world.now
    _empty(world, grant, "credits_expired")
    return world.save(grant, "billing.credit_grant.updated")


@route("POST", _PATH + "/{id}/void")
def grant_void(world: World, params: Obj, grant_id: str) -> Obj:
    grant = world.get(GRANT, grant_id)
    if grant["voided_at"] or grant["_left"] != grant["amount"]["monetary"]["value"]:
        raise wrong_state("Only a credit grant that was not used can be void; let this one expire.")
    _empty(world, grant, "credits_voided")
    grant["voided_at"] = world.now
    return world.save(grant, "billing.credit_grant.updated")


def _empty(world: World, grant: Obj, why: str) -> None:
    grant["updated"] = world.now
    if grant["_left"] > 0:
        transaction_make(world, grant, "debit", why, grant["_left"])


@timer(GRANT, lambda grant: grant["expires_at"] if grant["_left"] > 0 else None)
def grant_wake(world: World, grant: Obj) -> None:
    """Its end has come: what is left is gone."""
    _empty(world, grant, "credits_expired")
    world.save(grant, "billing.credit_grant.updated")


@route("GET", _TRANSACTIONS)
def transaction_list(world: World, params: Obj) -> Obj:
    where = {"_customer": params.get("customer"), "credit_grant": params.get("credit_grant")}
    return page(world, TRANSACTION, params, _TRANSACTIONS, where)


@route("GET", _TRANSACTIONS + "/{id}")
def transaction_retrieve(world: World, params: Obj, transaction_id: str) -> Obj:
    return world.get(TRANSACTION, transaction_id)


@route("GET", "/v1/billing/credit_balance_summary")
def balance_summary(world: World, params: Obj) -> Obj:
    if "customer" not in params:
        raise missing("customer")
    customer = customer_alive(world, params["customer"], "customer")
    asked = params["filter"]
    if asked["type"] not in asked:
        raise missing(f"filter[{asked['type']}]")
    every = grants_of(world, customer["id"], now=False)
    if asked["type"] == "credit_grant":
        grant = world.get(GRANT, asked["credit_grant"], "filter[credit_grant]")
        every = [one for one in every if one["id"] == grant["id"]]
    elif prices := asked["applicability_scope"].get("prices"):
        every = [one for one in every if any(applies_to(one, price["id"]) for price in prices)]
    currencies = list(dict.fromkeys(one["amount"]["monetary"]["currency"] for one in every))
    return {
        "object": "billing.credit_balance_summary",
        "balances": [_balance(world, every, currency) for currency in currencies or [customer["currency"] or "usd"]],
        "customer": customer["id"],
        "customer_account": None,
        "livemode": False,
    }


def _balance(world: World, grants: list[Obj], currency: str) -> Obj:
    mine = [grant for grant in grants if grant["amount"]["monetary"]["currency"] == currency]
    now = [grant for grant in mine if grant["effective_at"] <= world.now]

    def money(some: list[Obj]) -> dict[str, Any]:
        whole = sum(grant["_left"] for grant in some)
        return {"type": "monetary", "monetary": {"currency": currency, "value": whole}}

    return {"available_balance": money(now), "ledger_balance": money(mine)}
