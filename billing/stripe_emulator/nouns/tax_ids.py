"""Tax ids of customers: what stands on their invoices beside the name."""

from __future__ import annotations

import re

from billing.stripe_emulator.answers import listing, page
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.registry import extra, route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_LIST = "/v1/customers/{customer}/tax_ids"
# The forms of the kinds that are met most; others are taken as they come.
FORMS = {
    "eu_vat": r"[A-Z]{2}[0-9A-Z+*]{2,12}",
    "gb_vat": r"(GB)?([0-9]{9}|[0-9]{12})|GB(GD|HA)[0-9]{3}",
    "ch_vat": r"CHE-?[0-9]{3}\.?[0-9]{3}\.?[0-9]{3} ?(MWST|TVA|IVA)",
    "us_ein": r"[0-9]{2}-?[0-9]{7}",
    "au_abn": r"[0-9]{11}",
    "no_vat": r"[0-9]{9}MVA",
}
# In test mode these digits decide what the verification finds.
_VERDICTS = {"000000000": "verified", "111111111": "unverified", "222222222": "pending"}


def tax_id_make(world: World, customer: Obj, kind: str, value: str) -> Obj:
    """Note a tax id. Raises when it has not the form of its kind."""
    if not re.fullmatch(FORMS.get(kind, r"[ -~]{1,100}"), value.strip()):
        raise StripeError("Invalid value for " + kind + ".", code="tax_id_invalid", param="value")
    if len(tax_ids_of(world, customer["id"])) >= 5:
        raise StripeError("A customer can have at most 5 tax ids.", param="value")
    country = value[:2] if kind == "eu_vat" else kind[:2].upper()
    made = world.new(
        "tax_id",
        "txi",
        country={"EL": "GR"}.get(country, country),
        customer=customer["id"],
        owner={"account": None, "application": None, "customer": customer["id"], "customer_account": None},
        type=kind,
        value=value.strip(),
    )
    made["owner"]["type"] = "customer"
    found = _VERDICTS.get(re.sub(r"\D", "", value), "pending" if kind in ("eu_vat", "gb_vat") else "unavailable")
    name = customer["name"] if found == "verified" else None
    made["verification"] = {"status": found, "verified_address": None, "verified_name": name}
    return world.save(made, "customer.tax_id.created")


def tax_ids_of(world: World, customer_id: str) -> list[Obj]:
    """The customer's tax ids, newest first."""
    return world.find("tax_id", customer=customer_id)


@extra("customer", "tax_ids")
def customer_tax_ids(world: World, customer: Obj) -> Obj:
    """The tax ids, when asked for."""
    return listing(tax_ids_of(world, customer["id"]), _LIST.replace("{customer}", customer["id"]))


@route("POST", _LIST)
def tax_id_create(world: World, params: Obj, customer_id: str) -> Obj:
    return tax_id_make(world, customer_alive(world, customer_id), params["type"], params["value"])


@route("GET", _LIST)
def tax_id_list(world: World, params: Obj, customer_id: str) -> Obj:
    customer_alive(world, customer_id)
    return page(world, "tax_id", params, _LIST.replace("{customer}", customer_id), {"customer": customer_id})


@route("GET", _LIST + "/{id}")
def tax_id_retrieve(world: World, params: Obj, customer_id: str, tax_id: str) -> Obj:
    found = world.get("tax_id", tax_id)
    return found if found["customer"] == customer_id else world.get("tax_id", "")


@route("DELETE", _LIST + "/{id}")
def tax_id_delete(world: World, params: Obj, customer_id: str, tax_id: str) -> Obj:
    world.drop(tax_id_retrieve(world, {}, customer_id, tax_id), "customer.tax_id.deleted")
    return {"id": tax_id, "object": "tax_id", "deleted": True}
