"""The calls on customers."""

from __future__ import annotations

from billing.stripe_emulator.answers import page
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.balance import balance_move
from billing.stripe_emulator.nouns.customers import customer_alive, customer_drop, customer_make, customer_take
from billing.stripe_emulator.nouns.payment_methods import method_attach, method_resolve
from billing.stripe_emulator.nouns.tax_ids import tax_id_make
from billing.stripe_emulator.registry import listens, route
from billing.stripe_emulator.store import ABSENT, CLOCK, Obj
from billing.stripe_emulator.world import World

CLOCK_CUSTOMERS = 3


@route("POST", "/v1/customers")
def customer_create(world: World, params: Obj) -> Obj:
    _clock_check(world, params)
    customer = customer_make(world, params)
    if params.get("balance"):
        balance_move(world, customer, params["balance"], "adjustment")
        world.save(customer, "customer.updated")
    for entry in params.get("tax_id_data") or []:
        tax_id_make(world, customer, entry["type"], entry["value"])
    if "payment_method" in params:
        method_attach(world, method_resolve(world, params["payment_method"]), customer)
    return customer


def _clock_check(world: World, params: Obj) -> None:
    if "test_clock" not in params:
        return
    clock = world.get(CLOCK, params["test_clock"], "test_clock")
    if len(world.find("customer", test_clock=clock["id"])) >= CLOCK_CUSTOMERS:
        raise StripeError(f"A test clock can have at most {CLOCK_CUSTOMERS} customers.", param="test_clock")


@route("GET", "/v1/customers/{customer}")
def customer_retrieve(world: World, params: Obj, customer_id: str) -> Obj:
    customer = world.get("customer", customer_id)
    if customer.get("_deleted"):
        return {"id": customer_id, "object": "customer", "deleted": True}
    return customer


@route("POST", "/v1/customers/{customer}")
def customer_update(world: World, params: Obj, customer_id: str) -> Obj:
    customer = customer_alive(world, customer_id)
    customer_take(world, customer, params)
    if "balance" in params and params["balance"] != customer["balance"]:
        balance_move(world, customer, params["balance"] - customer["balance"], "adjustment")
    return world.save(customer, "customer.updated")


@route("DELETE", "/v1/customers/{customer}")
def customer_delete(world: World, params: Obj, customer_id: str) -> Obj:
    customer = customer_alive(world, customer_id)
    customer_drop(world, customer)
    return {"id": customer_id, "object": "customer", "deleted": True}


@route("GET", "/v1/customers")
def customer_list(world: World, params: Obj) -> Obj:
    where = {"email": params.get("email"), "test_clock": params.get("test_clock", ABSENT)}
    found = page(world, "customer", params, "/v1/customers", where)
    found["data"] = [c for c in found["data"] if not c.get("_deleted")]
    return found


@listens("invoice.payment_failed", "invoice.paid")
def delinquency(world: World, invoice: Obj) -> None:
    """A customer is delinquent while his newest automatic charge is unpaid."""
    customer = world.maybe(invoice["customer"])
    if customer is not None and not customer.get("_deleted"):
        customer["delinquent"] = invoice["status"] != "paid"
        world.save(customer, "customer.updated")
