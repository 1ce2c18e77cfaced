"""The emulator's own switches under `/_ctl`: time, refusals, deliveries. JSON in and out."""

from __future__ import annotations

import random
import time
from typing import Any

from billing.stripe_emulator.deliveries import MODES
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.authentication import authenticate, intent_get
from billing.stripe_emulator.nouns.disputes import dispute_close, dispute_open
from billing.stripe_emulator.nouns.meter_events import PLANNED, meter_refusals_plan
from billing.stripe_emulator.nouns.payments import refusal_plan
from billing.stripe_emulator.nouns.test_clocks import clock_advance, clocks_run
from billing.stripe_emulator.nouns.thin_events import DESTINATION, EVENT
from billing.stripe_emulator.store import CLOCK, Obj
from billing.stripe_emulator.world import World, public

MAX_ADVANCE = 10 * 366 * 86400
MAX_AMOUNT = 10**12


def control(world: World, method: str, path: str, given: Obj) -> Obj:
    """Answer one control call. Raises StripeError for nonsense."""
    about = [text for text in (*path.split("/"), *given.values()) if isinstance(text, str) and "_" in text]
    with world.in_time_of(about):
        return _control(world, method, path, given)


def _control(world: World, method: str, path: str, given: Obj) -> Obj:
    parts = path.strip("/").split("/")[1:]
    if method == "GET" and not parts:
        return _state(world)
    if method == "POST" and parts == ["clock"]:
        return _clock(world, given)
    if method == "POST" and len(parts) == 2 and parts[0] == "test_clocks":
        return _test_clock(world, parts[1], given)
    if method == "POST" and parts == ["payments", "fail"]:
        count = _whole(given.get("count", 1), "count", 100)
        with world.store.transaction():
            refusal_plan(world, str(given.get("decline_code", "generic_decline")), count)
        return _state(world)
    if method == "POST" and parts == ["meter_events", "fail"]:
        count = _whole(given.get("count", 1), "count", 100)
        with world.store.transaction():
            meter_refusals_plan(world, count)
        return _state(world)
    if method == "POST" and len(parts) == 2 and parts[0] == "authentications":
        return _authenticate(world, parts[1], given.get("outcome"))
    if method == "POST" and parts[:1] == ["disputes"]:
        return _dispute(world, parts[1:], given)
    if method == "POST" and parts == ["deliveries"]:
        return _mode(world, given)
    if method == "POST" and parts == ["deliveries", "release"]:
        return _release(world, str(given.get("order", "same")), given.get("seed", 0))
    if method == "POST" and len(parts) == 3 and parts[0] == "events" and parts[2] == "replay":
        return _replay(world, parts[1])
    if method == "POST" and parts == ["dunning"]:
        end = given.get("end")
        if end not in ("canceled", "unpaid"):
            raise StripeError("end must be canceled or unpaid", param="end")
        with world.store.transaction():
            world.store.setting_put("dunning_end", end)
        return _state(world)
    raise StripeError(f"Unknown control {method} {path[:80]}", status=404)


def _state(world: World) -> Obj:
    store = world.store
    return {
        "now": world.now,
        "clock_offset": store.setting("clock_offset", 0),
        "deliveries_mode": store.setting("deliveries_mode", "normal"),
        "planned_refusals": store.setting("planned_refusals", []),
        PLANNED: store.setting(PLANNED, 0),
        "dunning_end": store.setting("dunning_end", "canceled"),
        **store.counts(),
    }


def _whole(value: Any, name: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise StripeError(f"{name} must be a whole number from 0 to {most}", param=name)
    return value


def _clock(world: World, given: Obj) -> Obj:
    now = world.now
    target = (
        _whole(given["to"], "to", now + MAX_ADVANCE)
        if "to" in given
        else now + _whole(given.get("advance"), "advance", MAX_ADVANCE)
    )
    woken = world.advance_to(target)
    return {**_state(world), "woken": woken}


def _test_clock(world: World, clock_id: str, given: Obj) -> Obj:
    """Advance a test clock by some seconds; the answer is the clock."""
    span = _whole(given.get("advance"), "advance", MAX_ADVANCE)
    with world.transaction():
        clock_advance(world, {"frozen_time": world.get(CLOCK, clock_id)["frozen_time"] + span}, clock_id)
    clocks_run(world)
    with world.transaction():
        return public(world.get(CLOCK, clock_id))


def _authenticate(world: World, intent_id: str, outcome: Any) -> Obj:
    if outcome not in ("complete", "fail"):
        raise StripeError("outcome must be complete or fail", param="outcome")
    with world.transaction():
        authenticate(world, intent_get(world, intent_id), passed=outcome == "complete")
    return _state(world)


def _dispute(world: World, parts: list[str], given: Obj) -> Obj:
    """Open a dispute of a charge, or close one: the answer is the dispute."""
    with world.transaction():
        if not parts:
            amount = _whole(given["amount"], "amount", MAX_AMOUNT) if "amount" in given else None
            charge = world.get("charge", given.get("charge"), "charge")
            return public(dispute_open(world, charge, amount=amount, reason=str(given.get("reason", "fraudulent"))))
        if len(parts) == 2 and parts[1] == "close":
            dispute = world.get("dispute", parts[0])
            dispute_close(world, dispute, str(given.get("status")))
            return public(dispute)
    raise StripeError("Use /_ctl/disputes or /_ctl/disputes/{id}/close.", status=404)


def _mode(world: World, given: Obj) -> Obj:
    mode = given.get("mode")
    if mode not in MODES:
        raise StripeError(f"mode must be one of {', '.join(MODES)}", param="mode")
    with world.store.transaction():
        world.store.setting_put("deliveries_mode", mode)
    return _state(world)


def _release(world: World, order: str, seed: Any) -> Obj:
    held = world.store.deliveries("held")
    if order == "reverse":
        held.reverse()
    elif order == "shuffle":
        random.Random(str(seed)).shuffle(held)
    elif order != "same":
        raise StripeError("order must be same, reverse or shuffle", param="order")
    with world.store.transaction():
        for index, delivery in enumerate(held):
            # A microsecond apart keeps the chosen order.
            world.store.delivery_move(delivery.id, "pending", attempt=0, due=time.time() + index * 1e-6)
    return {**_state(world), "released": len(held)}


def _replay(world: World, event_id: str) -> Obj:
    with world.transaction():
        thin = (world.maybe(event_id) or {}).get("object") == EVENT
        event = world.get(EVENT if thin else "event", event_id)
        for endpoint in world.find(DESTINATION if thin else "webhook_endpoint", status="enabled"):
            world.store.delivery_add(event["id"], endpoint["id"], "pending", time.time())
    return _state(world)
