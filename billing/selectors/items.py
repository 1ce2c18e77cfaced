"""The items of a subscription at Stripe: of its plan, its seats and what a meter counts, told apart by their prices.

Stripe keeps no order of items, and staff may add some of their own; a place in the list says nothing.
"""

from __future__ import annotations

from typing import Any

from billing.models import CatalogueEntry, Subscription
from billing.plans import plan_book
from billing.stripe_port import Json

PLAN, SEAT = CatalogueEntry.Part.PLAN.value, CatalogueEntry.Part.SEAT.value
METERED = "metered"
"""The part of a price for what a meter counts."""


def plan_of_price(price: dict[str, Any]) -> tuple[str, int]:
    """Which plan version a Stripe price stands for; ("", 0) for a price of somebody else's."""
    entry = CatalogueEntry.objects.filter(price_id=price["id"]).first()
    if entry is not None:
        return entry.plan, entry.version
    notes = price.get("metadata") or {}
    plan, version = notes.get("plan", ""), notes.get("plan_version", "")
    if version.isdecimal() and (plan, int(version)) in plan_book().plans:
        return plan, int(version)
    return "", 0


def part_of_price(price: dict[str, Any]) -> str:
    """What a Stripe price is of: `plan` or `seat` of ours, `metered`, or nothing of ours. Its metadata say so; those of
    the first plans name no part, and they had prices of plans alone."""
    if is_metered(price):
        return METERED
    notes = price.get("metadata") or {}
    if notes.get("part") in (PLAN, SEAT):
        return str(notes["part"])
    return PLAN if plan_of_price(price)[0] else ""


def is_metered(price: dict[str, Any]) -> bool:
    """Whether a price is for what a meter counts, beside the plan."""
    return (price.get("recurring") or {}).get("usage_type") == "metered"


def items_of(found: Json) -> list[Json]:
    """A subscription's items."""
    items: list[Json] = (found.get("items") or {}).get("data") or []
    return items


def plan_item(items: list[Json]) -> Json | None:
    """The item that is the plan: by its price; where none is of a plan of ours, the first that is no seat's or
    meter's."""
    parts = [part_of_price(item["price"]) for item in items]
    return next((items[parts.index(wanted)] for wanted in (PLAN, "") if wanted in parts), None)


def seat_item(items: list[Json]) -> Json | None:
    """The item that is the seats beyond those that the plan includes; None without any."""
    seats = ((item["price"].get("metadata") or {}).get("part") == SEAT for item in items)
    return next((item for item, is_seat in zip(items, seats, strict=True) if is_seat), None)


def interval_of(subscription: Subscription) -> str:
    """How often a subscription is paid: `month` or `year`."""
    item = plan_item(items_of(subscription.raw))
    recurring = item["price"].get("recurring") if item is not None else None
    return str((recurring or {}).get("interval") or "month")


def seats_bought(subscription: Subscription) -> int:
    """Members it has room for beyond what its plan includes."""
    return seats_of(subscription.raw)


def seats_of(found: Json) -> int:
    """The seats that a subscription has at Stripe."""
    item = seat_item(items_of(found))
    return int(item.get("quantity") or 0) if item is not None else 0
