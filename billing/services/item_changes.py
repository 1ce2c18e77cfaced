"""How a change of a subscription's items is sent to Stripe, and found again: another plan, other seats.

A subscription has one item for its plan and, where seats were bought, one for them. Both follow one plan version and
one interval, so a change of the plan takes the seats along.
"""

from __future__ import annotations

from collections.abc import Callable

from billing.errors import CardRefused
from billing.models import StripeCommand
from billing.plans import Plan, plan_book
from billing.selectors.items import items_of, plan_item, plan_of_price, seats_of
from billing.services.catalogue import priced
from billing.stripe_port import Json, StripePort

CONFIRM = "subscription_payment_intent_requires_action"
"""Stripe's word for a card whose owner has to confirm the payment first (3-D Secure)."""


def plan_of(request: Json) -> Plan:
    """The plan version that a request names."""
    return plan_book().get(request["plan"], request["plan_version"])


def interval_of(request: Json) -> str:
    """How often it is to be paid; commands older than the choice are by the month."""
    return str(request.get("interval") or "month")


def currency_of(request: Json) -> str:
    """What its organisation pays in; commands older than the choice are in the plan's first currency."""
    return str(request.get("currency") or plan_of(request).currency)


def keyed(
    request: Json, key: str, send: Callable[[dict[str, str], str], Json], parts: tuple[str, ...] = ("plan",)
) -> Json:
    """Send something about a plan's prices, which the key names: only they may differ another time."""
    return priced(
        plan=plan_of(request),
        interval=interval_of(request),
        currency=currency_of(request),
        parts=parts,
        ask=lambda prices: send(prices, "/".join([key, *prices.values()])),
    )


def plan_parts(request: Json) -> tuple[str, ...]:
    """Which prices a change of the plan needs: that of seats too where some are bought and the new plan has them."""
    more = request.get("seats") and plan_of(request).seat_price(interval_of(request), currency_of(request)) is not None
    return ("plan", "seat") if more else ("plan",)


def plan_items(request: Json, prices: dict[str, str]) -> list[Json]:
    """The items of a change of the plan: seats keep their number; a plan that sells none ends them. What a meter counts
    ends where the new interval cannot have it (`drop`)."""
    items: list[Json] = [{"id": request["item"], "price": prices["plan"]}]
    if seat := request.get("seat_item"):
        kept = {"price": prices["seat"], "quantity": request["seats"]} if "seat" in prices else {"deleted": True}
        items.append({"id": seat, **kept})
    if drop := request.get("drop"):
        items.append({"id": drop, "deleted": True})
    return items


def seat_items(request: Json, prices: dict[str, str]) -> list[Json]:
    """The item of a change of seats; none left ends it."""
    if not request.get("seat_item"):
        return [{"price": prices["seat"], "quantity": request["seats"]}]
    if not request["seats"]:
        return [{"id": request["seat_item"], "deleted": True}]
    return [{"id": request["seat_item"], "price": prices["seat"], "quantity": request["seats"]}]


def plan_send(port: StripePort, request: Json, key: str) -> Json:
    """Ask Stripe for another plan."""
    metadata = {name: str(request[name]) for name in ("tenant_id", "plan", "plan_version")}

    def send(prices: dict[str, str], under: str) -> Json:
        return _changed(port, request, plan_items(request, prices), under, metadata)

    return _answer(keyed(request, key, send, plan_parts(request)))


def seats_send(port: StripePort, request: Json, key: str) -> Json:
    """Ask Stripe for another number of seats."""

    def send(prices: dict[str, str], under: str) -> Json:
        return _changed(port, request, seat_items(request, prices), under, None)

    return _answer(keyed(request, key, send, ("seat",)))


def _changed(port: StripePort, request: Json, items: list[Json], key: str, metadata: dict[str, str] | None) -> Json:
    values: Json = {"items": items, "metadata": metadata, "at": request.get("at")}
    try:
        return port.subscription_change(request["subscription"], **values, key=key)
    except CardRefused as error:
        if error.code != CONFIRM:
            raise
    return port.subscription_change(request["subscription"], **values, waiting=True, key=f"{key}/confirm")


def _answer(found: Json) -> Json:
    """Where the payment waits for its owner, the page to confirm it on."""
    latest = found.get("latest_invoice")
    url = latest.get("hosted_invoice_url") if found.get("pending_update") and isinstance(latest, dict) else ""
    return {"subscription": found["id"], "confirm_url": url or ""}


def plan_look(port: StripePort, command: StripeCommand) -> Json | None:
    """The answer, where the plan is what the command wanted, or waits for its payment."""
    request = command.request or command.params
    found = port.subscription_fetch(request["subscription"])
    if found is None:
        return None
    wanted = (request["plan"], request["plan_version"], interval_of(request))
    return _answer(found) if any(_sold_as(items) == wanted for items in _stands(found)) else None


def seats_look(port: StripePort, command: StripeCommand) -> Json | None:
    """The answer, where there are as many seats as the command wanted, or their payment is waited for."""
    request = command.request or command.params
    found = port.subscription_fetch(request["subscription"])
    if found is None:
        return None
    counts = [seats_of({"items": {"data": items}}) for items in _stands(found)]
    return _answer(found) if request["seats"] in counts else None


def _stands(found: Json) -> list[list[Json]]:
    """The items that a subscription has, and those that wait for their payment."""
    waiting = (found.get("pending_update") or {}).get("subscription_items")
    return [items_of(found), *([waiting] if waiting else [])]


def _sold_as(items: list[Json]) -> tuple[str, int, str] | None:
    item = plan_item(items)
    if item is None:
        return None
    return (*plan_of_price(item["price"]), (item["price"].get("recurring") or {}).get("interval") or "month")
