"""Billing meters: active <-> inactive. An event name has one active meter."""

from __future__ import annotations

from billing.stripe_emulator.answers import listing, page
from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.nouns.metering import WINDOWS, usage
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, new_id

KIND = "billing.meter"
_PATH = "/v1/billing/meters"
MAX_NAME = 100


def meter_named(world: World, event_name: str) -> Obj | None:
    """The active meter of an event name, if there is one."""
    found = world.find(KIND, event_name=event_name, status="active")
    return found[0] if found else None


def _name_free(world: World, event_name: str) -> None:
    if (other := meter_named(world, event_name)) is not None:
        raise StripeError(
            f"There is already an active meter ({other['id']}) with the event name {event_name}.", param="event_name"
        )


@route("POST", _PATH)
def meter_create(world: World, params: Obj) -> Obj:
    for name in ("event_name", "display_name"):
        if len(params[name]) > (MAX_NAME if name == "event_name" else 250):
            raise StripeError(f"Invalid {name}: too long.", param=name)
    _name_free(world, params["event_name"])
    meter = world.new(
        KIND,
        "mtr_test",
        display_name=params["display_name"],
        event_name=params["event_name"],
        default_aggregation=dict(params["default_aggregation"]),
        event_time_window=params.get("event_time_window"),
        customer_mapping=params.get("customer_mapping") or {"event_payload_key": "stripe_customer_id", "type": "by_id"},
        value_settings=params.get("value_settings") or {"event_payload_key": "value"},
        status="active",
        status_transitions={"deactivated_at": None},
        updated=world.now,
    )
    return world.save(meter, "billing.meter.created")


@route("GET", _PATH + "/{id}")
def meter_retrieve(world: World, params: Obj, meter_id: str) -> Obj:
    return world.get(KIND, meter_id)


@route("POST", _PATH + "/{id}")
def meter_update(world: World, params: Obj, meter_id: str) -> Obj:
    meter = world.get(KIND, meter_id)
    if "display_name" in params:
        meter.update(display_name=params["display_name"], updated=world.now)
    return world.save(meter, "billing.meter.updated")


@route("GET", _PATH)
def meter_list(world: World, params: Obj) -> Obj:
    return page(world, KIND, params, _PATH, {"status": params.get("status")})


@route("POST", _PATH + "/{id}/deactivate")
def meter_deactivate(world: World, params: Obj, meter_id: str) -> Obj:
    meter = world.get(KIND, meter_id)
    if meter["status"] != "active":
        raise wrong_state("This meter is already inactive.")
    meter.update(status="inactive", status_transitions={"deactivated_at": world.now}, updated=world.now)
    return world.save(meter, "billing.meter.deactivated")


@route("POST", _PATH + "/{id}/reactivate")
def meter_reactivate(world: World, params: Obj, meter_id: str) -> Obj:
    meter = world.get(KIND, meter_id)
    if meter["status"] == "active":
        raise wrong_state("This meter is already active.")
    _name_free(world, meter["event_name"])
    meter.update(status="active", status_transitions={"deactivated_at": None}, updated=world.now)
    return world.save(meter, "billing.meter.reactivated")


@route("GET", _PATH + "/{id}/event_summaries")
def summaries(world: World, params: Obj, meter_id: str) -> Obj:
    meter = world.get(KIND, meter_id)
    customer = world.get("customer", params["customer"], "customer")["id"]
    start, end = params["start_time"], params["end_time"]
    window = params.get("value_grouping_window")
    span = WINDOWS.get(window or "", 60)
    for name in ("start_time", "end_time"):
        if params[name] % span:
            raise StripeError(f"{name} must align with {window or 'minute'} boundaries.", param=name)
    if end <= start:
        raise StripeError("end_time must be after start_time.", param="end_time")
    readings = world.store.readings(meter_id, customer, start, end)
    spans = sorted({at // span * span for at, _ in readings}, reverse=True) if window else [start] * bool(readings)
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeError("Invalid limit: must be between 1 and 100", param="limit")
    if "starting_after" in params or "ending_before" in params:
        # A summary's id holds its beginning.
        edge = str(params.get("starting_after") or params.get("ending_before")).rpartition("_")[2]
        at = int(edge) if edge.isdigit() else 0
        spans = [one for one in spans if (one < at if "starting_after" in params else one > at)]
    made = [_summary(world, meter, customer, one, one + span if window else end) for one in spans[:limit]]
    return listing(made, f"{_PATH}/{meter_id}/event_summaries", len(spans) > limit)


def _summary(world: World, meter: Obj, customer: str, start: int, end: int) -> Obj:
    return {
        "id": f"{new_id('mtrusg_test', 8)}_{start}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(usage(world, meter, customer, start, end)),
        "end_time": end,
        "livemode": False,
        "meter": meter["id"],
        "start_time": start,
    }
