"""The calls on single items of a subscription: each is a change of the subscription."""

from __future__ import annotations

from billing.stripe_emulator.answers import merged_metadata, slice_of
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.subscription_calls import subscription_update
from billing.stripe_emulator.nouns.subscriptions import items_of
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_ITEM = ("price", "price_data", "quantity", "tax_rates", "metadata")
_CHANGE = ("payment_behavior", "proration_behavior", "proration_date", "off_session")
_UNSERVED = ("discounts", "billing_thresholds", "current_trial", "plan")


def _subscription_of(world: World, item_id: str) -> Obj:
    for subscription_id in world.store.ids("subscription"):
        subscription = world.fetch(subscription_id)
        if any(item["id"] == item_id for item in items_of(subscription)):
            return subscription
    return world.get("subscription_item", item_id)


def _change(world: World, subscription: Obj, entry: Obj, params: Obj) -> None:
    """One entry of `items` for the subscription, in its own time: an item's id does not say whose it is."""
    for name in _UNSERVED:
        if name in params:
            raise StripeError(f"The local emulator takes no {name} here.", param=name)
    given = {name: params[name] for name in _CHANGE if name in params}
    with world.in_time_of([subscription["id"]]):
        subscription_update(world, {**given, "items": [entry]}, subscription["id"])


@route("POST", "/v1/subscription_items")
def item_create(world: World, params: Obj) -> Obj:
    subscription = world.get("subscription", params["subscription"], "subscription")
    before = {item["id"] for item in items_of(subscription)}
    _change(world, subscription, {name: params[name] for name in _ITEM if name in params}, params)
    return next(item for item in items_of(subscription) if item["id"] not in before)


@route("POST", "/v1/subscription_items/{item}")
def item_update(world: World, params: Obj, item_id: str) -> Obj:
    subscription = _subscription_of(world, item_id)
    entry = {name: params[name] for name in _ITEM if name in params and params[name] != ""}
    if set(entry) - {"metadata"}:
        _change(world, subscription, {**entry, "id": item_id}, params)
    item = next(one for one in items_of(subscription) if one["id"] == item_id)
    if "metadata" in params:
        item["metadata"] = merged_metadata(item["metadata"], params["metadata"])
        world.save(subscription, "customer.subscription.updated")
    return item


@route("DELETE", "/v1/subscription_items/{item}")
def item_delete(world: World, params: Obj, item_id: str) -> Obj:
    subscription = _subscription_of(world, item_id)
    _change(world, subscription, {"id": item_id, "deleted": True}, params)
    return {"id": item_id, "object": "subscription_item", "deleted": True}


@route("GET", "/v1/subscription_items")
def item_list(world: World, params: Obj) -> Obj:
    subscription = world.get("subscription", params["subscription"], "subscription")
    return slice_of(items_of(subscription), params, subscription["items"]["url"])


@route("GET", "/v1/subscription_items/{item}")
def item_retrieve(world: World, params: Obj, item_id: str) -> Obj:
    return next(item for item in items_of(_subscription_of(world, item_id)) if item["id"] == item_id)
