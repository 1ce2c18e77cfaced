"""Meter events of the v2 API: one at a time checked at once, or streams under a session's token, checked afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.meter_events import (
    adjust,
    event_keep,
    event_make,
    event_problem,
    identifier_free,
    seen,
)
from billing.stripe_emulator.nouns.thin_events import iso
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id

STREAM = "/v2/billing/meter_event_stream"
SESSION = "v2.billing.meter_event_session"
LIFE = 900
MOST_EVENTS = 100


def _moment(world: World, given: Obj, param: str) -> int:
    text = given.get("timestamp")
    if text is None:
        return world.now
    if re.fullmatch(r"\d{1,11}", text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise StripeError(f"Invalid timestamp: {text[:40]}; write it as 2026-11-30T12:00:00Z.", param=param) from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


@route("POST", "/v2/billing/meter_events")
def event_create(world: World, params: Obj) -> Obj:
    if "identifier" in params:
        identifier_free(world, params["identifier"])
    event = event_make(world, params, _moment(world, params, "timestamp"))
    wrong = event_problem(world, event)
    if wrong is not None:
        raise StripeError(wrong[1], code=wrong[0])
    event_keep(world, event, None)
    shown = {name: event[name] for name in ("event_name", "identifier", "payload", "livemode")}
    times = {"created": iso(event["created"]), "timestamp": iso(event["timestamp"])}
    return {"object": "v2.billing.meter_event", **shown, **times}


@route("POST", "/v2/billing/meter_event_adjustments")
def adjustment_create(world: World, params: Obj) -> Obj:
    cancel = params["cancel"]
    adjust(world, params["event_name"], cancel["identifier"])
    made = world.new("v2.billing.meter_event_adjustment", "mtr_evt_adj", created=iso(world.now))
    made.update(cancel=dict(cancel), event_name=params["event_name"], type="cancel", status="complete")
    return world.save(made)


@route("POST", "/v2/billing/meter_event_session")
def session_create(world: World, params: Obj) -> Obj:
    made = world.new(
        SESSION, "mes_test", authentication_token=new_id("mes_token", 48), expires_at=iso(world.now + LIFE)
    )
    made["created"] = iso(world.now)
    made["_until"] = world.now + LIFE
    return world.save(made)


def session_key(world: World, headers: Mapping[str, str]) -> str:
    """The token of a running session. Raises 401 without one."""
    token = headers.get("Authorization", "").partition(" ")[2].strip()
    with world.transaction():
        found = world.find(SESSION, authentication_token=token) if token else []
        if found and found[0]["_until"] > world.now:
            return token
    raise StripeError(
        "The meter event session is over, or never was: make one with v2.billing.meter_event_session.create.",
        status=401,
        type="temporary_session_expired",
        code="billing_meter_event_session_expired",
    )


@route("POST", STREAM)
def stream(world: World, params: Obj) -> Obj:
    events = params["events"]
    if not 1 <= len(events) <= MOST_EVENTS:
        raise StripeError(f"Send 1 to {MOST_EVENTS} events at once.", code="too_many_events", param="events")
    for index, given in enumerate(events):
        event = event_make(world, given, _moment(world, given, f"events[{index}][timestamp]"))
        # Nobody waits for an answer to a single one: a second one is let go.
        if seen(world, event["identifier"]) is None:
            event_keep(world, event, event_problem(world, event))
    return {}
