"""Test clocks: customers who live in a time of their own, which stands until it is advanced.

ready -> advancing -> ready | internal_failure. What a call, page or timer is about decides in whose time it happens
(`World.in_time_of`); everything of such a customer lives in his clock's time.
"""

from __future__ import annotations

import logging
from typing import Any

from billing.stripe_emulator.answers import page
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.customers import customer_drop
from billing.stripe_emulator.nouns.periods import step
from billing.stripe_emulator.nouns.subscriptions import ENDED, rhythm
from billing.stripe_emulator.registry import route, timer
from billing.stripe_emulator.store import CLOCK, Obj
from billing.stripe_emulator.world import World

DAY = 86400
KEPT_DAYS = 30
MOST_AHEAD = 2 * 366 * DAY
_PATH = "/v1/test_helpers/test_clocks"
log = logging.getLogger("stripe_emulator")


@route("POST", _PATH)
def clock_create(world: World, params: Obj) -> Obj:
    if "customer" in params:
        raise StripeError(
            "The local emulator gives a customer his clock when he is made: customers.create(test_clock=...).",
            param="customer",
        )
    if not 0 < params["frozen_time"] < 4_102_444_800:
        raise StripeError("Invalid frozen_time: must be a moment before the year 2100.", param="frozen_time")
    clock = world.new(
        CLOCK,
        "clock",
        frozen_time=params["frozen_time"],
        name=params.get("name"),
        status="ready",
        status_details={"advancing": None},
        deletes_after=world.now + KEPT_DAYS * DAY,
    )
    return world.save(clock, "test_helpers.test_clock.created")


@route("GET", _PATH + "/{test_clock}")
def clock_retrieve(world: World, params: Obj, clock_id: str) -> Obj:
    return world.get(CLOCK, clock_id)


@route("GET", _PATH)
def clock_list(world: World, params: Obj) -> Obj:
    return page(world, CLOCK, params, _PATH)


@route("POST", _PATH + "/{test_clock}/advance")
def clock_advance(world: World, params: Obj, clock_id: str) -> Obj:
    clock = world.get(CLOCK, clock_id)
    target = params["frozen_time"]
    if target <= clock["frozen_time"]:
        raise StripeError(
            "The test clock can only be advanced to a time after its current frozen_time.", param="frozen_time"
        )
    if target > (furthest := _furthest(world, clock)):
        raise StripeError(
            "A test clock can be advanced by at most two intervals of its shortest subscription, or by two years "
            f"without one: until {furthest}.",
            param="frozen_time",
        )
    clock.update(status="advancing", status_details={"advancing": {"target_frozen_time": target}})
    return world.save(clock, "test_helpers.test_clock.advancing")


def _furthest(world: World, clock: Obj) -> int:
    now: int = clock["frozen_time"]
    running = [one for one in world.find("subscription", test_clock=clock["id"]) if one["status"] not in ENDED]
    return min((step(now, *rhythm(one), 2) for one in running), default=now + MOST_AHEAD)


@route("DELETE", _PATH + "/{test_clock}")
def clock_delete(world: World, params: Obj, clock_id: str) -> Obj:
    clock = world.get(CLOCK, clock_id)
    _delete(world, clock)
    return {"id": clock_id, "object": CLOCK, "deleted": True}


@timer(CLOCK, lambda clock: clock["deletes_after"])
def clock_forget(world: World, clock: Obj) -> None:
    """Clocks do not outlive their thirty days."""
    _delete(world, clock)


def _delete(world: World, clock: Obj) -> None:
    for customer in world.find("customer", test_clock=clock["id"]):
        if not customer.get("_deleted"):
            customer_drop(world, customer)
    for quote in world.find("quote", test_clock=clock["id"]):
        world.drop(quote)
    world.drop(clock, "test_helpers.test_clock.deleted")


def clocks_ready(world: World, ids: list[str]) -> None:
    """Raise when one of these objects lives in the time of a clock that is just moving, or could not."""
    for clock_id in world.store.clocks_of(ids):
        clock: Any = world.store.get(clock_id)
        if clock is not None and clock["status"] == "advancing":
            raise StripeError("Test clock advancement underway - cannot perform modifications.", status=429)


def clocks_run(world: World) -> None:
    """Move every clock that is to move, each through everything that happens on its way."""
    for clock_id in world.store.ids(CLOCK, {"status": "advancing"}):
        target = (world.store.get(clock_id) or {})["status_details"]["advancing"]["target_frozen_time"]
        status = "ready"
        try:
            world.wake_due(target, clock_id)
        except Exception:
            log.exception("test clock %s could not advance", clock_id)
            status = "internal_failure"
        with world.in_time_of([clock_id]), world.transaction():
            clock = world.get(CLOCK, clock_id)
            clock.update(frozen_time=target, status=status, status_details={"advancing": None})
            world.save(clock)
            world.emit(f"test_helpers.test_clock.{status}", clock)
