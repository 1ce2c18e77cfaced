"""Customers."""

from __future__ import annotations

import secrets

from billing.stripe_emulator.answers import assign
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_PLAIN = (
    "address",
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
    customer_take(world, customer, params)
    return world.save(customer, "customer.created")


def customer_take(world: World, customer: Obj, params: Obj) -> None:
    """Set what the parameters name; not stored yet."""
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


def customer_drop(world: World, customer: Obj) -> None:
    """Delete a customer: he is still answered, as deleted."""
    customer["_deleted"] = True
    world.save(customer, "customer.deleted")


def customer_alive(world: World, customer_id: str, param: str | None = None) -> Obj:
    """The customer, unless deleted."""
    customer = world.get("customer", customer_id, param)
    if customer.get("_deleted"):
        world.get("customer", "", param)
    return customer
