"""Meter events: what is wrong with one, its keeping, its cancelling, and the report of wrong ones.

The v1 call refuses a second identifier and a moment out of bounds; what else is wrong is found afterwards and told by
an event, as Stripe does with v1 and with streams. The v2 call checks everything at once.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.meters import KIND as METER
from billing.stripe_emulator.nouns.meters import meter_named
from billing.stripe_emulator.nouns.thin_events import thin_emit
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id

DAY = 86400
PAST, AHEAD = 35 * DAY, 300
MAX_IDENTIFIER = 100
KIND = "billing.meter_event"
PLANNED = "planned_meter_refusals"
_WHOLE = re.compile(r"-?\d{1,15}")
_ADJUSTMENTS = "/v1/billing/meter_event_adjustments"


def event_problem(world: World, event: Obj) -> tuple[str, str, Obj | None] | None:
    """(code, sentence, meter) of what is wrong with an event; None when it counts."""
    meter = meter_named(world, event["event_name"])
    if meter is None:
        old = world.find(METER, event_name=event["event_name"])
        if old:
            return "archived_meter", f"The meter of the event name {event['event_name']} is inactive.", old[0]
        return "no_meter", f"No meter has the event name {event['event_name'][:100]}.", None
    payload = event["payload"]
    key, value_key = (meter[name]["event_payload_key"] for name in ("customer_mapping", "value_settings"))
    if not payload.get(key):
        return "meter_event_no_customer_defined", f"Customer mapping key {key} not found in payload.", meter
    customer = world.maybe(payload[key])
    if customer is None or customer["object"] != "customer" or customer.get("_deleted"):
        return "meter_event_customer_not_found", f"No customer {payload[key][:80]}.", meter
    counts = meter["default_aggregation"]["formula"] == "count"
    if not counts and not _WHOLE.fullmatch(payload.get(value_key, "")):
        return "meter_event_invalid_value", f"The value under {value_key} must be a whole number.", meter
    return moment_problem(world, event["timestamp"], meter)


def moment_problem(world: World, moment: int, meter: Obj | None = None) -> tuple[str, str, Obj | None] | None:
    """What is wrong with the time of an event, if something is."""
    if moment < world.now - PAST:
        return "timestamp_too_far_in_past", "The timestamp must be within the past 35 calendar days.", meter
    if moment > world.now + AHEAD:
        return "timestamp_in_future", "The timestamp must be at most 5 minutes in the future.", meter
    return None


def identifier_free(world: World, identifier: str) -> None:
    """Raise Stripe's 400 when an event of the last 24 hours has it."""
    if not 1 <= len(identifier) <= MAX_IDENTIFIER:
        raise StripeError(f"Invalid identifier: 1 to {MAX_IDENTIFIER} characters.", param="identifier")
    if seen(world, identifier) is not None:
        raise StripeError(
            f"An event already exists with identifier {identifier}.", code="duplicate_meter_event", param="identifier"
        )


def seen(world: World, identifier: str) -> Obj | None:
    """The event of the last 24 hours with this identifier."""
    found = world.find(KIND, identifier=identifier)
    return next((one for one in found if one["created"] > world.now - DAY), None)


def event_make(world: World, given: Obj, moment: int) -> Obj:
    """An event as it was given; not stored yet."""
    return world.new(
        KIND,
        "mev",
        event_name=given["event_name"],
        identifier=given.get("identifier") or new_id("mev", 32),
        payload=given["payload"],
        timestamp=moment,
    )


def event_keep(world: World, event: Obj, problem: tuple[str, str, Obj | None] | None) -> None:
    """Store an event; one that is wrong is told by a report, and counts for nothing."""
    meter = meter_named(world, event["event_name"])
    if problem is None and meter is not None:
        event["_meter"] = meter["id"]
        event["_customer"] = event["payload"][meter["customer_mapping"]["event_payload_key"]]
        event["_value"] = int(event["payload"].get(meter["value_settings"]["event_payload_key"], "1"))
    world.save(event)
    if problem is not None:
        _report(world, event, *problem)


def _report(world: World, event: Obj, code: str, sentence: str, meter: Obj | None) -> None:
    sample = {"error_message": sentence, "request": {"identifier": event["identifier"]}}
    moment = f"{datetime.fromtimestamp(world.now, UTC):%Y-%m-%dT%H:%M:%S}.000Z"
    data = {
        "developer_message_summary": "There is 1 invalid event",
        "reason": {"error_count": 1, "error_types": [{"code": code, "error_count": 1, "sample_errors": [sample]}]},
        "validation_start": moment,
        "validation_end": moment,
    }
    kind = "v1.billing.meter.error_report_triggered" if meter else "v1.billing.meter.no_meter_found"
    related = {"id": meter["id"], "type": METER, "url": f"/v1/billing/meters/{meter['id']}"} if meter else None
    thin_emit(world, kind, data, related)


@route("POST", "/v1/billing/meter_events")
def event_create(world: World, params: Obj) -> Obj:
    moment = params.get("timestamp", world.now)
    wrong = moment_problem(world, moment)
    if wrong is not None:
        raise StripeError(wrong[1], code=wrong[0], param="timestamp")
    if "identifier" in params:
        identifier_free(world, params["identifier"])
    event = event_make(world, params, moment)
    event_keep(world, event, event_problem(world, event) or _planned(world, event))
    return event


def meter_refusals_plan(world: World, count: int) -> None:
    """Find the next so many events of the v1 call wrong after they were taken (a switch of `/_ctl`)."""
    world.store.setting_put(PLANNED, count)


def _planned(world: World, event: Obj) -> tuple[str, str, Obj | None] | None:
    left = world.store.setting(PLANNED, 0)
    if not left:
        return None
    world.store.setting_put(PLANNED, left - 1)
    return "meter_event_value_not_found", "Found wrong on request.", meter_named(world, event["event_name"])


@route("POST", _ADJUSTMENTS)
def adjustment_create(world: World, params: Obj) -> Obj:
    adjust(world, params["event_name"], (params.get("cancel") or {}).get("identifier"))
    made = world.new(
        "billing.meter_event_adjustment",
        "mea",
        event_name=params["event_name"],
        type="cancel",
        status="complete",
        cancel={"identifier": params["cancel"]["identifier"]},
    )
    return world.save(made)


def adjust(world: World, event_name: str, identifier: str | None) -> None:
    """Let an event of the last 24 hours count no more. Raises when there is none."""
    event = seen(world, identifier or "")
    if event is None or event["event_name"] != event_name:
        raise StripeError(
            f"No meter event {str(identifier)[:80]} of {event_name[:80]} in the last 24 hours can be canceled.",
            param="cancel[identifier]",
        )
    event["_meter"] = None
    world.save(event)
