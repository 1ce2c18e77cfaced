"""A customer's balance: negative is credit, positive is added to the next invoice. Every move is a transaction."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_LIST = "/v1/customers/{customer}/balance_transactions"


def balance_in(customer: Obj, currency: str) -> int:
    """A customer's balance in one currency, cents: an invoice in another one neither uses nor changes it."""
    return int(_balances(customer).get(currency, 0))


def _balances(customer: Obj) -> dict[str, int]:
    """By currency. `balance` is the one of the customer's own."""
    kept: dict[str, int] | None = customer.get("_balances")
    return {customer["currency"] or "usd": customer["balance"]} if kept is None else kept


def balance_move(world: World, customer: Obj, amount: int, kind: str, *, currency: str = "", **fields: object) -> Obj:
    """Add an amount (cents, negative for credit) to the balance and note why. The caller saves the customer."""
    own = customer["currency"] or "usd"
    currency = currency or own
    after = balance_in(customer, currency) + amount
    customer["_balances"] = {**_balances(customer), currency: after}
    customer["balance"] = balance_in(customer, own)
    made = world.new(
        "customer_balance_transaction",
        "cbtxn",
        amount=amount,
        customer=customer["id"],
        currency=currency,
        ending_balance=after,
        metadata={},
        type=kind,
        **fields,
    )
    return world.save(made)


def currency_fix(world: World, customer: Obj, currency: str) -> None:
    """A customer pays in the currency of its first purchase from then on. Raises for another one."""
    if customer["currency"] not in (None, currency):
        raise StripeError(
            "You cannot combine currencies on a single customer. This customer has an active subscription, "
            f"subscription schedule, discount, quote, or invoice item with currency {customer['currency']}."
        )
    if customer["currency"] is None:
        customer["_balances"] = _balances(customer)
        customer["currency"], customer["balance"] = currency, balance_in(customer, currency)
        world.save(customer)


@route("POST", _LIST)
def transaction_create(world: World, params: Obj, customer_id: str) -> Obj:
    customer = customer_alive(world, customer_id)
    if params["amount"] == 0:
        raise StripeError("The amount of a balance transaction cannot be 0.", param="amount")
    currency = params["currency"].lower()
    if customer["currency"] not in (None, currency):
        raise StripeError(
            f"The customer's balance is in {customer['currency']}; it takes no {currency[:20]}.", param="currency"
        )
    made = balance_move(world, customer, params["amount"], "adjustment", currency=currency)
    assign(made, params, "description", "metadata")
    world.save(customer, "customer.updated")
    return world.save(made)


@route("GET", _LIST)
def transaction_list(world: World, params: Obj, customer_id: str) -> Obj:
    customer_alive(world, customer_id)
    where = {"customer": customer_id, "invoice": params.get("invoice")}
    return page(world, "customer_balance_transaction", params, _LIST.replace("{customer}", customer_id), where)


@route("GET", _LIST + "/{transaction}")
def transaction_retrieve(world: World, params: Obj, customer_id: str, transaction_id: str) -> Obj:
    found = world.get("customer_balance_transaction", transaction_id)
    return found if found["customer"] == customer_id else world.get("customer_balance_transaction", "")


@route("POST", _LIST + "/{transaction}")
def transaction_update(world: World, params: Obj, customer_id: str, transaction_id: str) -> Obj:
    found = transaction_retrieve(world, {}, customer_id, transaction_id)
    assign(found, params, "description", "metadata")
    return world.save(found)
