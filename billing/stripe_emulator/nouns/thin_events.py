"""Thin events of the v2 API, and the destinations that want them."""

from __future__ import annotations

import operator
import secrets
from datetime import UTC, datetime

from billing.stripe_emulator.answers import assign
from billing.stripe_emulator.errors import StripeError, missing
from billing.stripe_emulator.nouns.endpoints import local_url
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id

EVENT = "v2.core.event"
DESTINATION = "v2.core.event_destination"
_PATH = "/v2/core/event_destinations"
_COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def iso(moment: int) -> str:
    """A moment as the v2 API writes it."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def as_sent(event: Obj) -> Obj:
    """What a destination gets of a thin event: that it happened, and what it is about. The rest is to be fetched."""
    return {name: value for name, value in event.items() if name not in ("data", "changes", "snapshot_event")}


def thin_emit(world: World, event_type: str, data: Obj, related: Obj | None) -> None:
    """Log a thin event and send it to the destinations of its type; webhook endpoints never get one, as at Stripe."""
    event: Obj = {
        "id": new_id("evt_test"),
        "object": EVENT,
        "changes": None,
        "context": None,
        "created": iso(world.now),
        "data": data,
        "livemode": False,
        "reason": None,
        "related_object": related,
        "snapshot_event": None,
        "type": event_type,
    }
    world.save(event)
    wanting = [
        one for one in world.find(DESTINATION) if event_type in one["enabled_events"] or "*" in one["enabled_events"]
    ]
    for target in wanting:
        world.deliver(event, target)


@route("GET", "/v2/core/events/{id}")
def event_retrieve(world: World, params: Obj, event_id: str) -> Obj:
    return world.get(EVENT, event_id)


@route("POST", _PATH)
def destination_create(world: World, params: Obj) -> Obj:
    if params["type"] != "webhook_endpoint" or params["event_payload"] != "thin":
        raise StripeError(
            "The local emulator has thin destinations that are webhook endpoints; snapshots go to webhook_endpoints.",
            param="type",
        )
    url = (params.get("webhook_endpoint") or {}).get("url")
    if url is None:
        raise missing("webhook_endpoint[url]")
    local_url(url, "webhook_endpoint[url]")
    made = world.new(
        DESTINATION,
        "ed_test",
        name=params["name"],
        description=params.get("description", ""),
        enabled_events=params["enabled_events"],
        event_payload="thin",
        events_from=["@self"],
        type="webhook_endpoint",
        status="enabled",
        metadata={},
        created=iso(world.now),
        updated=iso(world.now),
    )
    assign(made, params, "metadata")
    made.update(_url=url, _secret="whsec_" + secrets.token_hex(24))
    world.save(made)
    return _shown(made, params)


def _shown(made: Obj, params: Obj) -> Obj:
    """A destination with what of its address was asked for; its secret is told when it is made."""
    known: Obj = {"url": made["_url"]}
    if "name" in params:
        known["signing_secret"] = made["_secret"]
    included = [name.partition(".")[2] for name in params.get("include", [])]
    point = {"signing_secret": None, "url": None, **{name: known[name] for name in included if name in known}}
    return {**made, "webhook_endpoint": point}


@route("GET", "/v2/core/events")
def event_list(world: World, params: Obj) -> Obj:
    """Thin events, about one object or of some types, newest first."""
    wanted, types, times = params.get("object_id"), params.get("types"), params.get("created") or {}
    found = [
        one
        for one in world.find(EVENT)
        if wanted in (None, (one["related_object"] or {}).get("id"))
        and (types is None or one["type"] in types)
        and all(_COMPARE[name](_second(one["created"], name), _second(given, name)) for name, given in times.items())
    ]
    return _page(sorted(found, key=lambda one: str(one["created"]), reverse=True), params)


def _second(text: str, name: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise StripeError(f"Invalid timestamp: {text[:40]}.", param=f"created[{name}]") from error


@route("GET", _PATH)
def destination_list(world: World, params: Obj) -> Obj:
    return _page([_shown(one, params) for one in world.find(DESTINATION)], params)


def _page(found: list[Obj], params: Obj) -> Obj:
    """A page of the v2 API. There is one only: who has more than it holds is told so."""
    limit = params.get("limit", 100)
    if len(found) > limit:
        raise StripeError("The local emulator has one page of a v2 list: ask for more at once.", param="limit")
    # What is inside a page keeps its own notes to itself here; elsewhere the answer's rendering sees to it.
    shown = [{name: value for name, value in one.items() if not name.startswith("_")} for one in found]
    return {"data": shown, "next_page_url": None, "previous_page_url": None}


@route("GET", _PATH + "/{id}")
def destination_retrieve(world: World, params: Obj, destination_id: str) -> Obj:
    return world.get(DESTINATION, destination_id)


@route("DELETE", _PATH + "/{id}")
def destination_delete(world: World, params: Obj, destination_id: str) -> Obj:
    world.drop(world.get(DESTINATION, destination_id))
    return {"id": destination_id, "object": DESTINATION, "deleted": True}
