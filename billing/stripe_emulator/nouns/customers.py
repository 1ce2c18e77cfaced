"""Customers."""

from __future__ import annotations

import secrets

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.registry import listens, route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_PLAIN = (
    "address",
    "balance",
    "business_name",
    "description",
    "email",
    "individual_name",
    "invoice_prefix",
    "metadata",
    "name",
    "next_invoice_sequence",
    "phone",
    "preferred_locales",
    "shipping",
    "tax_exempt",
)


def customer_make(world: World, params: Obj) -> Obj:
    """Create and log a customer."""
    customer = world.new(
        "customer",
        "cus",
        balance=0,
        delinquent=False,
        invoice_prefix=secrets.token_hex(4).upper(),
        next_invoice_sequence=1,
        preferred_locales=[],
        tax_exempt="none",
        metadata={},
        invoice_settings={
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
    )
    _take(world, customer, params)
    return world.save(customer, "customer.created")


def _take(world: World, customer: Obj, params: Obj) -> None:
    assign(customer, params, *_PLAIN)
    settings = params.get("invoice_settings") or {}
    if (method := settings.get("default_payment_method")) is not None:
        if method:
            owner = world.get("payment_method", method, "invoice_settings[default_payment_method]")["customer"]
            if owner != customer["id"]:
                world.get("payment_method", "", "invoice_settings[default_payment_method]")
        customer["invoice_settings"]["default_payment_method"] = method or None
    if settings.get("footer") is not None:
        customer["invoice_settings"]["footer"] = settings["footer"]


@route("POST", "/v1/customers")
def customer_create(world: World, params: Obj) -> Obj:
    customer = customer_make(world, params)
    if "payment_method" in params:
        from billing.stripe_emulator.nouns.payment_methods import method_attach

        method_attach(world, world_method(world, params["payment_method"]), customer)
    return customer


def world_method(world: World, method_id: str) -> Obj:
    """The payment method of an id, the documented `pm_card_...` names included."""
    from billing.stripe_emulator.nouns.payment_methods import method_resolve

    return method_resolve(world, method_id)


def customer_alive(world: World, customer_id: str, param: str | None = None) -> Obj:
    """The customer, unless deleted."""
    customer = world.get("customer", customer_id, param)
    if customer.get("_deleted"):
        world.get("customer", "", param)
    return customer


@route("GET", "/v1/customers/{customer}")
def customer_retrieve(world: World, params: Obj, customer_id: str) -> Obj:
    customer = world.get("customer", customer_id)
    if customer.get("_deleted"):
        return {"id": customer_id, "object": "customer", "deleted": True}
    return customer


@route("POST", "/v1/customers/{customer}")
def customer_update(world: World, params: Obj, customer_id: str) -> Obj:
    customer = customer_alive(world, customer_id)
    _take(world, customer, params)
    return world.save(customer, "customer.updated")


@route("DELETE", "/v1/customers/{customer}")
def customer_delete(world: World, params: Obj, customer_id: str) -> Obj:
    customer = customer_alive(world, customer_id)
    customer["_deleted"] = True
    world.save(customer, "customer.deleted")
    return {"id": customer_id, "object": "customer", "deleted": True}


@route("GET", "/v1/customers")
def customer_list(world: World, params: Obj) -> Obj:
    found = page(world, "customer", params, "/v1/customers", {"email": params.get("email")})
    found["data"] = [c for c in found["data"] if not c.get("_deleted")]
    return found


@listens("invoice.payment_failed", "invoice.paid")
def delinquency(world: World, invoice: Obj) -> None:
    """A customer is delinquent while his newest automatic charge is unpaid."""
    customer = world.maybe(invoice["customer"])
    if customer is not None and not customer.get("_deleted"):
        customer["delinquent"] = invoice["status"] != "paid"
        world.save(customer, "customer.updated")
