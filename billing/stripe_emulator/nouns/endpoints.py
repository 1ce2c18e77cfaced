"""Webhook endpoints, and the log of events."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from billing.stripe_emulator.answers import assign, merged_metadata, page
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def local_url(url: str, param: str = "url") -> None:
    """Raise unless an address is on this machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StripeError(
            "Invalid URL: an explicit scheme (such as https) must be provided.", code="url_invalid", param=param
        )
    if parts.hostname not in LOOPBACK:
        raise StripeError(
            "The local emulator delivers to this machine only (127.0.0.1, localhost).", code="url_invalid", param=param
        )


def endpoint_make(world: World, url: str, events: list[str], secret: str | None = None) -> Obj:
    """An endpoint with a secret of its own. It must be on this machine: nothing leaves it."""
    local_url(url)
    return world.new(
        "webhook_endpoint",
        "we",
        url=url,
        enabled_events=events,
        status="enabled",
        secret=secret or f"whsec_{secrets.token_hex(24)}",
    )


@route("POST", "/v1/webhook_endpoints")
def endpoint_create(world: World, params: Obj) -> Obj:
    endpoint = endpoint_make(world, params["url"], params["enabled_events"])
    assign(endpoint, params, "description", "api_version", "metadata")
    world.save(endpoint)
    return endpoint


@route("GET", "/v1/webhook_endpoints/{webhook_endpoint}")
def endpoint_retrieve(world: World, params: Obj, endpoint_id: str) -> Obj:
    return _without_secret(world.get("webhook_endpoint", endpoint_id))


def _without_secret(endpoint: Obj) -> Obj:
    return {**endpoint, "secret": None}


@route("POST", "/v1/webhook_endpoints/{webhook_endpoint}")
def endpoint_update(world: World, params: Obj, endpoint_id: str) -> Obj:
    endpoint = world.get("webhook_endpoint", endpoint_id)
    assign(endpoint, params, "description", "enabled_events")
    if "url" in params:
        endpoint["url"] = endpoint_make(world, params["url"], [])["url"]
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    if "metadata" in params:
        endpoint["metadata"] = merged_metadata(endpoint["metadata"], params["metadata"])
    return _without_secret(world.save(endpoint))


@route("DELETE", "/v1/webhook_endpoints/{webhook_endpoint}")
def endpoint_delete(world: World, params: Obj, endpoint_id: str) -> Obj:
    world.drop(world.get("webhook_endpoint", endpoint_id))
    return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}


@route("GET", "/v1/webhook_endpoints")
def endpoint_list(world: World, params: Obj) -> Obj:
    found = page(world, "webhook_endpoint", params, "/v1/webhook_endpoints")
    found["data"] = [_without_secret(endpoint) for endpoint in found["data"]]
    return found


@route("GET", "/v1/events/{id}")
def event_retrieve(world: World, params: Obj, event_id: str) -> Obj:
    return world.get("event", event_id)


@route("GET", "/v1/events")
def event_list(world: World, params: Obj) -> Obj:
    if "type" in params and "types" in params:
        raise StripeError("You may not provide both type and types.", param="types")
    where = {"type": params.get("type") or params.get("types")}
    if isinstance(where["type"], str) and where["type"].endswith("*"):
        raise StripeError("The local emulator takes whole event types only.", param="type")
    return page(world, "event", params, "/v1/events", where)
